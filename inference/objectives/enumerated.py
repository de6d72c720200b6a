"""The bound of stories with discrete latents, which are summed out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.beta import kl
from ppl_disentangle.sites import enumerated_traces, latent_sites, observed_sites

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
            raise ValueError("vectorize_particles is not for enumerated latents: set num_particles alone")

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Those of one combination of values, weighed by its probability: log likelihood and negative KL, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        discrete = [(q, p) for q, p in sites if q.fn.has_enumerate_support]
        log_q = torch.stack([q.per_datum(q.log_prob(), latents.plate) for q, _ in discrete]).sum(0)
        probability = log_q.exp()
        divergences = [log_q, *(-p.per_datum(p.log_prob(), latents.plate) for _, p in discrete)]
        divergences += [q.per_datum(kl(q, p), latents.plate) for q, p in sites if not q.fn.has_enumerate_support]
        likelihoods = [s.per_datum(s.log_prob(), latents.plate) for s in observed_sites(model_trace).values()]
        stated = {n: s.per_datum(s.log_prob(), latents.plate) for n, s in observed_sites(guide_trace).items()}
        parts = {"log_likelihood": sum(likelihoods), "kl": -sum(divergences)} | {n: -t for n, t in stated.items()}
        return {name: latents.total(probability * part) for name, part in parts.items()}

    def _get_traces(
        self, model: Callable[..., Any], guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[Trace, Trace]]:
        for _ in range(self.num_particles):
            yield from enumerated_traces(model, guide, args, kwargs)
