"""Check that values to draw lie in the range that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["check_ranges"]


def check_ranges(
    names: Sequence[str], values: Tensor, lowest: Sequence[float], highest: Sequence[float]
) -> None:
    """Raise an error if a column of ``values`` leaves its range.

    Args:
        names: Name of each column.
        values: Values of shape ``(batch, len(names))``.
        lowest: Smallest allowed value of each column.
        highest: Largest allowed value of each column.

    Raises:
        ValueError: A value is out of range or NaN.
    """
    for name, column, low, high in zip(names, values.unbind(-1), lowest, highest, strict=True):
        outside = column[~((low <= column) & (column <= high))]
        if len(outside):
            got = outside[0].item()
            raise ValueError(f"expected {name} in [{low:g}, {high:g}], got {got:g}")
