"""InfoVAE [Zhao et al., 2017]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import InfoELBO
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["InfoVAE"]


class InfoVAE(IsotropicVAE):
    r"""The isotropic story, its aggregate posterior held at the prior, its information not.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - (1 - \alpha) \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - (\alpha + \lambda - 1) \operatorname{MMD}^2(q(z), p(z))

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.InfoELBO`.
    - Data: observations alone.
    - For: codes that are used where a strong decoder would ignore them, and that draws from the prior still fit.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        alpha: 1 is the MMD-VAE, 0 with ``scaling=1`` the VAE.
        scaling: lambda.

    References:
        [1] Zhao et al., 2017. https://arxiv.org/abs/1706.02262
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        alpha: float = 1.0,
        scaling: float = 1000.0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.alpha, self.scaling = alpha, scaling

    def objective(self) -> InfoELBO:
        """The bound with the mutual information and the aggregate posterior weighted apart."""
        return InfoELBO(self.alpha, self.scaling)
