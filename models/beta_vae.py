"""beta-VAE [Higgins et al., 2017]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["BetaVAE"]


class BetaVAE(IsotropicVAE):
    r"""Learns independent factors of images without labels, by weighting the KL divergence.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    With ``beta=1`` it is the VAE.

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: images or vectors, without labels.
    - For: a first try on data whose factors are not labelled. A larger weight gives more
      independent coordinates, and blurrier reconstructions.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        beta: Weight of the KL divergence, in nats per datum; the paper uses 4 on dSprites.
        warm_up: Number of steps over which the weight rises from 0.

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        beta: Weight = 4.0,
        warm_up: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.beta = beta
        self.warm_up = warm_up

    def objective(self) -> BetaELBO:
        """The bound with its KL divergence weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
