"""Codes of observations that are sampled from a grid of factors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.metrics.estimators.arrays import as_array, as_codes

__all__ = ["ROWS_PER_CALL", "Encode", "GridCodes", "RenderableGrid"]

Encode = Callable[[Tensor], ArrayLike]
ROWS_PER_CALL = 4096


class RenderableGrid(Protocol):
    """The part of a grid that metrics need; see :class:`~ppl_disentangle.data.base.FactorGrid`."""

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""

    def render(self, factors: Tensor, /) -> Tensor:
        """Observations of the int64 factor classes ``(num, num_factors)``."""


class GridCodes:
    """Samples factors uniformly from a grid and encodes their observations.

    If a metric samples more observations than the grid has, the whole grid is encoded once, at the
    first sample, and codes are looked up from then on. Otherwise every sample is encoded. A random
    encoder therefore keeps the first code that it gave to an observation.

    Args:
        grid: Grid of factors, or any object with ``factor_sizes`` and ``render``.
        encode: Function from rendered observations to codes ``(num, num_codes)``. A call gets at
            most 4,096 observations.
        seed: Seed of all random draws.
        num_draws: Number of observations that the metric will sample.

    Raises:
        ValueError: Every factor has a single value.
    """

    def __init__(self, grid: RenderableGrid, encode: Encode, *, seed: int, num_draws: int) -> None:
        self.grid = grid
        self.encode = encode
        self.sizes = tuple(grid.factor_sizes)
        self.looks_up = math.prod(self.sizes) <= num_draws
        self.generator = torch.Generator().manual_seed(seed)
        self.varying = torch.tensor([k for k, size in enumerate(self.sizes) if size > 1])
        if len(self.varying) == 0:
            raise ValueError(f"expected a factor with at least two values, got sizes {self.sizes}")

    def sample(self, num: int) -> Tensor:
        """Uniform factor classes ``(num, num_factors)``."""
        columns = [torch.randint(size, (num,), generator=self.generator) for size in self.sizes]
        return torch.stack(columns, -1)

    def sample_factor_indices(self, num: int) -> Tensor:
        """Indices ``(num,)`` of random factors among those with several values."""
        choice = torch.randint(len(self.varying), (num,), generator=self.generator)
        return self.varying[choice]

    def sample_groups(self, num: int, num_groups: int, group_size: int) -> tuple[ndarray, ndarray]:
        """Codes of groups of observations that share the value of a random factor.

        Args:
            num: Number of factors to sample.
            num_groups: Groups for each sampled factor; groups may share different values.
            group_size: Observations in a group.

        Returns:
            The index of the shared factor, ``(num,)``, and the codes,
            ``(num, num_groups, group_size, num_codes)``.
        """
        shared = self.sample_factor_indices(num)
        factors = self.sample(num * group_size * num_groups).view(num, group_size, num_groups, -1)
        # Every member of a group takes the first member's value of the shared factor.
        index = torch.arange(num)
        factors[index, :, :, shared] = factors[index, :1, :, shared]
        codes = self.codes(factors.flatten(0, 2)).reshape(num, group_size, num_groups, -1)
        return shared.numpy(), codes.swapaxes(1, 2)

    def codes(self, factors: Tensor) -> ndarray:
        """Codes ``(num, num_codes)`` of the observations with these factor classes."""
        if not self.looks_up:
            return self._encoded(factors)
        rows = np.ravel_multi_index(tuple(factors.numpy().T), self.sizes)
        return self._codes_of_grid[rows]

    @cached_property
    def _codes_of_grid(self) -> ndarray:
        """Codes of the whole grid, the last factor varying fastest."""
        classes = torch.cartesian_prod(*map(torch.arange, self.sizes))
        # A product of one factor is one-dimensional.
        return self._encoded(classes.reshape(-1, len(self.sizes)))

    def _encoded(self, factors: Tensor) -> ndarray:
        with torch.no_grad():
            batches = [
                as_array(self.encode(self.grid.render(batch)))
                for batch in factors.split(ROWS_PER_CALL)
            ]
        return as_codes(np.concatenate(batches))
