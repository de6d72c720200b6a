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
    r"""Learns continuous and discrete factors without labels, each kind with its own capacity.

    .. math:: \mathbb E \log p(x \mid z, c)
       - \gamma_z | \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - C_z(t) |
       - \gamma_c | \operatorname{KL}(q(c \mid x) \,\|\, p(c)) - C_c(t) |

    - Story, guide: As in :class:`~ppl_disentangle.models.GroupedVAE`, with at least one class.
    - Objective: :class:`~ppl_disentangle.inference.JointELBO`.
    - Data: images or vectors, without labels.
    - For: data that come in kinds, such as shapes or digits; the capacity makes the story use its
      discrete latent.

    Args:
        encoder: Names, sizes and posteriors of the groups and classes.
        decoder: ``decoder(h)`` is p(x | z, c), for h all latents side by side, groups first.
        continuous_capacity: Capacity :math:`C_z(t)` of the continuous latents, in nats per datum.
        discrete_capacity: Capacity :math:`C_c(t)` of the discrete latents, in nats per datum.
        continuous_gamma: Weight of the distance between the continuous KL and its capacity.
        discrete_gamma: Weight of the distance between the discrete KL and its capacity.

    Raises:
        ValueError: The encoder has no group or no class.

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
        self.continuous_capacity = continuous_capacity
        self.discrete_capacity = discrete_capacity
        self.continuous_gamma = continuous_gamma
        self.discrete_gamma = discrete_gamma

    def objective(self) -> JointELBO:
        """The log likelihood less the distance of each KL divergence from its capacity."""
        return JointELBO(
            self.continuous_capacity,
            self.discrete_capacity,
            continuous_gamma=self.continuous_gamma,
            discrete_gamma=self.discrete_gamma,
        )
