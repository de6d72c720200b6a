"""The abstract story of quantised codes, each coordinate one of a few values, and their prior."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.networks import Networks
from ppl_disentangle.sites import state_auxiliary
from ppl_disentangle.story import GenerativeStory

__all__ = ["Lattice", "QuantisedVAE"]


class QuantisedVAE(GenerativeStory):
    r"""Abstract: a code each of whose coordinates takes one of a few equally probable values.

    .. math:: z_d \sim U\{v_{d1}, \dots, v_{dn}\}, \quad x \mid z \sim p(x \mid z), \qquad
       q(z \mid x) = \delta\bigl(z - \arg\min_{v \in V} |v - f(x)|\bigr)

    The posterior is a point, so the divergence from the uniform prior is the constant
    :math:`\sum_d \log n`. The gradient with respect to the nearest value is passed straight
    through to f(x).

    Implementing one: define :meth:`values`, :meth:`continuous` and ``objective``.

    Args:
        encoder: Plain network; ``encoder(x)`` has shape ``(batch, latent_dim)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        levels: Number n of values of each coordinate.

    Raises:
        ValueError: ``levels`` is below 2.
    """

    latents = ("z",)
    decoder: Callable[[Tensor], TorchDistribution]

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, *, levels: int
    ) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"expected at least two levels, got {levels}")
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.levels = levels

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any
    ) -> Self:
        """Build the story for ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the decoder.
            latent_dim: Number of coordinates of z.
            **hyper: Further arguments of the story.
        """
        return cls(networks.encoder(latent_dim), networks.decoder(latent_dim), latent_dim, **hyper)

    @abc.abstractmethod
    def values(self) -> Tensor:
        """The values of each coordinate, of shape ``(latent_dim, levels)``."""

    @abc.abstractmethod
    def continuous(self, x: Tensor) -> Tensor:
        """The code f(x) before it is quantised, of shape ``(batch, latent_dim)``."""

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", Lattice(self.values()).to_event(1))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x), a point at the nearest values."""
        with self.data_plate(x):
            u = state_auxiliary("z_continuous", self.continuous(x))
            nearest = state_auxiliary("z_nearest", self.nearest(u))
            # straight through: the value is `nearest`, the gradient is that with respect to u
            pyro.sample("z", dist.Delta(u + (nearest - u).detach(), event_dim=1))

    def nearest(self, u: Tensor) -> Tensor:
        """The value nearest to each coordinate of ``u``, in the shape of ``u``."""
        values = self.values()
        distances = (u.unsqueeze(-1) - values).abs()  # (…, latent_dim, levels)
        index = distances.argmin(-1, keepdim=True)
        return values.expand(*u.shape, -1).gather(-1, index).squeeze(-1)

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """A point at the quantised code of x."""
        check_conditions(self, conditions)
        return {"z": dist.Delta(self.nearest(self.continuous(x).detach()), event_dim=1)}


class Lattice(TorchDistribution):
    r"""The uniform distribution over n values: :math:`z \sim U\{v_1, \dots, v_n\}`.

    The log density is :math:`-\log n` at every number, whether or not it is one of the values.
    Codes whose gradient passes straight through the quantisation, and interventions that set a
    number between two values, therefore have a density too.

    Args:
        values: The values, of shape ``(*batch, n)``.

    Example:
        >>> Lattice(torch.tensor([[-1.0, 0.0, 1.0], [2.0, 3.0, 4.0]])).mean
        tensor([0., 3.])
    """

    arg_constraints = {"values": constraints.real_vector}
    support = constraints.real

    def __init__(self, values: Tensor, *, validate_args: bool | None = None) -> None:
        self.values = values
        super().__init__(values.shape[:-1], torch.Size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean of the values."""
        return self.values.mean(-1)

    @property
    def variance(self) -> Tensor:
        """The variance of the values."""
        return self.values.var(-1, correction=0)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Lattice:
        """The same distribution for each element of a batch."""
        return Lattice(self.values.expand(*batch_shape, self.values.shape[-1]), validate_args=False)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        shape = self._extended_shape(sample_shape)
        num_values = self.values.shape[-1]
        index = (torch.rand(shape, device=self.values.device) * num_values).long()
        values = self.values.detach().expand(*shape, -1)  # (*sample_shape, *batch, n)
        return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus log n, whatever the value is."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        return value.new_full((), -math.log(self.values.shape[-1])).expand(shape)
