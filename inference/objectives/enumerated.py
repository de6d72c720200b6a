"""The bound of stories with discrete latents, which are summed over."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.infer import is_validation_enabled
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.divergences import weighted_kl
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.summed_out import (
    FixedClasses,
    check_number_of_combinations,
    outside_of_class,
    summed_out_trace,
)
from ppl_disentangle.inference.elbo.terms import sum_tensors
from ppl_disentangle.sites import (
    Site,
    check_pair,
    check_reparameterised,
    latent_sites,
    observed_sites,
    sampled_sites,
)
from ppl_disentangle.story import fork_randomness

__all__ = ["EnumeratedELBO"]


class EnumeratedELBO(DecomposedELBO):
    r"""The beta-weighted evidence lower bound, summed exactly over the discrete latents y [1].

    .. math:: \sum_y q(y \mid x) \Bigl[ \mathbb E_{q(z \mid x, y)} \log p(x \mid y, z)
       - \beta \Bigl( \operatorname{KL}(q(z \mid x, y) \,\|\, p(z)) + \log \frac{q(y \mid x)}{p(y)} \Bigr) \Bigr]

    y are the latents of the guide with finitely many values, z the others. Model and guide run once
    for each combination of these values. With ``beta=1`` this is ``pyro.infer.TraceEnum_ELBO`` for a
    guide whose discrete latents are marked for enumeration, with the KL of z in closed form where
    torch knows it. Scales, masks (also ``obs_mask``) and plates inside the plate over the data count
    as there. Discrete latents that only the model has are summed out: :math:`p(x \mid y, z)` is then
    their sum, and they need no guide.

    Terms: ``"log_likelihood"`` and ``"kl"`` (negative). Statements of the guide by ``pyro.factor``
    are summed over y, too.

    Args:
        beta: Weight of the KL: a number or a schedule.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`, except
            ``vectorize_particles``; see there.

    Raises:
        ValueError: Particles are vectorised; at the first call, neither program has a discrete
            latent, there are more than 4096 combinations, or a site depends on a class although it
            is outside of a plate around the class.

    References:
        [1] Kingma et al., 2014. https://arxiv.org/abs/1406.5298 (equation 7)
    """

    def __init__(self, beta: Weight = 1.0, **options: Any) -> None:
        super().__init__({"kl": beta}, **options)
        if self.vectorize_particles:
            raise ValueError(
                "vectorize_particles does not apply to enumerated latents: set num_particles alone"
            )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Terms of one combination of discrete values, times its probability, in nats."""
        pairs = latent_sites(model_trace, guide_trace)
        share = _Combination([q for q, _ in pairs if q.fn.has_enumerate_support])
        observed = observed_sites(model_trace).values()
        terms = {
            "log_likelihood": share.expectation([(site, _score(site)) for site in observed]),
            "kl": -share.expectation([(q, _divergence(q, p)) for q, p in pairs]),
        }
        for name, site in observed_sites(guide_trace).items():
            terms[name] = -share.expectation([(site, _score(site))])
        return terms

    def _get_traces(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Iterator[tuple[Trace, Trace]]:
        for _ in range(self.num_particles):
            yield from enumerated_traces(model, guide, args, kwargs)


def enumerated_traces(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Iterable[tuple[Trace, Trace]]:
    """Traces of a pair for each combination of values of the guide's discrete latents.

    All data of the batch have the same combination in a trace. Discrete latents of the model that
    the guide lacks are summed out; see
    :func:`~ppl_disentangle.inference.elbo.summed_out.summed_out_trace`.

    Raises:
        ValueError: Neither program has a discrete latent, there are too many combinations, or
            another latent passes no gradient.
    """
    supports, trace = _supports(guide, args, kwargs)
    check_reparameterised(
        site for name, site in sampled_sites(trace).items() if name not in supports
    )
    check_number_of_combinations(supports)
    if is_validation_enabled():
        drawn = sampled_sites(trace)
        inside = {name: s[[0, -1]] for name, s in supports.items() if len(drawn[name].plates) > 1}
        _check_plates(model, guide, inside, args, kwargs)
    if not supports:
        yield _traces_given(model, trace, args, kwargs)
    for values in itertools.product(*supports.values()) if supports else ():
        fixed = FixedClasses(dict(zip(supports, values, strict=True)))
        guide_trace = poutine.trace(fixed(guide)).get_trace(*args, **kwargs)
        yield _traces_given(model, guide_trace, args, kwargs)


def _traces_given(
    model: Callable[..., Any], guide_trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Trace, Trace]:
    """The trace of a model without the classes that only it has, and the trace of the guide."""
    enumeration = FixedClasses({})
    with enumeration:
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
    own = enumeration.supports
    if own:
        check_number_of_combinations(own)
        return summed_out_trace(model, guide_trace, own, args, kwargs), guide_trace
    drawn = sampled_sites(guide_trace)
    if not any(site.fn.has_enumerate_support for site in drawn.values()):
        raise ValueError(f"expected a guide with a discrete latent, it samples {list(drawn)}")
    check_pair(model_trace, guide_trace)
    return model_trace, guide_trace


def _supports(
    guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Tensor], Trace]:
    """All values of each discrete latent of a guide, and the trace in which they were found."""
    enumeration = FixedClasses({})
    with enumeration:
        trace = poutine.trace(guide).get_trace(*args, **kwargs)
    return enumeration.supports, trace


def _check_plates(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    values: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Refuse a site that depends on a class of the guide outside of a plate of the class.

    Args:
        model: The model.
        guide: The guide.
        values: Two values of each class that is in a plate inside of another, stacked.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
    """
    for name, both in values.items():
        first, second = [_scores_outside(name, value, model, guide, args, kwargs) for value in both]
        for site, score in first.items():
            if not torch.equal(score, second[site]):
                raise ValueError(outside_of_class(site, name))


def _scores_outside(
    name: str,
    value: Tensor,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Tensor]:
    """Log densities of the sites outside of a plate of a class, given the value of the class."""
    with fork_randomness(), FixedClasses({name: value}):
        torch.manual_seed(0)
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
    around = _plate_names(sampled_sites(guide_trace)[name])
    sites = sampled_sites(model_trace) | observed_sites(model_trace)
    outside = {k: site for k, site in sites.items() if not around <= _plate_names(site)}
    return {name: site.log_prob() for name, site in outside.items()}


def _score(site: Site) -> Tensor:
    """The log density of a site, scaled and masked, for each element of its plates."""
    return site.weighted(site.log_prob())


def _divergence(q: Site, p: Site) -> Tensor:
    """The divergence of a latent, scaled and masked; of a class log q - log p at its value."""
    return _score(q) - _score(p) if q.fn.has_enumerate_support else weighted_kl(q, p)


class _Combination:
    """One combination of values of the guide's classes, as part of an expectation over all.

    As in Pyro, a site depends only on classes whose plates are all around it. An expectation over
    the other classes is the mean over the combinations that differ in them alone.

    Args:
        classes: The guide's discrete latents.
    """

    def __init__(self, classes: Sequence[Site]) -> None:
        # Masks and scales are left out: probabilities of a masked class sum to 1, too.
        self._log_probs = [(_plate_names(site), site.log_prob()) for site in classes]
        self._log_sizes = [
            math.log(len(site.fn.enumerate_support(expand=False))) for site in classes
        ]

    def expectation(self, values: Sequence[tuple[Site, Tensor]]) -> Tensor:
        """The share of this combination in the expected sum of ``values``.

        Args:
            values: Sites, and for each one number for each element of its plates.
        """
        by_plates: dict[frozenset[str], Tensor] = {}
        for site, value in values:
            names = _plate_names(site)
            by_plates[names] = by_plates[names] + value if names in by_plates else value
        totals = [torch.zeros_like(self._log_probs[0][1]).sum()] if not by_plates else []
        for names, value in by_plates.items():
            probability = self._probability(names, value)
            # A class without probability has an infinite log probability, and 0 * inf is NaN.
            totals.append((probability * value.where(probability > 0, 0.0)).sum())
        return sum_tensors(totals)

    def _probability(self, plates: frozenset[str], like: Tensor) -> Tensor:
        """q(y | x) of the classes that a site with these plates depends on."""
        log_q = like.new_zeros(())
        for (around, log_prob), log_size in zip(self._log_probs, self._log_sizes, strict=True):
            log_q = log_q + log_prob if around <= plates else log_q - log_size
        return log_q.exp()


def _plate_names(site: Site) -> frozenset[str]:
    return frozenset(plate.name for plate in site.plates)
