"""The uniform distribution over a few values of each coordinate."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Lattice"]


class Lattice(TorchDistribution):
    r"""One of n values, each as probable: :math:`z \sim U\{v_1, \dots, v_n\}`.

    The log density is :math:`-\log n` at any number: which numbers are values is not looked at, so that gradients which
    pass straight through a choice, or interventions between two values, have one, too.

    Args:
        values: of shape ``(*batch, n)``.

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
        """The same values for each element of a batch."""
        return Lattice(self.values.expand(*batch_shape, self.values.shape[-1]), validate_args=False)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        shape = self._extended_shape(sample_shape)
        index = (torch.rand(shape, device=self.values.device) * self.values.shape[-1]).long()
        return self.values.detach().expand(*shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each value."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        return value.new_full((), -math.log(self.values.shape[-1])).expand(shape)
