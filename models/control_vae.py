"""ControlVAE [Shao et al., 2020]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import ControlELBO, Linear
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["ControlVAE"]

RISE = Linear(0.5, 18.0, 583_333)
"""Default target of the KL divergence, in nats per datum."""


class ControlVAE(IsotropicVAE):
    r"""Trains a VAE to a chosen KL divergence, by a controller that adapts its weight.

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.ControlELBO`, a PI controller of the weight.
    - Data: images or vectors, without labels.
    - For: a KL divergence that stays at a chosen value during training.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        kl: Target of the KL divergence, in nats per datum. By default it rises by 0.15 every 5000
            steps from 0.5, as in the authors' code, and ends at 18, which is not from the paper.
        minimum: Smallest weight that the controller may set.
        maximum: Largest weight that the controller may set.

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
        self.kl = kl
        self.minimum = minimum
        self.maximum = maximum

    def objective(self) -> ControlELBO:
        """The bound, its KL divergence weighted by the controller."""
        return ControlELBO(self.kl, minimum=self.minimum, maximum=self.maximum)
