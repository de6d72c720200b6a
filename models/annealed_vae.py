"""AnnealedVAE [Burgess et al., 2018]: beta-VAE with a controlled capacity."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import CapacityELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.annealed_vae import RAMP
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["AnnealedVAE"]


class AnnealedVAE(IsotropicVAE):
    r"""Learns one factor after the other, by slowly raising the capacity of the code.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - \gamma | \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - C(t) |

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.CapacityELBO`.
    - Data: images or vectors, without labels.
    - For: codes that take up the factors one by one, in the order in which they help the
      likelihood; a KL divergence that is chosen in advance.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        capacity: Capacity C(t), in nats per datum; by default it rises from 0 to 25 over 100,000
            steps.
        gamma: Weight of the distance between KL divergence and capacity.

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
        self.capacity = capacity
        self.gamma = gamma

    def objective(self) -> CapacityELBO:
        """The log likelihood less the distance between KL divergence and capacity."""
        return CapacityELBO(self.capacity, self.gamma)
