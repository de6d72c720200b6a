"""Grids whose images are stored, in memory or in a mapped file."""

from __future__ import annotations

import abc

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ppl_disentangle.data.base import FactorGrid

__all__ = ["StoredGrid", "row_major"]


class StoredGrid(FactorGrid):
    """A grid of stored images.

    Implementing a stored grid: set the attributes of :class:`~ppl_disentangle.data.FactorDataset`
    and ``images``, and define :meth:`image_rows`.

    Attributes:
        images: uint8 of shape ``(num, height, width, channels)``, in memory or mapped. A batch is
            copied to the device of its index; :meth:`to` moves all images.
    """

    images: Tensor

    @abc.abstractmethod
    def image_rows(self, index: Tensor) -> Tensor:
        """Positions in ``images`` of the combinations at ``index``."""

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, len(space))``.

        Returns:
            uint8 of shape ``(batch, channels, height, width)``.
        """
        return self.observations(self.index(factors))

    def observations(self, index: Tensor) -> Tensor:
        """Images at ``index``; the same as ``render(factors(index))``, in fewer steps."""
        rows = self.image_rows(index)
        images = self.images.to("meta") if rows.is_meta else self.images
        chosen = images.index_select(0, rows.to(images.device)).to(index.device)
        return chosen.permute(0, 3, 1, 2).contiguous()


def row_major(
    table: npt.NDArray[np.generic], name: str, last: str
) -> list[npt.NDArray[np.generic]]:
    """Distinct values of each column of a table that lists every combination in row-major order.

    Args:
        table: Values or classes of shape ``(rows, factors)``.
        name: Name of the table in error messages.
        last: Name of the last factor in error messages.

    Raises:
        ValueError: A combination is missing, listed twice, or out of order.
    """
    levels = [np.unique(column) for column in table.T]
    sizes = [len(level) for level in levels]
    if np.prod(sizes) != len(table):
        raise ValueError(f"expected every combination once, got {sizes} values, {len(table)} rows")
    grid = np.indices(sizes, dtype=np.int32).reshape(len(sizes), -1)  # (factors, rows)
    for column, expected in zip(table.T, grid, strict=True):
        _, classes = np.unique(column, return_inverse=True)
        if not np.array_equal(classes, expected):
            raise ValueError(
                f"expected rows in row-major order with {last} fastest, {name} has another order"
            )
    return levels
