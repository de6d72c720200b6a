"""Tables as data sets: columns get a type, numbers are standardised, and rows are decoded again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.columns import Column, ColumnLikelihood
from ppl_disentangle.data.arrays import ArrayDataset, from_arrays
from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.cells import Cells, read_cells
from ppl_disentangle.data.column_types import (
    ColumnType,
    Numbers,
    encoded_column,
    positions_of,
)
from ppl_disentangle.data.ranges import range_of
from ppl_disentangle.data.table_files import read_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["encode_rows", "from_table", "to_frame"]


def from_table(
    table: pd.DataFrame | str | Path,
    *,
    types: Mapping[str, ColumnType] | None = None,
    likelihoods: Mapping[str, ColumnLikelihood] | None = None,
    factors: Sequence[str] = (),
    drop: Sequence[str] = (),
    name: str | None = None,
) -> ArrayDataset:
    """A table with a row for each datum: a frame, or a csv, tsv or parquet file.

    Every column gets the first type whose rule its cells fit:

    ========  ====================================================================================
    binary    Two different values: bools, whole numbers or texts.
    class     Texts.
    ordered   Whole numbers without a zero, at most 10 different ones, each five times on average;
              an ordered categorical column of pandas.
    count     Whole numbers, none negative and some zero.
    number    All other numbers. They are standardised: mean 0 and standard deviation 1.
    ========  ====================================================================================

    An empty cell, ``NA``, ``NaN``, ``null``, ``None`` or ``?`` is missing; missing cells are NaN in
    the observations. Numbers may have thousands separators, or a decimal comma.

    Args:
        table: A frame, or the path of a file; see
            :func:`~ppl_disentangle.data.table_files.read_table`.
        types: Types of some columns by name, which replace the rules: ``"number"``, ``"count"``,
            ``"class"``, ``"ordered"`` (sorted values) or ``"binary"``; or the list of the values of
            an ordered column in their order.
        likelihoods: Likelihoods of some columns by name, such as ``"student_t"`` for a number with
            outliers or ``"zero_inflated_poisson"`` for a count; see
            :data:`~ppl_disentangle.columns.COLUMN_LIKELIHOODS`.
        factors: Names of columns that are ground-truth factors instead of observations.
        drop: Names of columns to leave out.
        name: Short name for tables and run folders; by default the name of the file, or ``"table"``.

    Returns:
        Data of kind ``"table"`` whose attribute ``columns`` describes the columns.
        :func:`to_frame` converts rows back to the units of the table.

    Raises:
        ValueError: A column cannot be used, as the message says by its name, or a name is unknown.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"age": [31.5, None, 60.25], "smokes": ["yes", "no", "no"]})
        >>> data = from_table(frame)
        >>> [(column.name, column.kind) for column in data.columns]
        [('age', 'number'), ('smokes', 'binary')]
        >>> to_frame(data)
             age smokes
        0  31.50    yes
        1    NaN     no
        2  60.25     no
    """
    frame, source = _frame(table)
    names = _checked_names(frame, source)
    for asked in (types or {}, likelihoods or {}, factors, drop):
        _check_known(asked, names, source)
    observed = [column for column in names if column not in {*factors, *drop}]
    if len(frame) < 2 or not observed:
        raise ValueError(
            f"{source}: expected at least two rows and one column of observations, got"
            f" {len(frame)} rows and the columns {observed}"
        )
    columns, rows = _encoded(frame[observed], source, types or {}, likelihoods or {})
    labels = _labels(frame, factors, source)
    everything = torch.arange(len(frame))
    default_name = Path(source).stem if isinstance(table, str | Path) else "table"
    return ArrayDataset(
        rows,
        labels.factors(everything),
        space=labels.space,
        numbers=labels.factor_numbers(everything),
        name=name or default_name,
        kind="table",
        columns=columns,
        value_range=range_of(rows),
        row_labels=_row_labels(frame),
    )


def _encoded(
    frame: pd.DataFrame,
    source: str,
    types: Mapping[str, ColumnType],
    likelihoods: Mapping[str, ColumnLikelihood],
) -> tuple[list[Column], Tensor]:
    """The columns of a frame, and its rows as float32 ``(rows, columns)``."""
    columns: list[Column] = []
    encoded: list[Numbers] = []
    for name in frame.columns:
        with _named(source, name):
            cells = read_cells(frame[name])
            column, numbers = encoded_column(name, cells, types.get(name), likelihoods.get(name))
        columns.append(column)
        encoded.append(numbers)
    return columns, torch.from_numpy(np.stack(encoded, -1).astype(np.float32))


def _frame(table: pd.DataFrame | str | Path) -> tuple[pd.DataFrame, str]:
    """The table as a frame, and its name in messages."""
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        return table, "table"
    if not isinstance(table, str | Path):
        raise TypeError(f"expected a frame or the path of a table, got {type(table).__name__}")
    return read_table(table), str(table)


def _checked_names(frame: pd.DataFrame, source: str) -> list[Any]:
    """Names of the columns, after checking that they differ."""
    names = list(frame.columns)
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{source}: expected different names of columns, got {name!r} twice")
        seen.add(name)
    return names


def _check_known(asked: Iterable[Any], names: Sequence[Any], source: str) -> None:
    for name in asked:
        if name not in names:
            raise ValueError(f"{source}: no column named {name!r}; there are {names}")


@contextmanager
def _named(source: str, column: Any) -> Iterator[None]:
    """Let an error name the table and the column."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        if text.startswith("column "):
            raise ValueError(f"{source}: {text}") from error
        raise ValueError(f"{source}: column {column!r}: {text}") from error


