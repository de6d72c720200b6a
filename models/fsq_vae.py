"""FSQ, finite scalar quantisation [Mentzer et al., 2024]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.models.bases.quantised import QuantisedVAE

__all__ = ["FSQVAE"]


class FSQVAE(QuantisedVAE):
    r"""Learns discrete codes without labels, whose coordinates are rounded to a few fixed values.

    .. math:: f_d(x) = \tanh \operatorname{net}_d(x)

    The values of each coordinate are evenly spaced from -1 to 1.

    - Story, guide: As in :class:`~ppl_disentangle.models.QuantisedVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`. It amounts to the likelihood, since
      the divergence is constant.
    - Data: images or vectors, without labels.
    - For: discrete codes without a codebook that could collapse. By itself it does not separate
      factors. In a test where the learned values of :class:`~ppl_disentangle.models.QLAE` did, its
      codes were hardly more modular than the codes of an autoencoder.

    Args:
        encoder: Plain network; ``encoder(x)`` has shape ``(batch, latent_dim)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        levels: Number of values of each coordinate; 5 to 8 in [1].

    References:
        [1] Mentzer et al., 2024. https://arxiv.org/abs/2309.15505

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> story = FSQVAE(nn.Linear(6, 4), Bernoulli(nn.Linear(4, 6)), 4, levels=5)
        >>> story.values()[0]
        tensor([-1.0000, -0.5000,  0.0000,  0.5000,  1.0000])
    """

    lattice: Tensor

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, *, levels: int = 8
    ) -> None:
        super().__init__(encoder, decoder, latent_dim, levels=levels)
        lattice = torch.linspace(-1.0, 1.0, levels).repeat(latent_dim, 1)
        self.register_buffer("lattice", lattice, persistent=False)

    def values(self) -> Tensor:
        """Evenly spaced values from -1 to 1, of shape ``(latent_dim, levels)``."""
        return self.lattice

    def continuous(self, x: Tensor) -> Tensor:
        """The code of x between -1 and 1, before it is rounded."""
        return self.encoder(x).tanh()

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(1.0)
