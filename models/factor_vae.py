"""FactorVAE [Kim & Mnih, 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import FactorELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.factor_vae import Permuted
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["FactorVAE"]


class FactorVAE(IsotropicVAE):
    r"""The isotropic story with the total correlation of its code penalised, as a critic estimates it.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \gamma \operatorname{KL}(q(z) \,\|\, \textstyle\prod_d q(z_d))

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.FactorELBO`, with the critic of the paper: six layers of 1000.
    - Data: observations alone.
    - For: independent coordinates at less cost to the reconstruction than a weight on the whole KL has; unlike
      :class:`~ppl_disentangle.models.BetaTCVAE` without a bias from the batch, but only as good as its critic.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        gamma: weight of the total correlation.
        permute: as in :class:`~ppl_disentangle.inference.FactorELBO`.

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
        self.gamma, self.permute = gamma, permute

    def objective(self) -> FactorELBO:
        """The bound less gamma times the critic's total correlation; each call has a critic of its own."""
        return FactorELBO(self.latent_dim, self.gamma, permute=self.permute)
