"""FSQ, finite scalar quantisation [Mentzer et al., 2024]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.models.bases.quantised import QuantisedVAE

__all__ = ["FSQVAE"]


class FSQVAE(QuantisedVAE):
    r"""A code whose coordinates have a few values that are fixed, evenly from -1 to 1.

    .. math:: f_d(x) = \tanh \operatorname{net}_d(x)

    - Story, guide: as of :class:`QuantisedVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`: the likelihood, as the divergence is constant.
    - Data: observations alone.
    - For: discrete codes without a codebook that could collapse. By itself it does not separate factors: where the
      learned values of :class:`~ppl_disentangle.models.QLAE` do, its codes were hardly more modular than an
      autoencoder's.

    Args:
        encoder: as in :class:`QuantisedVAE`.
        decoder: as in :class:`QuantisedVAE`.
        latent_dim: as in :class:`QuantisedVAE`.
        levels: number of values of each coordinate; 5 to 8 in [1].

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
        self.register_buffer(
            "lattice", torch.linspace(-1.0, 1.0, levels).repeat(latent_dim, 1), persistent=False
        )

    def values(self) -> Tensor:
        """Evenly from -1 to 1."""
        return self.lattice

    def continuous(self, x: Tensor) -> Tensor:
        """Between -1 and 1."""
        return self.encoder(x).tanh()

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(1.0)
