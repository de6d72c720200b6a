"""FactorVAE [Kim & Mnih, 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import FactorELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.factor_vae import Permuted
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["FactorVAE"]


class FactorVAE(IsotropicVAE):
    r"""Learns independent factors without labels, by penalising a total correlation from a critic.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \gamma \operatorname{KL}(q(z) \,\|\, \textstyle\prod_d q(z_d))

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.FactorELBO` with the critic of the paper, six
      layers of 1000 units.
    - Data: images or vectors, without labels.
    - For: independent coordinates at a smaller cost to the reconstruction than with a weight on the
      whole KL divergence. Unlike :class:`~ppl_disentangle.models.BetaTCVAE` it has no bias from the
      size of the batch, but it is only as good as its critic.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        gamma: Weight of the total correlation.
        permute: Draws that are permuted for the critic, ``"batch"`` or ``"halves"``; see
            :class:`~ppl_disentangle.inference.FactorELBO`.

    References:
        [1] Kim & Mnih, 2018. https://arxiv.org/abs/1802.05983
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        gamma: Weight = 10.0,
        permute: Permuted = "batch",
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.gamma = gamma
        self.permute = permute

    def objective(self) -> FactorELBO:
        """The bound less gamma times the total correlation; each call makes a new critic."""
        return FactorELBO(self.latent_dim, self.gamma, permute=self.permute)
