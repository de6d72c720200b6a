"""What a structural mechanism is: how a node follows from its parents and from noise of its own."""

from __future__ import annotations

import abc

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Transform

__all__ = ["InvertibleMechanism", "Mechanism"]


class Mechanism(nn.Module, abc.ABC):
    r"""One structural equation :math:`z = f(\varepsilon; \text{parents})`.

    Values and noise have event shape ``(dim,)`` and ``(noise_dim,)``, parents are side by side in the last dimension,
    ``(…, parent_dim)``; the batch dimensions of noise and parents broadcast.

    Implementing a mechanism: define :meth:`forward`, :meth:`abduct` and :meth:`conditional`, with the laws
    ``forward(abduct(z, parents), parents) == z``, and ``z`` distributed as ``conditional(parents)`` where the noise is
    as :meth:`base`. Where a guide is to state the posterior of the node rather than that of its noise, define
    :meth:`pull_back`; where not every number is a value of the node, :meth:`check`.

    Args:
        dim: number of coordinates of the node.
        parent_dim: number of coordinates of its parents together; 0 for a root.
        noise_dim: number of coordinates of its noise; ``dim`` by default.
    """

    zeros: Tensor

    def __init__(self, dim: int = 1, parent_dim: int = 0, *, noise_dim: int | None = None) -> None:
        super().__init__()
        if dim < 1 or parent_dim < 0:
            raise ValueError(f"expected dim >= 1 and parent_dim >= 0, got {dim} and {parent_dim}")
        self.dim, self.parent_dim, self.noise_dim = dim, parent_dim, noise_dim or dim
        self.register_buffer("zeros", torch.zeros(self.noise_dim), persistent=False)

    def base(self) -> TorchDistribution:
        """The distribution of the noise: independent standard normals."""
        return dist.Normal(self.zeros, 1.0).to_event(1)

    @abc.abstractmethod
    def forward(self, noise: Tensor, parents: Tensor) -> Tensor:
        """The value of the node, of shape ``(…, dim)``."""

    @abc.abstractmethod
    def abduct(self, value: Tensor, parents: Tensor) -> Tensor:
        """The noise that gives ``value``, of shape ``(…, noise_dim)``; a draw of it where several do."""

    @abc.abstractmethod
    def conditional(self, parents: Tensor) -> TorchDistribution:
        """p(value | parents)."""

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """The distribution of the noise where the value is distributed as ``posterior``, of event shape ``(dim,)``."""
        raise NotImplementedError(
            f"{type(self).__name__} has no posterior of its noise in closed form"
        )

    def check(self, name: str, value: Tensor) -> None:
        """Raise a ValueError where ``value`` is none that the node ``name`` can take."""


class InvertibleMechanism(Mechanism):
    """A mechanism that is one-to-one between noise and value.

    Implementing one: define :meth:`transform`.
    """

    @abc.abstractmethod
    def transform(self, parents: Tensor) -> Transform:
        """From noise to value, with ``event_dim`` 1."""

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
        """The distribution of the noise where the value is distributed as ``posterior``."""
        return dist.TransformedDistribution(posterior, [self.transform(parents).inv])
