"""The abstract story of pairs: two observations that share most of their factors."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset, pairs
from ppl_disentangle.models.bases.normal_code import NormalCode
from ppl_disentangle.networks import Networks

__all__ = ["PairVAE"]


class PairVAE(NormalCode):
    """Abstract: a normal code for each member of a pair of observations, or for a single one.

    Implementing one: define ``model``, ``guide`` and ``objective``. Model and guide take pairs and
    single observations alike; ask :meth:`is_pairs` which they got.

    Args:
        encoder: ``encoder(x)`` is q(z | x), a normal with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z), a distribution over one observation.
        latent_dim: Number of coordinates of z.
        event_dim: Number of dimensions of one observation; pairs have one dimension more.
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
        """Build the story for pairs drawn from ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations with at least two factors that vary.
            networks: Makes the encoder and the decoder.
            latent_dim: Number of coordinates of z.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: Fewer than two factors vary, so that pairs could share none of them.
        """
        if len(data.varying) < 2:
            raise ValueError(
                f"{cls.__name__} needs pairs that share a factor:"
                f" expected data with two factors that vary, {data.name} has fewer"
            )
        encoder = Gaussian(networks.encoder(2 * latent_dim))
        decoder = networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, event_dim=len(data.observation_shape), **hyper)

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many pairs as there are data, which differ in a random number of factors."""
        return pairs(data, "random")

    def is_pairs(self, x: Tensor | None) -> bool:
        """Whether observations are pairs, ``(batch, 2, *event)``, or single, ``(batch, *event)``.

        Raises:
            ValueError: The observations have another shape.
        """
        if x is None or x.dim() < 2 + self.event_dim:
            return False
        if x.dim() > 2 + self.event_dim or x.shape[1] != 2:
            event = ", ".join(["…"] * self.event_dim)
            raise ValueError(
                f"expected pairs (batch, 2, {event}) or single observations,"
                f" got shape {tuple(x.shape)}"
            )
        return True
