"""QLAE, the quantised latent autoencoder [Hsu et al., 2023]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_disentangle.inference import QuantisedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.quantised import QuantisedVAE

__all__ = ["QLAE"]


class QLAE(QuantisedVAE):
    r"""A code whose coordinates have a few values each, which are learned.

    .. math:: \mathbb E \log p(x \mid z) - \lambda_v \|\operatorname{sg} f(x) - z\|^2
       - \lambda_c \|f(x) - \operatorname{sg} z\|^2

    The values of a coordinate mean the same whatever the others are: a network that decodes many combinations of few
    values is the simpler, the more independent their meanings. Strong weight decay is the other half of the method:
    ``fit(…, optimizer=partial(torch.optim.AdamW, weight_decay=0.1))``.

    - Story, guide: as of :class:`QuantisedVAE`.
    - Objective: :class:`~ppl_disentangle.inference.QuantisedELBO`.
    - Data: observations alone.
    - For: discrete factors, or continuous ones in steps, without a weight on independence.

    Args:
        encoder: as in :class:`QuantisedVAE`.
        decoder: as in :class:`QuantisedVAE`.
        latent_dim: as in :class:`QuantisedVAE`; twice the number of factors in [1].
        levels: number of values of each coordinate; 10 in [1].
        quantisation: :math:`\lambda_v`, by which values learn from codes.
        commitment: :math:`\lambda_c`, by which codes learn from values.

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
        self.quantisation, self.commitment = quantisation, commitment
        self.codebook = nn.Parameter(torch.linspace(-0.5, 0.5, levels).repeat(latent_dim, 1))

    def values(self) -> Tensor:
        """What has been learned."""
        return self.codebook

    def continuous(self, x: Tensor) -> Tensor:
        """What the network returns."""
        return self.encoder(x)

    def objective(self) -> QuantisedELBO:
        """The likelihood, and the distances of codes from their values."""
        return QuantisedELBO(self.quantisation, self.commitment)
