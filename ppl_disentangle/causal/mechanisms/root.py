"""A mechanism for a node without parents that has a given distribution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, Transform

from ppl_disentangle.causal.mechanisms.base import Mechanism

__all__ = ["GivenRoot"]


class GivenRoot(Mechanism):
    r"""A root with a given distribution: it equals its noise, :math:`z = \varepsilon`.

    For a root with a learned normal distribution, use ``LinearGaussian(dim)``. The distribution
    moves with the module to other devices and precisions; it is not part of the state dict.

    Args:
        distribution: Distribution of event shape ``()`` or ``(dim,)``, without batch dimensions.

    Raises:
        ValueError: The distribution has another event shape, or batch dimensions.

    Example:
        >>> root = GivenRoot(dist.Uniform(-1.0, 1.0))
        >>> root.base().expand([5])().shape
        torch.Size([5, 1])
    """

    def __init__(self, distribution: TorchDistribution) -> None:
        if len(distribution.shape()) > 1 or distribution.batch_shape:
            raise ValueError(
                "expected a distribution of event shape () or (dim,) without batch dimensions, such as"
                f" Normal(0, 1) or Normal(zeros(3), 1).to_event(1), got batch shape {tuple(distribution.batch_shape)}"
                f" and event shape {tuple(distribution.event_shape)}"
            )
        super().__init__(distribution.event_shape.numel())
        self.distribution = (
            distribution if distribution.event_shape else distribution.expand([1]).to_event(1)
        )

    def base(self) -> TorchDistribution:
        """The given distribution."""
        return self.distribution

    def forward(self, noise: Tensor, parents: Tensor) -> Tensor:
        """The noise itself."""
        return noise

    def abduct(self, value: Tensor, parents: Tensor) -> Tensor:
        """The value itself."""
        return value

    def conditional(self, parents: Tensor) -> TorchDistribution:
        """The given distribution."""
        return self.distribution

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """The posterior itself."""
        return posterior

    def check(self, name: str, value: Tensor) -> None:
        """Raise a ValueError if the distribution is discrete and ``value`` is impossible."""
        support = self.distribution.support
        columns = value.expand(torch.broadcast_shapes(value.shape, (self.dim,)))
        if support.is_discrete and not support.check(columns).all():
            raise ValueError(f"node {name!r} has values in {support}, got {value.tolist()}")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GivenRoot:
        self.distribution = _moved(self.distribution, fn)
        return super()._apply(fn, recurse)


def _moved(distribution: TorchDistribution, fn: Callable[[Tensor], Tensor]) -> TorchDistribution:
    """A copy of the distribution with ``fn`` applied to all its tensors, nested ones included."""
    moved = copy.deepcopy(distribution)
    visited: list[Any] = []
    remaining: list[Any] = [moved]
    while remaining:
        owner = remaining.pop()
        if any(owner is other for other in visited):
            continue  # a transform and its cached inverse refer to each other
        visited.append(owner)
        for name, value in vars(owner).items():
            if isinstance(value, Tensor):
                vars(owner)[name] = fn(value)
            members = value if isinstance(value, list | tuple) else [value]
            remaining += [m for m in members if isinstance(m, Distribution | Transform)]
    return moved
