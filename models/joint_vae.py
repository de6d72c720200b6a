"""JointVAE [Dupont, 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.inference import JointELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.joint_vae import RAMP
from ppl_disentangle.models.bases.grouped import GroupedVAE

__all__ = ["JointVAE"]


class JointVAE(GroupedVAE):
    r"""Continuous and discrete latents, each kind with a capacity of its own.

    .. math:: \mathbb E \log p(x \mid z, c)
       - \gamma_z | \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - C_z(t) |
       - \gamma_c | \operatorname{KL}(q(c \mid x) \,\|\, p(c)) - C_c(t) |

    - Story, guide: as of :class:`~ppl_disentangle.models.GroupedVAE`, with one class at least.
    - Objective: :class:`~ppl_disentangle.inference.JointELBO`.
    - Data: observations alone.
    - For: data that come in kinds, such as shapes or digits: a discrete latent that the capacity makes the story use.

    Args:
        encoder: as in :class:`~ppl_disentangle.models.GroupedVAE`.
        decoder: as in :class:`~ppl_disentangle.models.GroupedVAE`.
        continuous_capacity: as in :class:`~ppl_disentangle.inference.JointELBO`, as are the next three.
        discrete_capacity: in nats per datum.
        continuous_gamma: weight of the distance of the continuous latents from their capacity.
        discrete_gamma: weight of that of the discrete ones.

    Raises:
        ValueError: an encoder without a group or without a class.

    References:
        [1] Dupont, 2018. https://arxiv.org/abs/1804.00104
    """

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        *,
        continuous_capacity: Weight = RAMP,
        discrete_capacity: Weight = RAMP,
        continuous_gamma: Weight = 30.0,
        discrete_gamma: Weight = 30.0,
    ) -> None:
        super().__init__(encoder, decoder)
        if not encoder.groups or not encoder.classes:
            raise ValueError(
                f"expected a group and a class, got {encoder.groups} and {encoder.classes}"
            )
        self.continuous_capacity, self.discrete_capacity = continuous_capacity, discrete_capacity
        self.continuous_gamma, self.discrete_gamma = continuous_gamma, discrete_gamma

    def objective(self) -> JointELBO:
        """The log likelihood less the distances of both KLs from their capacities."""
        return JointELBO(
            self.continuous_capacity,
            self.discrete_capacity,
            continuous_gamma=self.continuous_gamma,
            discrete_gamma=self.discrete_gamma,
        )
