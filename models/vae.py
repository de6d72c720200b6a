"""The variational autoencoder [Kingma & Welling, 2014]."""

from __future__ import annotations

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["VAE"]


class VAE(IsotropicVAE):
    r"""Compresses data into a code of independent normals; the reference for all other stories.

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 1.
    - Data: images or vectors, without labels.
    - For: comparison. Nothing in this objective asks for disentangled coordinates.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.

    References:
        [1] Kingma & Welling, 2014. https://arxiv.org/abs/1312.6114
    """

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(1.0)
