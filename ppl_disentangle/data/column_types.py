"""The type of a column of a table, from a rule or as asked for, and its encoded cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

from ppl_disentangle.columns import Column, ColumnKind, ColumnLikelihood
from ppl_disentangle.data.cells import Cells

__all__ = ["ColumnType", "encoded_column", "kind_of", "positions_of"]

ColumnType: TypeAlias = "ColumnKind | Sequence[Any]"
"""A kind of column, or the values of an ordered column in their order."""

MAX_CLASSES = 1000
"""Most values of a column of classes, each of which is an output of the network."""
MAX_RARE_CLASSES = 10
MAX_LEVELS = 10
MIN_DATA_PER_LEVEL = 5

Numbers: TypeAlias = npt.NDArray[np.float64]


def encoded_column(
    name: str, cells: Cells, wanted: ColumnType | None, likelihood: ColumnLikelihood | None
) -> tuple[Column, Numbers]:
    """The column and its encoded cells ``(rows,)``, NaN where missing.

    Args:
        name: Name of the column.
        cells: Its cells.
        wanted: Type of the column; by default the type whose rule fits.
        likelihood: Likelihood of the column; by default the default of its kind.

    Raises:
        ValueError: The cells do not fit the type, or have fewer than two different values.
    """
    _check_varied(cells)
    if wanted is not None and not isinstance(wanted, str):
        return _in_stated_order(name, cells, list(wanted), likelihood)
    kind = _checked_kind(wanted or kind_of(cells))
    if kind in ("number", "count"):
        return _measured(name, cells, kind, likelihood)
    return _classified(name, cells, kind, likelihood)


def _check_varied(cells: Cells) -> None:
    """Refuse a column with fewer than two different values."""
    known = cells.numbers[~np.isnan(cells.numbers)]
    if not len(known):
        raise ValueError("all its cells are missing; leave it out")
    if len(np.unique(known)) < 2:
        value = cells.values[int(known[0])] if cells.values else f"{known[0]:g}"
        raise ValueError(f"all its cells are {value!r}; leave it out")


def _checked_kind(kind: str) -> ColumnKind:
    if kind not in get_args(ColumnKind):
        expected = ", ".join(get_args(ColumnKind))
        raise ValueError(f"expected a type among {expected}, or a list of values, got {kind!r}")
    return cast(ColumnKind, kind)


def kind_of(cells: Cells) -> ColumnKind:
    """The first type whose rule the cells fit; see :func:`~ppl_disentangle.data.from_table`."""
    known = cells.numbers[~np.isnan(cells.numbers)]
    values = np.unique(known)
    are_whole = bool((known == np.floor(known)).all())
    if len(values) == 2 and are_whole:
        return "binary"
    if cells.kind == "ordered categories":
        return "ordered"
    if cells.kind != "numbers":
        return "class"
    if not are_whole or values[0] < 0:
        return "number"
    if values[0] == 0:
        return "count"
    are_few = len(values) <= MAX_LEVELS and MIN_DATA_PER_LEVEL * len(values) <= len(known)
    return "ordered" if are_few else "number"


def _measured(
    name: str, cells: Cells, kind: ColumnKind, likelihood: ColumnLikelihood | None
) -> tuple[Column, Numbers]:
    """A number, standardised, or a count as it is."""
    if cells.values and cells.kind != "bools":
        raise ValueError(f"expected numbers for type {kind!r}, got {cells.values[0]!r}")
    numbers = cells.numbers
    loc = float(np.nanmean(numbers))
    scale = float(np.nanstd(numbers))
    column = Column(name, kind, (), loc, scale, likelihood)
    if kind == "number":
        return column, (numbers - loc) / scale
    known = numbers[~np.isnan(numbers)]
    if (known < 0).any() or (known != np.floor(known)).any():
        wrong = known[(known < 0) | (known != np.floor(known))][0]
        raise ValueError(f"expected whole numbers from 0 for type 'count', got {wrong:g}")
    return column, numbers


def _classified(
    name: str, cells: Cells, kind: ColumnKind, likelihood: ColumnLikelihood | None
) -> tuple[Column, Numbers]:
    """A class, level or binary value, as its position among the values."""
    known = cells.numbers[~np.isnan(cells.numbers)]
    used, positions = np.unique(known, return_inverse=True)
    encoded = cells.numbers.copy()
    encoded[~np.isnan(encoded)] = positions
    if kind == "binary" and len(used) != 2:
        raise ValueError(f"expected two different values for type 'binary', got {len(used)}")
    _check_number_of_classes(cells, len(used), len(known))
    values = tuple(cells.values[int(k)] if cells.values else _plain(k) for k in used)
    loc = float(positions.mean()) if kind == "binary" else 0.0
    return Column(name, kind, values, loc, 1.0, likelihood), encoded


def _check_number_of_classes(cells: Cells, num_classes: int, num_known: int) -> None:
    """Refuse texts such as names, which differ in nearly all rows."""
    are_names = cells.kind == "texts" and num_classes > max(MAX_RARE_CLASSES, num_known / 2)
    if num_classes > MAX_CLASSES or are_names:
        raise ValueError(
            f"expected at most {MAX_CLASSES} different values, each in two rows on average, got"
            f" {num_classes} in {num_known} rows; leave it out"
        )


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else float(number)


def _in_stated_order(
    name: str, cells: Cells, order: list[Any], likelihood: ColumnLikelihood | None
) -> tuple[Column, Numbers]:
    """An ordered column whose values are stated in their order."""
    if len(set(order)) != len(order) or len(order) < 2:
        raise ValueError(f"expected at least two different values in their order, got {order}")
    encoded = positions_of(cells, order)
    return Column(name, "ordered", tuple(order), 0.0, 1.0, likelihood), encoded


def positions_of(cells: Cells, values: Sequence[Any]) -> Numbers:
    """Position of each cell among ``values``, NaN where missing.

    Raises:
        ValueError: A cell has another value.
    """
    position = {value: float(k) for k, value in enumerate(values)}
    found = [_value(cells, number) for number in cells.numbers]
    unknown = [value for value in found if value is not None and value not in position]
    if unknown:
        raise ValueError(f"expected one of the values {list(values)}, got {unknown[0]!r}")
    return np.array([np.nan if value is None else position[value] for value in found])


def _value(cells: Cells, number: float) -> Any:
    """The value of a cell, ``None`` where missing."""
    if np.isnan(number):
        return None
    return cells.values[int(number)] if cells.values else _plain(number)
