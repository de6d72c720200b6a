"""The objective of JointVAE: one capacity for continuous latents, one for discrete latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
)

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.divergences import closed_form_kl
from ppl_disentangle.inference.elbo.latents import innermost, pairs_by_plate
from ppl_disentangle.inference.elbo.schedules import Linear, Weight, as_text, at_step
from ppl_disentangle.inference.elbo.terms import log_likelihood, shared_terms, total_and_by_datum
from ppl_disentangle.inference.objectives.annealed_vae import capacity_gap, check_capacity
from ppl_disentangle.sites import PARTICLES, Plate, Site, sum_rightmost

__all__ = ["JointELBO", "categorical_kl", "max_discrete_capacity"]

RAMP = Linear(0.0, 5.0, 25_000)
"""The default capacities: from 0 to 5 nats per datum over 25,000 steps."""

CATEGORICAL = (Categorical, OneHotCategorical, RelaxedOneHotCategorical)
BINARY = (Bernoulli, RelaxedBernoulli)


class JointELBO(DecomposedELBO):
    r"""The log likelihood, with a capacity each for continuous and for discrete latents [1].

    .. math:: \mathbb E_{q(z, c \mid x)} \log p(x \mid z, c)
       - \gamma_z | \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - C_z(t) |
       - \gamma_c | \operatorname{KL}(q(c \mid x) \,\|\, p(c)) - C_c(t) |

    Divergences are means over the batch, capacities in nats per datum. c are the latents whose guide
    is a categorical or Bernoulli distribution or a relaxation of one, z all others. C_c never
    exceeds the sum of log K over the discrete latents of a datum, where K is the number of values
    of each: the information that they can hold under a uniform prior.

    Terms: ``"log_likelihood"``, ``"kl_continuous"`` and ``"kl_discrete"`` (negative divergences of
    weight 0: they act through the gaps), and ``"continuous_gap"`` and ``"discrete_gap"`` (minus the
    distances times the number of data, not part of the bound). As in [1], the divergence of a
    discrete latent is between the probabilities of its values, in closed form, for all
    temperatures. With weight 1 for the divergences and 0 for the gaps, this is the evidence lower
    bound for one-hot draws (``OneHotCategoricalStraightThrough``); for relaxed draws it is a
    relaxation of that bound, and differs from the bound of the relaxed densities. A prior
    ``OneHotCategorical`` accepts relaxed draws if it is built with ``validate_args=False``.

    Other implementations: PyTorch-VAE raises the discrete capacity beyond its maximum, starts the
    temperature at its lower limit, and averages the likelihood over pixels.

    Args:
        continuous_capacity: Capacity C_z: a number or a schedule. By default it rises from 0 to 5
            nats over 25,000 steps.
        discrete_capacity: Capacity C_c: a number or a schedule. By default as above.
        continuous_gamma: Weight of the gap of the continuous latents. The default is from the
            authors' script for MNIST.
        discrete_gamma: Weight of the gap of the discrete latents. The default is from the authors'
            script for MNIST.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: A capacity is negative; at the first call, the pair lacks discrete or continuous
            latents, or the prior of a discrete latent is of another kind.

    References:
        [1] Dupont, 2018. https://arxiv.org/abs/1804.00104

    Example:
        >>> from ppl_disentangle.inference.objectives.joint_vae import JointELBO
        >>> from ppl_disentangle.inference.elbo.schedules import Linear
        >>> elbo = JointELBO(Linear(0.0, 5.0, 25_000), Linear(0.0, 2.0, 25_000), discrete_gamma=50.0)
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
        self.continuous_capacity = continuous_capacity
        self.discrete_capacity = discrete_capacity

    def extra_repr(self) -> str:
        """The weights and the capacities, for checkpoints and tables."""
        continuous = f"continuous_capacity={as_text(self.continuous_capacity)}"
        discrete = f"discrete_capacity={as_text(self.discrete_capacity)}"
        return f"{super().extra_repr()}, {continuous}, {discrete}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KLs, and minus their distances from the capacities, in nats."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        latents = pairs.latents()
        continuous, discrete = _by_kind(pairs.local)
        plate = latents.plate
        continuous_kl, continuous_by_datum = total_and_by_datum(continuous, plate)
        discrete_kl, discrete_by_datum = total_and_by_datum(
            discrete, plate, weighted_categorical_kl
        )
        limit = max_discrete_capacity([q for q, _ in discrete], plate)
        continuous_capacity = at_step(self.continuous_capacity, self.step)
        discrete_capacity = _at_most(at_step(self.discrete_capacity, self.step), limit)
        return shared_terms(pairs) | {
            "log_likelihood": log_likelihood(model_trace),
            "kl_continuous": -continuous_kl,
            "kl_discrete": -discrete_kl,
            "continuous_gap": capacity_gap(continuous_by_datum, continuous_capacity, latents),
            "discrete_gap": capacity_gap(discrete_by_datum, discrete_capacity, latents),
        }


