"""AnnealedVAE, the controlled capacity of beta-VAE [Burgess et al., 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import CapacityELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.annealed_vae import RAMP
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["AnnealedVAE"]


class AnnealedVAE(IsotropicVAE):
    r"""The isotropic story, its code allowed a number of nats that grows.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \gamma | \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - C(t) |

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.CapacityELBO`.
    - Data: observations alone.
    - For: codes that take up one factor after the other, those first that help the likelihood most; a KL that is known
      beforehand.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        capacity: C(t) in nats per datum; by default from 0 to 25 over 100,000 steps.
        gamma: weight of the distance.

    References:
        [1] Burgess et al., 2018. https://arxiv.org/abs/1804.03599
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        capacity: Weight = RAMP,
        gamma: Weight = 1000.0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.capacity, self.gamma = capacity, gamma

    def objective(self) -> CapacityELBO:
        """The log likelihood less the distance of the KL from the capacity."""
        return CapacityELBO(self.capacity, self.gamma)
