"""The variational autoencoder [Kingma & Welling, 2014]."""

from __future__ import annotations

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["VAE"]


class VAE(IsotropicVAE):
    r"""The isotropic story under the evidence lower bound.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 1.
    - Data: observations alone.
    - For: the reference of all others. Nothing in it asks for disentangled coordinates.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.

    References:
        [1] Kingma & Welling, 2014. https://arxiv.org/abs/1312.6114
    """

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(1.0)