def _by_kind(
    sites: Sequence[tuple[Site, Site]],
) -> tuple[list[tuple[Site, Site]], list[tuple[Site, Site]]]:
    """The continuous and the discrete latents."""
    continuous = [(q, p) for q, p in sites if not is_discrete(q)]
    discrete = [(q, p) for q, p in sites if is_discrete(q)]
    if not continuous or not discrete:
        kinds = {q.name: type(innermost(q.fn)).__name__ for q, _ in sites}
        raise ValueError(
            f"expected a continuous and a discrete latent, the guide has {kinds};"
            " CapacityELBO has one capacity for all latents"
        )
    return continuous, discrete


def is_discrete(site: Site) -> bool:
    """Whether a latent has finitely many values, or is a relaxation of such a latent."""
    return isinstance(innermost(site.fn), CATEGORICAL + BINARY)


def categorical_kl(q: Site, p: Site) -> Tensor:
    """KL(q || p) between the probabilities of a discrete latent's values.

    Returns:
        One number for each element of the latent's plates.

    Raises:
        ValueError: The prior is of another kind.
    """
    posterior = innermost(q.fn)
    prior = innermost(p.fn)
    for kind, plain in ((CATEGORICAL, Categorical), (BINARY, Bernoulli)):
        if isinstance(posterior, kind) and isinstance(prior, kind):
            values = closed_form_kl(plain(logits=posterior.logits), plain(logits=prior.logits))
            return sum_rightmost(values, _independent_dims(q.fn))
    raise ValueError(
        f"latent {q.name!r} is drawn from {type(posterior).__name__}; expected a prior of that"
        f" kind, relaxed or not, got {type(prior).__name__}"
    )


def weighted_categorical_kl(q: Site, p: Site) -> Tensor:
    """:func:`categorical_kl`, scaled and masked like the guide's site."""
    return q.weighted(categorical_kl(q, p))


def max_discrete_capacity(sites: list[Site], plate: Plate) -> float | Tensor:
    """Most nats that the discrete latents of a datum can hold under a uniform prior.

    This is the sum of log K over the latents, where K is the number of values of each; a mean over
    the data where latents are masked for some of them.
    """
    limit: float | Tensor = 0.0
    for site in sites:
        base = innermost(site.fn)
        num_values = 2 if isinstance(base, BINARY) else base.logits.shape[-1]
        other_plates = [p.size for p in site.plates if p.name not in (plate.name, PARTICLES)]
        event = site.fn.event_shape[: _independent_dims(site.fn)]
        num_latents = math.prod([*other_plates, *event])
        share = site.mask.to(site.value.dtype).mean() if isinstance(site.mask, Tensor) else 1.0
        limit += share * num_latents * math.log(num_values)
    return limit


def _at_most(capacity: float | Tensor, limit: float | Tensor) -> float | Tensor:
    if isinstance(limit, Tensor):
        return limit.clamp(max=capacity)
    return capacity.clamp(max=limit) if isinstance(capacity, Tensor) else min(capacity, limit)


def _independent_dims(fn: TorchDistribution) -> int:
    """Number of event dimensions over which the distribution is independent."""
    return fn.event_dim - innermost(fn).event_dim
