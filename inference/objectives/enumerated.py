"""The bound of stories with discrete latents, which are summed over."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import kl
from ppl_disentangle.sites import (
    Plate,
    Site,
    check_reparameterised,
    latent_sites,
    observed_sites,
    paired_traces,
    sampled_sites,
)

__all__ = ["EnumeratedELBO"]


class EnumeratedELBO(DecomposedELBO):
    r"""The beta-weighted evidence lower bound, summed exactly over the discrete latents y [1].

    .. math:: \sum_y q(y \mid x) \Bigl[ \mathbb E_{q(z \mid x, y)} \log p(x \mid y, z)
       - \beta \Bigl( \operatorname{KL}(q(z \mid x, y) \,\|\, p(z)) + \log \frac{q(y \mid x)}{p(y)} \Bigr) \Bigr]

    y are the latents of the guide with finitely many values, z the others. Model and guide run once
    for each combination of these values. With ``beta=1`` this is ``pyro.infer.TraceEnum_ELBO`` for a
    guide whose discrete latents are marked for enumeration, with the KL of z in closed form where
    torch knows it.

    Terms: ``"log_likelihood"`` and ``"kl"`` (negative). Statements of the guide by ``pyro.factor``
    are summed over y, too.

    Args:
        beta: Weight of the KL: a number or a schedule.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`, except
            ``vectorize_particles``; see there.

    Raises:
        ValueError: Particles are vectorised; at the first call, the guide has no discrete latent.

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
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        log_q, divergence = _log_q_and_kl(sites, latents.plate)
        observed = _log_probs(observed_sites(model_trace).values(), latents.plate)
        by_datum = {
            "log_likelihood": sum(observed, torch.zeros_like(log_q)),
            "kl": -divergence,
        }
        for name, site in observed_sites(guide_trace).items():
            by_datum[name] = -site.per_datum(site.log_prob(), latents.plate)
        probability = log_q.exp()  # (batch,): q(y | x) of this combination
        return {name: latents.total(probability * term) for name, term in by_datum.items()}

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

    All data of the batch have the same combination in a trace.

    Raises:
        ValueError: The guide has no discrete latent, or another latent that passes no gradient.
    """
    enumeration = _FixedDiscreteSites({})
    with enumeration:
        trace = poutine.trace(guide).get_trace(*args, **kwargs)
    supports = enumeration.supports
    if not supports:
        raise ValueError(
            f"expected a guide with a discrete latent, it samples {list(sampled_sites(trace))}"
        )
    check_reparameterised(
        site for name, site in sampled_sites(trace).items() if name not in supports
    )
    for values in itertools.product(*supports.values()):
        fixed = _FixedDiscreteSites(dict(zip(supports, values, strict=True)))
        yield paired_traces(model, fixed(guide), args, kwargs, reparameterised=False)


def _log_q_and_kl(sites: Sequence[tuple[Site, Site]], plate: Plate) -> tuple[Tensor, Tensor]:
    """log q(y | x), and log q(y | x) - log p(y) + KL(q(z | x, y) || p(z)), of shape ``(batch,)``."""
    discrete = [(q, p) for q, p in sites if q.fn.has_enumerate_support]
    continuous = [(q, p) for q, p in sites if not q.fn.has_enumerate_support]
    log_q = torch.stack(_log_probs([q for q, _ in discrete], plate)).sum(0)
    divergence = log_q
    for log_p in _log_probs([p for _, p in discrete], plate):
        divergence = divergence - log_p
    for q, p in continuous:
        divergence = divergence + q.per_datum(kl(q, p), plate)
    return log_q, divergence


def _log_probs(sites: Iterable[Site], plate: Plate) -> list[Tensor]:
    """Log densities of sites for each datum, each of shape ``(batch,)``."""
    return [site.per_datum(site.log_prob(), plate) for site in sites]


class _FixedDiscreteSites(Messenger):
    """An effect handler that fixes discrete latents: to given values, else to their first value.

    Attributes:
        supports: All values of each discrete latent that was visited, by name.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values
        self.supports: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or not msg["fn"].has_enumerate_support:
            return
        name = msg["name"]
        support = msg["fn"].enumerate_support()
        self.supports[name] = support
        msg["value"] = self.values.get(name, support[0])
        msg["done"] = True
