"""JointVAE's objective: a capacity for the continuous latents, and one for the discrete."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pyro.distributions import TorchDistribution
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    kl_divergence,
)

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents, innermost
from ppl_disentangle.inference.elbo.schedules import Linear, Weight, at_step, spelled
from ppl_disentangle.inference.elbo.terms import kl, log_likelihood, total_and_by_datum
from ppl_disentangle.inference.objectives.annealed_vae import capacity_gap, check_capacity
from ppl_disentangle.sites import PARTICLES, Plate, Site, latent_sites, sum_rightmost

__all__ = ["JointELBO", "categorical_kl", "max_discrete_capacity"]

RAMP = Linear(0.0, 5.0, 25_000)
CATEGORICAL = (Categorical, OneHotCategorical, RelaxedOneHotCategorical)
BINARY = (Bernoulli, RelaxedBernoulli)


class JointELBO(DecomposedELBO):
    r"""The log likelihood, less the distances of the KL of continuous and of discrete latents from capacities [1].

    .. math:: \mathbb E_{q(z, c \mid x)} \log p(x \mid z, c)
       - \gamma_z | \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - C_z(t) |
       - \gamma_c | \operatorname{KL}(q(c \mid x) \,\|\, p(c)) - C_c(t) |

    Divergences are means over the batch, capacities in nats per datum. c are the latents whose guide is a categorical
    or Bernoulli distribution or a relaxation of one, z all others. C_c never exceeds the sum of log K over the discrete
    latents of a datum, K being their numbers of values: what they can hold under a uniform prior.

    Terms: ``"log_likelihood"``, ``"kl_continuous"`` and ``"kl_discrete"`` (negative divergences of weight 0: what acts
    on them is the gap), and ``"continuous_gap"`` and ``"discrete_gap"`` (minus the distances times the number of data,
    no part of the bound). The divergence of a discrete latent is that between the probabilities of its values, in
    closed form, whatever the temperatures, as in [1]. With weights 1 of the divergences and 0 of the gaps it is
    hence the evidence lower bound where draws are one-hot (``OneHotCategoricalStraightThrough``) and a relaxation of
    it, not the bound of the relaxed densities, where they are relaxed. A prior ``OneHotCategorical`` takes relaxed
    draws if it is built with ``validate_args=False``.

    Avoids: a discrete capacity that rises beyond its maximum, a temperature whose lower limit is where it starts, and a
    likelihood averaged over pixels beside them (PyTorch-VAE).

    Args:
        continuous_capacity: C_z, a number or a schedule; by default from 0 to 5 nats over 25,000 steps.
        discrete_capacity: C_c, a number or a schedule; by default the same.
        continuous_gamma: weight of the gap of the continuous latents.
        discrete_gamma: weight of the gap of the discrete latents. Defaults are those of the authors' script for MNIST.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: a negative capacity; at the first call, a pair without discrete or without continuous latents, or a
            prior of a discrete latent that is of another kind.

    Example:
        >>> from ppl_disentangle.inference.objectives.joint_vae import JointELBO
        >>> from ppl_disentangle.inference.elbo.schedules import Linear
        >>> elbo = JointELBO(Linear(0.0, 5.0, 25_000), Linear(0.0, 2.0, 25_000), discrete_gamma=50.0)

    References:
        [1] Dupont, 2018. https://arxiv.org/abs/1804.00104
    """

    penalties: ClassVar[tuple[str, ...]] = ("continuous_gap", "discrete_gap")

    def __init__(
        self,
        continuous_capacity: Weight = RAMP,
        discrete_capacity: Weight = RAMP,
        *,
        continuous_gamma: Weight = 30.0,
        discrete_gamma: Weight = 30.0,
        **options: Any,
    ) -> None:
        check_capacity("continuous_capacity", continuous_capacity)
        check_capacity("discrete_capacity", discrete_capacity)
        gammas = {"continuous_gap": continuous_gamma, "discrete_gap": discrete_gamma}
        super().__init__({"kl_continuous": 0.0, "kl_discrete": 0.0, **gammas}, **options)
        self.continuous_capacity, self.discrete_capacity = continuous_capacity, discrete_capacity

    def extra_repr(self) -> str:
        """The weights and the capacities, for checkpoints and tables."""
        capacities = (spelled(self.continuous_capacity), spelled(self.discrete_capacity))
        return "{}, continuous_capacity={}, discrete_capacity={}".format(
            super().extra_repr(), *capacities
        )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KLs, and minus their distances from the capacities, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        continuous = [pair for pair in sites if not is_discrete(pair[0])]
        discrete = [pair for pair in sites if is_discrete(pair[0])]
        if not continuous or not discrete:
            kinds = {q.name: type(innermost(q.fn)).__name__ for q, _ in sites}
            raise ValueError(
                f"expected a continuous and a discrete latent, the guide has {kinds}; CapacityELBO has one capacity for"
                " all latents"
            )
        divergences = {
            "continuous": total_and_by_datum(
                latents, [q for q, _ in continuous], [kl(q, p) for q, p in continuous]
            ),
            "discrete": total_and_by_datum(
                latents, [q for q, _ in discrete], [categorical_kl(*c) for c in discrete]
            ),
        }
        limit = max_discrete_capacity([q for q, _ in discrete], latents.plate)
        held = at_step(self.discrete_capacity, self.step)
        capacities = {
            "continuous": at_step(self.continuous_capacity, self.step),
            "discrete": held.clamp(max=limit) if isinstance(held, Tensor) else min(held, limit),
        }
        gaps = {
            f"{k}_gap": capacity_gap(by_datum, capacities[k], latents)
            for k, (_, by_datum) in divergences.items()
        }
        totals = {f"kl_{k}": -total for k, (total, _) in divergences.items()}
        return {"log_likelihood": log_likelihood(model_trace), **totals, **gaps}


def is_discrete(site: Site) -> bool:
    """Whether a latent has finitely many values, or is a relaxation of one that has."""
    return isinstance(innermost(site.fn), CATEGORICAL + BINARY)


def categorical_kl(q: Site, p: Site) -> Tensor:
    """KL(q || p) between the probabilities of a discrete latent's values, for each element of its plates.

    Raises:
        ValueError: the prior is of another kind.
    """
    ours, theirs = innermost(q.fn), innermost(p.fn)
    for kind, plain in ((CATEGORICAL, Categorical), (BINARY, Bernoulli)):
        if isinstance(ours, kind) and isinstance(theirs, kind):
            values = kl_divergence(plain(logits=ours.logits), plain(logits=theirs.logits))
            return sum_rightmost(values, _independent_dims(q.fn))
    raise ValueError(
        f"latent {q.name!r} is drawn from {type(ours).__name__}; expected a prior of that kind, relaxed or not, got"
        f" {type(theirs).__name__}"
    )


def max_discrete_capacity(sites: list[Site], plate: Plate) -> float:
    """Nats that the discrete latents of one datum can hold under a uniform prior: the sum of log K over them."""
    limit = 0.0
    for site in sites:
        base = innermost(site.fn)
        number = 2 if isinstance(base, BINARY) else base.logits.shape[-1]
        others = [p.size for p in site.plates if p.name not in (plate.name, PARTICLES)]
        limit += math.prod(
            [*others, *site.fn.event_shape[: _independent_dims(site.fn)]]
        ) * math.log(number)
    return limit


def _independent_dims(fn: TorchDistribution) -> int:
    return fn.event_dim - innermost(fn).event_dim
