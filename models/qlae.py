"""QLAE, the quantised latent autoencoder [Hsu et al., 2023]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_disentangle.inference import QuantisedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.quantised import QuantisedVAE

__all__ = ["QLAE"]


class QLAE(QuantisedVAE):
    r"""Separates factors without labels, in discrete codes of a few learned values per coordinate.

    .. math:: \mathbb E \log p(x \mid z) - \lambda_v \|\operatorname{sg} f(x) - z\|^2
       - \lambda_c \|f(x) - \operatorname{sg} z\|^2

    The operator sg stops the gradient. A value of a coordinate means the same whatever the other
    coordinates are. A network that decodes many combinations of few values is simpler the more
    independent their meanings are. The method also needs strong weight decay:
    ``fit(…, optimizer=partial(torch.optim.AdamW, weight_decay=0.1))``.

    - Story, guide: As in :class:`~ppl_disentangle.models.QuantisedVAE`.
    - Objective: :class:`~ppl_disentangle.inference.QuantisedELBO`.
    - Data: images or vectors, without labels.
    - For: discrete factors, or continuous factors in steps, without a weight on independence.

    Args:
        encoder: Plain network; ``encoder(x)`` has shape ``(batch, latent_dim)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z; twice the number of factors in [1].
        levels: Number of values of each coordinate; 10 in [1].
        quantisation: Weight :math:`\lambda_v`, by which values learn from codes.
        commitment: Weight :math:`\lambda_c`, by which codes learn from values.

    References:
        [1] Hsu et al., 2023. https://arxiv.org/abs/2305.18378
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        levels: int = 10,
        quantisation: Weight = 0.01,
        commitment: Weight = 0.01,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim, levels=levels)
        self.quantisation = quantisation
        self.commitment = commitment
        self.codebook = nn.Parameter(torch.linspace(-0.5, 0.5, levels).repeat(latent_dim, 1))

    def values(self) -> Tensor:
        """The learned values, of shape ``(latent_dim, levels)``."""
        return self.codebook

    def continuous(self, x: Tensor) -> Tensor:
        """The output of the encoder."""
        return self.encoder(x)

    def objective(self) -> QuantisedELBO:
        """The likelihood less the distances between codes and values."""
        return QuantisedELBO(self.quantisation, self.commitment)
