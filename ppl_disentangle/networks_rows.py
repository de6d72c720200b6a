"""Ends of networks that read and write rows of tables, and counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppl_disentangle.columns import Column

__all__ = ["CountInput", "RowInput", "RowPoints", "num_row_inputs"]


class CountInput(nn.Module):
    """The input of a network that reads counts, as log(1 + count). NaN stays NaN."""

    def forward(self, x: Tensor) -> Tensor:
        """Map counts to logarithms of the same shape."""
        return x.log1p()


class RowInput(nn.Module):
    """The input of a network that reads encoded rows of a table.

    Numbers stay as they are. Counts become logarithms relative to their mean, levels numbers from -1
    to 1, binary values -1 or 1, and classes one feature for each class. A missing cell has zeros.

    Args:
        columns: The columns of the table.
        has_missing: Whether further features say which columns are observed.

    Example:
        >>> columns = [Column("age", "number"), Column("city", "class", ("a", "b", "c"))]
        >>> RowInput(columns, has_missing=True)(torch.tensor([[0.5, 2.0], [float("nan"), 0.0]]))
        tensor([[0.5000, 0.0000, 0.0000, 1.0000, 1.0000, 1.0000],
                [0.0000, 1.0000, 0.0000, 0.0000, 0.0000, 1.0000]])
    """

    is_count: Tensor
    shift: Tensor
    scale: Tensor
    measured: Tensor

    def __init__(self, columns: Sequence[Column], *, has_missing: bool) -> None:
        super().__init__()
        self.has_missing = has_missing
        measured = [k for k, column in enumerate(columns) if column.kind != "class"]
        self.classes = {
            k: column.size for k, column in enumerate(columns) if column.kind == "class"
        }
        self.register_buffer("measured", torch.tensor(measured, dtype=torch.long), persistent=False)
        kinds = [columns[k].kind == "count" for k in measured]
        self.register_buffer("is_count", torch.tensor(kinds, dtype=torch.bool), persistent=False)
        ranges = torch.tensor([_range(columns[k]) for k in measured]).reshape(-1, 2)
        self.register_buffer("shift", ranges[:, 0], persistent=False)
        self.register_buffer("scale", ranges[:, 1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``(batch, columns)`` to features ``(batch, num_row_inputs(columns))``."""
        observed = ~x.isnan()
        numbers = x.index_select(-1, self.measured)
        numbers = torch.where(self.is_count, numbers.clamp(min=0).log1p(), numbers)
        features = [((numbers - self.shift) * self.scale).nan_to_num(0.0)]
        for column, size in self.classes.items():
            # NaN equals no class
            features.append((x[:, column, None] == torch.arange(size, device=x.device)).to(x.dtype))
        if self.has_missing:
            features.append(observed.to(x.dtype))
        return torch.cat(features, -1)


def num_row_inputs(columns: Sequence[Column], *, has_missing: bool) -> int:
    """Number of features that :class:`RowInput` makes of a row."""
    sizes = [column.size if column.kind == "class" else 1 for column in columns]
    return sum(sizes) + (len(columns) if has_missing else 0)


def _range(column: Column) -> tuple[float, float]:
    """Shift and scale of the cells of a column that is not of classes."""
    if column.kind == "count":
        return torch.tensor(column.loc).log1p().item(), 1.0
    if column.kind == "number":
        return 0.0, 1.0
    return 0.5 * (column.size - 1), 2 / (column.size - 1)


class RowPoints(nn.Module):
    """The output of a generator of encoded rows: points in the range of each column.

    Args:
        columns: The columns of the table.

    Raises:
        ValueError: A column has classes: no gradient leads through them.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        for column in columns:
            if column.kind == "class":
                raise ValueError(
                    f"a generator passes no gradient through the classes of column {column.name!r};"
                    " leave the column out, or choose a story with a likelihood"
                )
        self.columns = tuple(columns)

    def forward(self, output: Tensor) -> Tensor:
        """Map numbers ``(batch, columns)`` to encoded rows."""
        points = []
        for column, number in zip(self.columns, output.unbind(-1), strict=True):
            if column.kind == "number":
                points.append(number)
            elif column.kind == "count":
                points.append(number.exp() * max(column.loc, 1e-3))
            else:
                points.append(number.sigmoid() * (column.size - 1))
        return torch.stack(points, -1)
