"""The story of pairs: two observations that share most of their factors, each with a code."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset, pairs
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.networks import Networks

__all__ = ["PairVAE"]


class PairVAE(IsotropicVAE):
    """The isotropic story of observations that come in pairs, or singly. Abstract: subclasses say how pairs are told.

    Implementing one: in ``model`` and ``guide`` ask :meth:`is_pairs`, and define ``objective``.

    Args:
        encoder: ``encoder(x)`` is a normal of event shape ``(latent_dim,)``.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        event_dim: number of dimensions of one observation, by which pairs are told from single ones.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, *, event_dim: int
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.event_dim = event_dim

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Raises:
            ValueError: fewer than two factors, of which none could be shared.
        """
        if len(data.varying) < 2:
            raise ValueError(
                f"{cls.__name__} needs pairs that share a factor: {data.name} has not two that vary"
            )
        encoder, decoder = Gaussian(networks.encoder(2 * latent_dim)), networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, event_dim=len(data.observation_shape), **hyper)

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many pairs as there are data, which share all factors but a random number of them."""
        return pairs(data, "random")

    def is_pairs(self, x: Tensor | None) -> bool:
        """Whether observations are pairs, ``(batch, 2, *event)``, or single.

        Raises:
            ValueError: they are neither.
        """
        if x is None or x.dim() < 2 + self.event_dim:
            return False
        if x.dim() > 2 + self.event_dim or x.shape[1] != 2:
            event = ", ".join(["…"] * self.event_dim)
            raise ValueError(
                f"expected pairs (batch, 2, {event}) or single observations, got shape {tuple(x.shape)}"
            )
        return True
