"""The bound of stories with discrete latents, which are summed out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    check_reparameterised,
    latent_sites,
    observed_sites,
    paired_traces,
    sampled_sites,
)

__all__ = ["EnumeratedELBO"]


class EnumeratedELBO(DecomposedELBO):
    r"""The evidence lower bound with its KL weighted by beta, exact in the discrete latents y.

    .. math:: \sum_y q(y \mid x) \Bigl[ \mathbb E_{q(z \mid x, y)} \log p(x \mid y, z)
       - \beta \Bigl( \operatorname{KL}(q(z \mid x, y) \,\|\, p(z)) + \log \frac{q(y \mid x)}{p(y)} \Bigr) \Bigr]

    y are the guide's latents that have finitely many values, z the others. Model and guide run once for each
    combination of these values. With ``beta=1`` this is ``pyro.infer.TraceEnum_ELBO`` of a guide whose discrete latents
    are marked for enumeration, with the KL of z in closed form where torch knows it.

    Terms: ``"log_likelihood"`` and ``"kl"`` (negative); what the guide states by ``pyro.factor`` is summed, too.

    Avoids: no port was read.

    Args:
        beta: a number or a schedule.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`; ``vectorize_particles`` is not for it.

    Raises:
        ValueError: vectorised particles; when called, a guide without a discrete latent.

    References:
        [1] Kingma et al., 2014. https://arxiv.org/abs/1406.5298 (equation 7)
    """

    def __init__(self, beta: Weight = 1.0, **options: Any) -> None:
        super().__init__({"kl": beta}, **options)
        if self.vectorize_particles:
            raise ValueError(
                "vectorize_particles is not for enumerated latents: set num_particles alone"
            )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Those of one combination of values, weighed by its probability: log likelihood and negative KL, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        discrete = [(q, p) for q, p in sites if q.fn.has_enumerate_support]
        log_q = torch.stack([q.per_datum(q.log_prob(), latents.plate) for q, _ in discrete]).sum(0)
        probability = log_q.exp()
        divergences = [log_q, *(-p.per_datum(p.log_prob(), latents.plate) for _, p in discrete)]
        divergences += [
            q.per_datum(kl(q, p), latents.plate) for q, p in sites if not q.fn.has_enumerate_support
        ]
        likelihoods = [
            s.per_datum(s.log_prob(), latents.plate) for s in observed_sites(model_trace).values()
        ]
        stated = {
            n: s.per_datum(s.log_prob(), latents.plate)
            for n, s in observed_sites(guide_trace).items()
        }
        parts = {"log_likelihood": sum(likelihoods), "kl": -sum(divergences)} | {
            n: -t for n, t in stated.items()
        }
        return {name: latents.total(probability * part) for name, part in parts.items()}

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
    """Traces of a pair for each combination of values that the guide's discrete sites may have, all data at once.

    Raises:
        ValueError: the guide has no site that can be enumerated, or one that no gradient passes through besides.
    """
    first = _Enumerated({})
    with first:
        trace = poutine.trace(guide).get_trace(*args, **kwargs)
    if not first.supports:
        raise ValueError(
            f"expected a guide with a discrete latent, it samples {list(sampled_sites(trace))}"
        )
    check_reparameterised(
        site for name, site in sampled_sites(trace).items() if name not in first.supports
    )
    for values in itertools.product(*first.supports.values()):
        given = _Enumerated(dict(zip(first.supports, values, strict=True)))
        yield paired_traces(model, given(guide), args, kwargs, reparameterised=False)


class _Enumerated(Messenger):
    """Discrete sites have the values that are given, or else the first of their support: none is drawn."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values, self.supports = values, dict[str, Tensor]()

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and msg["fn"].has_enumerate_support:
            self.supports[msg["name"]] = msg["fn"].enumerate_support()
            msg["value"], msg["done"] = (
                self.values.get(msg["name"], self.supports[msg["name"]][0]),
                True,
            )
