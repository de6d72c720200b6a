"""DIP-VAE I and II [Kumar et al., 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import DIPELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.objectives.dip_vae import Variant
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["DIPVAE"]


class DIPVAE(IsotropicVAE):
    r"""Learns decorrelated factors without labels, by penalising covariances in the code.

    .. math:: \text{ELBO} - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2

    C is the covariance over the data of the posterior means (variant ``"I"``), or the covariance
    of the aggregate posterior (``"II"``).

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.DIPELBO`.
    - Data: images or vectors, without labels.
    - For: decorrelated coordinates that keep their information, at the cost of one matrix product
      per step. Coordinates can be uncorrelated and still depend on each other.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        variant: ``"I"`` or ``"II"``, see above.
        off_diagonal: Weight of the squared covariances.
        diagonal: Weight of the variances; by default 10 times ``off_diagonal`` for ``"I"``, and
            ``off_diagonal`` for ``"II"``.

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
        self.variant = variant
        self.off_diagonal = off_diagonal
        self.diagonal = diagonal

    def objective(self) -> DIPELBO:
        """The bound less the penalty on the covariance of the code."""
        return DIPELBO(self.off_diagonal, self.diagonal, variant=self.variant)
