"""beta-TCVAE [Chen et al., 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import TCELBO
from ppl_disentangle.inference.elbo.aggregate import Estimator
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["BetaTCVAE"]


class BetaTCVAE(IsotropicVAE):
    r"""The isotropic story under the total-correlation decomposition.

    .. math:: \mathbb E_{q} \log p(x \mid z) - \alpha I_q(x; z)
       - \beta \operatorname{KL}(q(z) \,\|\, \textstyle\prod_d q(z_d)) - \gamma \sum_d \operatorname{KL}(q(z_d)
         \,\|\, p(z_d))

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        alpha: weight of the mutual information of data and code.
        beta: weight of the total correlation; the paper uses 6 on dSprites.
        gamma: weight of the dimension-wise KL.
        estimator: how q(z) is estimated from a batch, see :class:`~ppl_disentangle.inference.TCELBO`.
        warm_up: steps over which the three weights rise from 0.

    References:
        [1] Chen et al., 2018. https://arxiv.org/abs/1802.04942
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        alpha: Weight = 1.0,
        beta: Weight = 6.0,
        gamma: Weight = 1.0,
        estimator: Estimator = "stratified",
        warm_up: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.estimator, self.warm_up = estimator, warm_up

    def objective(self) -> TCELBO:
        """The bound split in four, its total correlation weighted by beta."""
        return TCELBO(
            self.alpha, self.beta, self.gamma, estimator=self.estimator, warm_up=self.warm_up
        )
