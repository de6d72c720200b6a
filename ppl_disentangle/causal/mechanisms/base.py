"""The abstract mechanism: a node as a function of its parents and its noise."""

from __future__ import annotations

import abc

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Transform

__all__ = ["InvertibleMechanism", "Mechanism"]


class Mechanism(nn.Module, abc.ABC):
    r"""A structural equation: a node as a function of its parents and its noise.

    .. math:: z = f(\varepsilon; \text{parents})

    Values have event shape ``(dim,)``, noise has event shape ``(noise_dim,)``. The values of all
    parents are side by side in the last dimension, ``(…, parent_dim)``. The batch dimensions of
    noise and parents broadcast.

    Implementing a mechanism: define :meth:`forward`, :meth:`abduct` and :meth:`conditional`, such
    that ``forward(abduct(z, parents), parents) == z``, and such that ``z`` is distributed as
    ``conditional(parents)`` if the noise is distributed as :meth:`base`. Define :meth:`pull_back`
    if guides may state the posterior of the node instead of the posterior of its noise, and
    :meth:`check` if the node cannot take every number.

    Args:
        dim: Number of coordinates of the node.
        parent_dim: Number of coordinates of all its parents; 0 for a root.
        noise_dim: Number of coordinates of its noise; by default the same as ``dim``.
    """

    zeros: Tensor

    def __init__(self, dim: int = 1, parent_dim: int = 0, *, noise_dim: int | None = None) -> None:
        super().__init__()
        if dim < 1 or parent_dim < 0:
            raise ValueError(f"expected dim >= 1 and parent_dim >= 0, got {dim} and {parent_dim}")
        self.dim = dim
        self.parent_dim = parent_dim
        self.noise_dim = noise_dim or dim
        self.register_buffer("zeros", torch.zeros(self.noise_dim), persistent=False)

    def base(self) -> TorchDistribution:
        """The distribution of the noise: independent standard normals."""
        return dist.Normal(self.zeros, 1.0).to_event(1)

    @abc.abstractmethod
    def forward(self, noise: Tensor, parents: Tensor) -> Tensor:
        """The value of the node, of shape ``(…, dim)``."""

    @abc.abstractmethod
    def abduct(self, value: Tensor, parents: Tensor) -> Tensor:
        """The noise that gives ``value``, ``(…, noise_dim)``; a random draw if it is not unique."""

    @abc.abstractmethod
    def conditional(self, parents: Tensor) -> TorchDistribution:
        """p(value | parents)."""

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """The distribution of the noise if ``posterior`` is the distribution of the value."""
        raise NotImplementedError(
            f"{type(self).__name__} has no posterior of its noise in closed form"
        )

    def check(self, name: str, value: Tensor) -> None:
        """Raise a ValueError if the node ``name`` cannot take ``value``."""


class InvertibleMechanism(Mechanism):
    """A mechanism that maps noise to values one-to-one.

    Implementing an invertible mechanism: define :meth:`transform`.
    """

    @abc.abstractmethod
    def transform(self, parents: Tensor) -> Transform:
        """The transform from noise to value, with ``event_dim`` 1."""

    def forward(self, noise: Tensor, parents: Tensor) -> Tensor:
        """The value of the node, of shape ``(…, dim)``."""
        return self.transform(parents)(noise)

    def abduct(self, value: Tensor, parents: Tensor) -> Tensor:
        """The noise that gives ``value``, of shape ``(…, dim)``."""
        return self.transform(parents).inv(value)

    def conditional(self, parents: Tensor) -> TorchDistribution:
        """p(value | parents), by the change of variables."""
        return dist.TransformedDistribution(self.base(), [self.transform(parents)])

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """The distribution of the noise if the value is distributed as ``posterior``."""
        return dist.TransformedDistribution(posterior, [self.transform(parents).inv])
