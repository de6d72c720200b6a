"""DIP-VAE I and II [Kumar et al., 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import DIPELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.dip_vae import Variant
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["DIPVAE"]


class DIPVAE(IsotropicVAE):
    r"""The isotropic story with the covariance of its code held near the identity.

    .. math:: \text{ELBO} - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2

    C is the covariance over the data of the posteriors' means (variant ``"I"``) or of the aggregate posterior
    (``"II"``).

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.DIPELBO`.
    - Data: observations alone.
    - For: decorrelated coordinates that keep their information, at no more than a matrix product a step. Two moments
      are not independence.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        variant: ``"I"`` or ``"II"``.
        off_diagonal: weight of the covariances.
        diagonal: weight of the variances; by default 10 times ``off_diagonal`` for ``"I"``, the same for ``"II"``.

    References:
        [1] Kumar et al., 2018. https://arxiv.org/abs/1711.00848
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        variant: Variant = "II",
        off_diagonal: Weight = 10.0,
        diagonal: Weight | None = None,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.variant, self.off_diagonal, self.diagonal = variant, off_diagonal, diagonal

    def objective(self) -> DIPELBO:
        """The bound with the code decorrelated."""
        return DIPELBO(self.off_diagonal, self.diagonal, variant=self.variant)
