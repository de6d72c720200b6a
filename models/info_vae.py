"""InfoVAE [Zhao et al., 2017]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import InfoELBO
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["InfoVAE"]


class InfoVAE(IsotropicVAE):
    r"""Keeps a code informative under a strong decoder, by matching aggregate posterior and prior.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - (1 - \alpha) \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - (\alpha + \lambda - 1) \operatorname{MMD}^2(q(z), p(z))

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.InfoELBO`.
    - Data: images or vectors, without labels.
    - For: codes that a strong decoder would otherwise ignore, and whose prior still generates good
      samples.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        alpha: Weight alpha: 1 is the MMD-VAE; 0 with ``scaling=1`` is the VAE.
        scaling: Weight lambda.

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
        self.alpha = alpha
        self.scaling = scaling

    def objective(self) -> InfoELBO:
        """The bound with separate weights of mutual information and aggregate posterior."""
        return InfoELBO(self.alpha, self.scaling)
