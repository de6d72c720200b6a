"""The objective of AnnealedVAE: the KL follows a capacity that grows during training."""

from __future__ import annotations

from typing import Any, ClassVar

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import LatentPairs, Latents, pairs_by_plate
from ppl_disentangle.inference.elbo.schedules import Linear, Weight, as_text, at_step
from ppl_disentangle.inference.elbo.terms import (
    local_bound_terms,
    log_likelihood,
    shared_terms,
    total_and_by_datum,
)

__all__ = [
    "CapacityELBO",
    "capacity_gap",
    "check_capacity",
]

RAMP = Linear(0.0, 25.0, 100_000)
"""The default capacity: from 0 to 25 nats per datum over 100,000 steps."""


class CapacityELBO(DecomposedELBO):
    r"""The log likelihood minus gamma times the distance of the KL from a growing capacity [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - \gamma \Bigl| \frac1N \sum_n \operatorname{KL}(q(z \mid x_n) \,\|\, p(z)) - C(t) \Bigr|

    C(t) is the capacity in nats per datum after t steps, N the number of data; the mean is taken
    over the batch. Terms: ``"log_likelihood"``, ``"kl"`` (the negative divergence, of weight 0: it
    acts through the gap) and ``"capacity_gap"`` (minus N times the distance, not part of the
    bound). With weight 1 for ``"kl"`` and 0 for ``"capacity_gap"``, it is
    ``pyro.infer.TraceMeanField_ELBO``.

    With ``per_sample`` the distance is taken for each datum, :math:`\sum_n |\operatorname{KL}_n -
    C(t)|`: all data then get the same capacity. This is a different objective.

    N counts the elements of the plate over the data. A latent that is masked for a datum adds
    nothing to its divergence; scales of the latents beside the scale of the plate multiply it.
    Latents that all data share have no capacity; their divergence is the term ``"shared_kl"``.

    Other implementations: In pythae the capacity rises by epochs, and therefore with the size of
    the data, and the distance is taken for each datum, where [1] takes it for the mean.
    disentangling-vae has a gamma of 100, where its documentation says 1000.

    Args:
        capacity: Capacity C(t): a number or a schedule. By default it rises from 0 to 25 nats over
            100,000 steps, as in implementations of [1] for dSprites and in the study [2], which
            tries 5 to 100 nats.
        gamma: Weight of the gap; [2] uses 1000.
        per_sample: Whether the distance is taken for each datum.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: The capacity is negative.

    References:
        [1] Burgess et al., 2018. https://arxiv.org/abs/1804.03599
        [2] Locatello et al., 2019. https://arxiv.org/abs/1811.12359

    Example:
        >>> from ppl_disentangle.inference.objectives.annealed_vae import CapacityELBO
        >>> from ppl_disentangle.inference.elbo.schedules import Linear
        >>> elbo = CapacityELBO(Linear(0.0, 5.0, 1000), gamma=100.0)
        >>> elbo.capacity(torch.tensor(400.0))
        tensor(2.)
    """

    penalties: ClassVar[tuple[str, ...]] = ("capacity_gap",)

    def __init__(
        self,
        capacity: Weight = RAMP,
        gamma: Weight = 1000.0,
        *,
        per_sample: bool = False,
        **options: Any,
    ) -> None:
        check_capacity("capacity", capacity)
        super().__init__({"kl": 0.0, "capacity_gap": gamma}, **options)
        self.capacity = capacity
        self.per_sample = per_sample

    def extra_repr(self) -> str:
        """The weights and the capacity, for checkpoints and tables."""
        capacity = as_text(self.capacity)
        return f"{super().extra_repr()}, capacity={capacity}, per_sample={self.per_sample}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KL, and minus its distance from the capacity, in nats."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        capacity = at_step(self.capacity, self.step)
        if pairs.joint and not pairs.shared and not self.per_sample:
            return _joint_terms(model_trace, pairs, capacity)
        latents = pairs.latents()
        total, by_datum = total_and_by_datum(pairs.local, latents.plate)
        gap = capacity_gap(by_datum, capacity, latents, per_sample=self.per_sample)
        terms = {"log_likelihood": log_likelihood(model_trace), "kl": -total, "capacity_gap": gap}
        return terms | shared_terms(pairs)


def _joint_terms(
    model_trace: Trace, pairs: LatentPairs, capacity: float | Tensor
) -> dict[str, Tensor]:
    """The terms of a guide that draws the latents of all data at once: only their mean is known."""
    bound = local_bound_terms(model_trace, pairs)
    count = pairs.plate.full_size
    return bound | {"capacity_gap": -count * (-bound["kl"] / count - capacity).abs()}


def check_capacity(name: str, capacity: Weight) -> None:
    """Refuse a negative capacity.

    Raises:
        ValueError: The capacity is a negative number.
    """
    if not callable(capacity) and capacity < 0:
        raise ValueError(f"expected {name} >= 0, in nats per datum, got {capacity}")


def capacity_gap(
    divergence: Tensor, capacity: float | Tensor, latents: Latents, *, per_sample: bool = False
) -> Tensor:
    """Minus the distance of a divergence from its capacity, on Pyro's scale.

    Args:
        divergence: Divergence in nats, of shape ``(…, batch)``.
        capacity: Capacity in nats per datum.
        latents: Latents of the batch.
        per_sample: Whether the distance is taken for each datum, not for the mean of the batch.
    """
    if per_sample:
        return -latents.total((divergence - capacity).abs())
    mean = (divergence * (1 / latents.plate.size)).sum(-1)
    return -latents.count * (mean - capacity).abs().sum()
