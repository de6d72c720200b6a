"""ControlVAE [Shao et al., 2020]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import ControlELBO, Linear
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["ControlVAE"]

RISE = Linear(0.5, 18.0, 583_333)


class ControlVAE(IsotropicVAE):
    r"""The isotropic story, its KL led to a target by a PI controller of the weight.

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.ControlELBO`.
    - Data: observations alone.
    - For: a KL that stays where it is asked to be, with the weight as the means.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        kl: the target in nats per datum. By default it rises as fast as that of the authors' code, by 0.15 every 5000
            steps from 0.5; where it ends, 18, is a choice of ours.
        minimum: the least that the weight can be.
        maximum: the most that the weight can be.

    References:
        [1] Shao et al., 2020. https://arxiv.org/abs/2004.05988
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        kl: Weight = RISE,
        minimum: float = 1.0,
        maximum: float = 100.0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.kl, self.minimum, self.maximum = kl, minimum, maximum

    def objective(self) -> ControlELBO:
        """The bound with its weight under control."""
        return ControlELBO(self.kl, minimum=self.minimum, maximum=self.maximum)
