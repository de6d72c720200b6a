"""Grids whose images are read and not drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorGrid

__all__ = ["StoredGrid", "row_major"]


class StoredGrid(FactorGrid):
    """A grid of stored images.

    Implementing a stored grid: set the attributes of :class:`~ppl_disentangle.data.FactorDataset`, and those below.

    Attributes:
        images: uint8 of shape ``(num, height, width, channels)``, in memory or mapped; a batch is copied from where
            they are to the device of its index, and :meth:`to` moves all of them.
        rows: which image is that of each combination; without it, they are in the order of the grid.
    """

    images: Tensor
    rows: DeviceCopies | None = None

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, len(space))``: uint8 ``(batch, channels, height, width)``."""
        return self.observations(self.index(factors))

    def observations(self, index: Tensor) -> Tensor:
        """Equal to ``render(factors(index))``, without the way through the factors."""
        rows = index if self.rows is None else self.rows.on(index.device).index_select(0, index)
        images = self.images.to("meta") if rows.is_meta else self.images
        chosen = images.index_select(0, rows.to(images.device)).to(index.device)
        return chosen.permute(0, 3, 1, 2).contiguous()


def row_major(
    table: npt.NDArray[np.generic], name: str, last: str
) -> list[npt.NDArray[np.generic]]:
    """The levels of each column of a table ``(rows, factors)`` that lists every combination once and in order.

    Args:
        table: values or classes.
        name: of the table, for errors.
        last: name of the last factor, for errors.

    Raises:
        ValueError: a combination is missing, twice, or out of order.
    """
    levels = [np.unique(column) for column in table.T]
    sizes = [len(level) for level in levels]
    if np.prod(sizes) != len(table):
        raise ValueError(f"expected every combination once, got {sizes} values, {len(table)} rows")
    grid = np.indices(sizes, dtype=np.int32).reshape(len(sizes), -1)
    for column, expected in zip(table.T, grid, strict=True):
        if not np.array_equal(np.unique(column, return_inverse=True)[1], expected):
            raise ValueError(
                f"expected rows in row-major order with {last} fastest, {name} has another"
            )
    return levels
