"""Conditions whose columns have names: data frames, labelled arrays and dictionaries of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["columns_by_name", "in_columns", "named_columns"]


def named_columns(name: str, value: Any) -> tuple[Any, tuple[str, ...] | None]:
    """A condition as a tensor ``(num_data, columns)``, and the names of its columns.

    Args:
        name: Name of the condition, for error messages.
        value: A pandas frame or series; an xarray data set of columns, or an array whose last dim
            has coordinates; a mapping of columns; or any other value.

    Returns:
        The tensor and the names. A frame or labelled array whose columns have no names is a tensor,
        with ``None``. A value of another type is returned as it is, with ``None``; arrays that are
        read-only, as in pandas, are copied.

    Raises:
        TypeError: A column does not hold numbers.
        ValueError: Columns differ in length.
    """
    columns = _columns(value)
    if columns is None:
        return _without_names(name, value), None
    tensors = []
    names: list[str] = []
    for column, values in columns.items():
        numbers = torch.from_numpy(_numbers(name, str(column), values))
        parts = numbers[:, None] if numbers.dim() == 1 else numbers
        width = parts.shape[1]
        names += [str(column)] if width == 1 else [f"{column}[{i}]" for i in range(width)]
        tensors.append(parts)
    lengths = sorted({len(part) for part in tensors})
    if len(lengths) != 1:
        raise ValueError(f"condition {name!r}: expected columns of one length, got {lengths}")
    return torch.cat(tensors, -1), tuple(names)


def _without_names(name: str, value: Any) -> Any:
    """A frame or labelled array without names as a tensor; other values as they are."""
    if hasattr(value, "to_numpy"):
        return torch.from_numpy(_numbers(name, name, value))
    is_read_only = isinstance(value, np.ndarray) and not value.flags.writeable
    return value.copy() if is_read_only else value


def columns_by_name(name: str, value: Any) -> dict[str, Tensor]:
    """Columns as tensors by name, from a frame, an xarray data set or array, or a mapping.

    Args:
        name: Name of the argument, for error messages.
        value: The columns; tensors in a mapping stay as they are.

    Raises:
        TypeError: The columns have no names, or a column does not hold numbers.
    """
    columns = _columns(value)
    if columns is None and not isinstance(value, Mapping):
        got = type(value).__name__
        raise TypeError(f"expected {name} by name, as a dictionary or a data frame, got {got}")
    return {
        str(column): values
        if isinstance(values, Tensor)
        else torch.from_numpy(_numbers(name, str(column), values))
        for column, values in (columns or {}).items()
    }


def _columns(value: Any) -> Mapping[Any, Any] | None:
    """The columns of a value by name; ``None`` where they have no names."""
    if isinstance(value, Mapping):  # also an xarray.Dataset, whose items are its variables
        return dict(value.items()) or None
    if hasattr(value, "coords") and hasattr(value, "dims"):  # an xarray.DataArray
        return _columns_of_array(value)
    if hasattr(value, "columns") and hasattr(value, "iloc"):  # a pandas.DataFrame
        has_names = all(isinstance(column, str) for column in value.columns)
        return {column: value[column] for column in value.columns} if has_names else None
    if hasattr(value, "iloc") and isinstance(value.name, str):  # a pandas.Series
        return {value.name: value}
    return None


def _columns_of_array(array: Any) -> Mapping[Any, Any] | None:
    """The columns of an ``xarray.DataArray`` with coordinates along its last dim, or of its name."""
    if array.ndim == 1:
        return {array.name: array} if isinstance(array.name, str) else None
    last = array.dims[-1]
    if array.ndim != 2 or last not in array.coords:
        return None
    names = array.coords[last].values
    if not all(isinstance(column, str) for column in names):
        return None
    return {str(column): array.isel({last: place}) for place, column in enumerate(names)}


def _numbers(name: str, column: str, values: Any) -> np.ndarray:
    """The numbers of a column, missing ones as NaN."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if hasattr(values, "iloc"):  # of pandas, whose missing numbers are not floats
        values = values.to_numpy(dtype=object, na_value=float("nan"))
    array = np.asarray(values)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise _no_numbers(name, column, "text or objects") from None
    if array.dtype.kind not in "biuf":
        raise _no_numbers(name, column, str(array.dtype))
    return np.array(array, dtype=np.float64 if array.dtype == np.float64 else np.float32)


def _no_numbers(name: str, column: str, got: str) -> TypeError:
    return TypeError(f"condition {name!r}, column {column!r}: expected numbers, got {got}")


def in_columns(
    name: str, values: Tensor, given: Sequence[str], wanted: Sequence[str], title: str
) -> Tensor:
    """Columns of a condition in another order.

    Args:
        name: Name of the condition.
        values: The condition, ``(num_data, len(given))``.
        given: Names of its columns.
        wanted: The same names in the order of the result.
        title: Name of the story that takes the condition, for error messages.

    Raises:
        ValueError: A name is missing, unknown or given twice.
    """
    missing = [column for column in wanted if column not in given]
    unknown = [column for column in given if column not in wanted]
    if missing or unknown or len(set(given)) != len(given):
        parts = [f"lacks {missing}"] * bool(missing) + [f"has also {unknown}"] * bool(unknown)
        found = " and ".join(parts) or f"has columns twice: {list(given)}"
        raise ValueError(
            f"condition {name!r}: {title} takes the columns {list(wanted)}; the condition {found}"
            " (a column of NaN stands for unknown values)"
        )
    return values[..., [list(given).index(column) for column in wanted]]
