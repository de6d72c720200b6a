"""The story of codes on a lattice: each coordinate one of a few values."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Self

import pyro
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.models.bases.lattice import Lattice
from ppl_disentangle.networks import Networks
from ppl_disentangle.sites import state_auxiliary
from ppl_disentangle.story import GenerativeStory

__all__ = ["QuantisedVAE"]


class QuantisedVAE(GenerativeStory):
    r"""A code each of whose coordinates is one of a few values, all as probable. Abstract.

    .. math:: z_d \sim U\{v_{d1}, \dots, v_{dn}\}, \quad x \mid z \sim p(x \mid z), \qquad
       q(z \mid x) = \delta\bigl(z - \arg\min_{v \in V} |v - f(x)|\bigr)

    The divergence is that of a point from a uniform choice, :math:`\sum_d \log n`, whatever x is. The gradient of the
    nearest value goes straight through to f(x).

    Implementing one: define :meth:`values`, :meth:`continuous` and ``objective``.

    Args:
        encoder: ``encoder(x)`` is of shape ``(batch, latent_dim)``, a plain network.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: number of coordinates.
        levels: n, the number of values of each.

    Raises:
        ValueError: fewer than two values.
    """

    latents = ("z",)
    decoder: Callable[[Tensor], TorchDistribution]

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, *, levels: int
    ) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"expected at least two levels, got {levels}")
        self.encoder, self.decoder, self.latent_dim, self.levels = (
            encoder,
            decoder,
            latent_dim,
            levels,
        )

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`."""
        return cls(networks.encoder(latent_dim), networks.decoder(latent_dim), latent_dim, **hyper)

    @abc.abstractmethod
    def values(self) -> Tensor:
        """The values of each coordinate, of shape ``(latent_dim, levels)``."""

    @abc.abstractmethod
    def continuous(self, x: Tensor) -> Tensor:
        """f(x), of shape ``(batch, latent_dim)``."""

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", Lattice(self.values()).to_event(1))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x), a point."""
        with self.data_plate(x):
            u = state_auxiliary("z_continuous", self.continuous(x))
            nearest = state_auxiliary("z_nearest", self.nearest(u))
            pyro.sample("z", dist.Delta(u + (nearest - u).detach(), event_dim=1))

    def nearest(self, u: Tensor) -> Tensor:
        """The nearest values, of the shape of ``u``."""
        values = self.values()
        index = (u.unsqueeze(-1) - values).abs().argmin(-1)
        return values.expand(*u.shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """The values of x."""
        return {"z": dist.Delta(self.nearest(self.continuous(x).detach()), event_dim=1)}
