"""beta-VAE [Higgins et al., 2017]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["BetaVAE"]


class BetaVAE(IsotropicVAE):
    r"""The isotropic story under the beta-weighted bound; ``beta=1`` is the VAE.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        beta: weight of the KL, in nats per datum; the paper uses 4 on dSprites.
        warm_up: steps over which the weight rises from 0.

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
        self.beta, self.warm_up = beta, warm_up

    def objective(self) -> BetaELBO:
        """The bound with its KL weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