def _labels(frame: pd.DataFrame, factors: Sequence[Any], source: str) -> ArrayDataset:
    """The columns of the ground-truth factors, as factors of placeholder observations."""
    labels: dict[str, npt.NDArray[Any]] = {}
    for factor in factors:
        with _named(source, factor):
            labels[str(factor)] = _label_values(read_cells(frame[factor]))
    return from_arrays(torch.zeros(len(frame), 1), labels)


def _label_values(cells: Cells) -> npt.NDArray[Any]:
    """Numbers or texts; NaN, or ``None``, where missing."""
    if np.isnan(cells.numbers).all():
        raise ValueError("all its cells are missing; leave it out")
    if not cells.values:
        return cells.numbers
    missing = np.isnan(cells.numbers)
    values = np.array(cells.values, dtype=object)[np.nan_to_num(cells.numbers).astype(int)]
    values[missing] = None
    return values


def _row_labels(frame: pd.DataFrame) -> npt.NDArray[Any] | None:
    """The index of a frame; ``None`` for the default index, which counts the rows."""
    import pandas as pd

    is_default = isinstance(frame.index, pd.RangeIndex) or frame.index.nlevels > 1
    return None if is_default else frame.index.to_numpy()


def encode_rows(columns: Sequence[Column], frame: pd.DataFrame) -> Tensor:
    """Further rows of a table, encoded as the first ones were, float32 ``(rows, columns)``.

    Args:
        columns: The columns of the table, such as ``data.columns``.
        frame: A frame that has these columns.

    Raises:
        ValueError: A column is missing, or has values of another type.
    """
    encoded = []
    for column in columns:
        _check_known([column.name], list(frame.columns), "table")
        with _named("table", column.name):
            encoded.append(_encoded_cells(column, read_cells(frame[column.name])))
    return torch.from_numpy(np.stack(encoded, -1).astype(np.float32))


def _encoded_cells(column: Column, cells: Cells) -> Numbers:
    if column.values:
        return positions_of(cells, column.values)
    if cells.values and not np.isnan(cells.numbers).all():
        raise ValueError(f"expected numbers, got {cells.values[0]!r}")
    return cells.numbers if column.kind == "count" else (cells.numbers - column.loc) / column.scale


def to_frame(data: FactorDataset, rows: Tensor | None = None) -> pd.DataFrame:
    """Rows of a table in its own units: numbers, counts, and the names of classes and levels.

    A mean between two levels is the nearer one. A probability of a binary column stays a number
    between 0 and 1 if its values are numbers or bools, and is else the more probable value.

    Args:
        data: A data set of kind ``"table"``, or a part of one.
        rows: Encoded rows ``(…, columns)``, such as reconstructions; by default all rows of the
            data, with their labels as index.

    Raises:
        ValueError: The data are not a table, or the rows have other columns.
    """
    import pandas as pd

    if not data.columns:
        raise ValueError(f"expected a table, got the {data.kind} data {data.name!r}")
    index = None
    if rows is None:
        everything = torch.arange(len(data))
        rows = data.observations(everything)
        index = data.row_labels(everything)
    if rows.shape[-1] != len(data.columns):
        expected = f"rows of the {len(data.columns)} columns of {data.name!r}"
        raise ValueError(f"expected {expected}, got shape {tuple(rows.shape)}")
    cells = rows.detach().double().cpu().reshape(-1, len(data.columns)).numpy()
    named = {c.name: decoded_cells(c, cells[:, k]) for k, c in enumerate(data.columns)}
    return pd.DataFrame(named, index=index)


def decoded_cells(column: Column, numbers: Numbers) -> npt.NDArray[Any]:
    """Cells of a column in the units of the table.

    Args:
        column: The column.
        numbers: Encoded cells ``(rows,)``, NaN where missing.
    """
    if column.kind == "number":
        return numbers * column.scale + column.loc
    if column.kind == "count":
        return numbers
    texts = any(isinstance(value, str) for value in column.values)
    if column.kind == "binary" and not texts and column.values in ((0, 1), (False, True)):
        return numbers
    positions = np.nan_to_num(numbers).round().astype(int).clip(0, column.size - 1)
    values = np.array(column.values, dtype=object)[positions]
    values[np.isnan(numbers)] = np.nan
    return values
