"""Codes of observations that are drawn from a grid of factors, each encoded once where they repeat."""

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

__all__ = ["ROWS_PER_CALL", "GridCodes", "Encode", "RenderableGrid"]

Encode = Callable[[Tensor], ArrayLike]
ROWS_PER_CALL = 4096


class RenderableGrid(Protocol):
    """What a sampled score asks of a grid; every :class:`~ppl_disentangle.data.base.FactorGrid` has it."""

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""

    def render(self, factors: Tensor, /) -> Tensor:
        """Observations of the int64 factor classes ``(num, num_factors)``."""


class GridCodes:
    """Uniform factors of a grid and the codes of their observations.

    Where a score draws more observations than the grid has, the whole grid is encoded once, at the first
    draw, and codes are looked up; otherwise every draw is encoded. An encoder that is itself random keeps
    the code that it gave first.

    Args:
        grid: the factor grid, or anything with ``factor_sizes`` and ``render``.
        encode: from rendered observations to codes ``(num, num_codes)``; called on at most 4,096 a time.
        seed: seed of all draws.
        num_draws: how many observations the score will draw.
    """

    def __init__(self, grid: RenderableGrid, encode: Encode, *, seed: int, num_draws: int) -> None:
        self.grid, self.encode = grid, encode
        self.sizes = tuple(grid.factor_sizes)
        self.whole = math.prod(self.sizes) <= num_draws
        self.generator = torch.Generator().manual_seed(seed)
        self.free = torch.tensor([k for k, size in enumerate(self.sizes) if size > 1])
        if len(self.free) == 0:
            raise ValueError(f"expected a factor with at least two values, got sizes {self.sizes}")

    def uniform(self, num: int) -> Tensor:
        """Factor classes ``(num, num_factors)``."""
        return torch.stack(
            [torch.randint(n, (num,), generator=self.generator) for n in self.sizes], -1
        )

    def fixed(self, num: int) -> Tensor:
        """A factor with several values for each of ``num`` votes."""
        return self.free[torch.randint(len(self.free), (num,), generator=self.generator)]

    def codes(self, factors: Tensor) -> ndarray:
        """Codes ``(num, num_codes)`` of the observations with these factors."""
        if self.whole:
            return self._table[np.ravel_multi_index(tuple(factors.numpy().T), self.sizes)]
        return self._encoded(factors)

    @cached_property
    def _table(self) -> ndarray:
        """Codes of the whole grid, the last factor varying fastest."""
        return self._encoded(
            torch.cartesian_prod(*map(torch.arange, self.sizes)).reshape(-1, len(self.sizes))
        )

    def _encoded(self, factors: Tensor) -> ndarray:
        with torch.no_grad():
            parts = [
                as_array(self.encode(self.grid.render(f))) for f in factors.split(ROWS_PER_CALL)
            ]
        return as_codes(np.concatenate(parts))
