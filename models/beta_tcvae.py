"""beta-TCVAE [Chen et al., 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import TCELBO
from ppl_disentangle.inference.elbo.aggregate import Estimator
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["BetaTCVAE"]


class BetaTCVAE(IsotropicVAE):
    r"""Learns independent factors without labels, by penalising the total correlation of the code.

    .. math:: \mathbb E_{q} \log p(x \mid z) - \alpha I_q(x; z)
       - \beta \operatorname{KL}(q(z) \,\|\, \textstyle\prod_d q(z_d))
       - \gamma \sum_d \operatorname{KL}(q(z_d) \,\|\, p(z_d))

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.TCELBO`.
    - Data: images or vectors, without labels.
    - For: independent coordinates that lose less information than with a weight on the whole KL
      divergence, as in :class:`~ppl_disentangle.models.BetaVAE`.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        alpha: Weight of the mutual information of data and code.
        beta: Weight of the total correlation; the paper uses 6 on dSprites.
        gamma: Weight of the dimension-wise KL divergence.
        estimator: Estimator of q(z) from a batch; see :class:`~ppl_disentangle.inference.TCELBO`.
        warm_up: Number of steps over which the three weights rise from 0.

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
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.estimator = estimator
        self.warm_up = warm_up

    def objective(self) -> TCELBO:
        """The bound split into four terms, its total correlation weighted by beta."""
        return TCELBO(
            self.alpha, self.beta, self.gamma, estimator=self.estimator, warm_up=self.warm_up
        )
