"""The parts of pandas, xarray and AnnData objects: observations, factors, labels of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ppl_disentangle.data.base import Kind

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Parts", "parts_of_anndata", "parts_of_frame", "parts_of_xarray"]

_DATA_DIMS = ("data", "datum", "sample", "batch", "obs")
_LAYOUTS: dict[tuple[str, ...], Kind] = {
    ("channel", "time"): "signal",
    ("channel", "row", "column"): "image",
    ("channel", "height", "width"): "image",
    ("channel", "y", "x"): "image",
    ("row", "column"): "image",
    ("height", "width"): "image",
    ("y", "x"): "image",
}


class Parts(NamedTuple):
    """The parts of data of any type.

    Attributes:
        x: Observations.
        factors: Factors, as :func:`~ppl_disentangle.data.from_arrays` takes them.
        conditions: Conditions by name.
        row_labels: Name of each row in results.
        rows: Rows in the data set behind a subset.
        kind: Kind of the observations, if it is known.
    """

    x: Any
    factors: Any = None
    conditions: Mapping[str, Any] = {}
    row_labels: npt.NDArray[Any] | None = None
    rows: Tensor | None = None
    kind: Kind | None = None

    def with_others(self, others: Mapping[str, Any], conditions: Sequence[str]) -> Parts:
        """The parts, with further values by name as factors or conditions.

        A value is a condition if it is named in ``conditions`` or has more than one number for each
        datum.

        Raises:
            ValueError: A name in ``conditions`` is not the name of a value.
        """
        if unknown := [name for name in conditions if name not in others]:
            known = list(others)
            raise ValueError(f"no part named {unknown[0]!r} for conditions; there are {known}")
        named = {k: v for k, v in others.items() if k in conditions or np.ndim(v) != 1}
        factors = {name: value for name, value in others.items() if name not in named}
        return self._replace(factors=factors or None, conditions=named)


def parts_of_frame(data: pd.DataFrame | pd.Series) -> Parts:
    """A frame of numbers as rows of a table, a series as one column."""
    frame = data.to_frame() if data.ndim == 1 else data
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if getattr(dtype, "kind", "O") not in "biuf":
            raise TypeError(
                f"column {name!r}: expected numbers, got {dtype}; from_table(frame) reads texts,"
                " classes and dates, or convert the column"
            )
    # Columns of pandas' own nullable types have NA, which numpy lacks.
    x = frame.to_numpy(dtype=_common_type(frame), na_value=np.nan)
    return Parts(x, row_labels=labels_of(frame.index), kind="table")


def _common_type(frame: pd.DataFrame) -> Any:
    """float32 if it holds every column, else float64."""
    small = all(dtype.kind == "b" or dtype.itemsize < 4 for dtype in frame.dtypes)
    floats = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in frame.dtypes)
    return np.float32 if small or floats else np.float64


def labels_of(index: pd.Index) -> npt.NDArray[Any] | None:
    """The labels of rows; ``None`` if they are just positions."""
    if index.nlevels > 1:
        return np.array(["/".join(map(str, row)) for row in index])
    labels = np.asarray(index)
    if labels.dtype == object:
        return labels.astype(str)  # files of results hold no mixed types
    are_positions = labels.dtype.kind in "iu" and np.array_equal(labels, np.arange(len(labels)))
    return None if are_positions else labels


def parts_of_xarray(
    data: xr.DataArray | xr.Dataset, conditions: Sequence[str], names: Sequence[str]
) -> Parts:
    """An array, or a data set with the observations under one of ``names``."""
    import xarray as xr

    if isinstance(data, xr.Dataset):
        return _parts_of_variables(data, conditions, names)
    if conditions:
        raise ValueError(f"a DataArray has no parts for the conditions {list(conditions)}")
    return _parts_of_array(data)


def _parts_of_variables(data: xr.Dataset, conditions: Sequence[str], names: Sequence[str]) -> Parts:
    variables = {str(name): array for name, array in data.data_vars.items()}
    found = [name for name in names if name in variables] or list(variables)
    if len(found) != 1:
        expected = f"the observations under one of {list(names)}"
        raise ValueError(f"expected {expected}, got {list(variables)}")
    parts = _parts_of_array(variables.pop(found[0]))
    dim = _data_dim(data[found[0]])
    for name, array in variables.items():
        if dim not in array.dims:
            raise ValueError(f"expected variable {name!r} over dim {dim!r}, got {array.dims}")
    values = {name: array.transpose(dim, ...).to_numpy() for name, array in variables.items()}
    return parts.with_others(values, conditions)


def _parts_of_array(array: xr.DataArray) -> Parts:
    dim = _data_dim(array)
    others = tuple(str(name) for name in array.dims if name != dim)
    order, kind = _layout(others)
    coordinate = array.indexes.get(dim)
    labels = None if coordinate is None else labels_of(coordinate)
    return Parts(array.transpose(dim, *order).to_numpy(), row_labels=labels, kind=kind)


def _data_dim(array: xr.DataArray) -> str:
    """The dim along which the data lie: one with a usual name, or else the first."""
    if not array.ndim:
        raise ValueError("expected a DataArray with a dim of data, got a scalar")
    return next((str(name) for name in array.dims if name in _DATA_DIMS), str(array.dims[0]))


def _layout(dims: tuple[str, ...]) -> tuple[tuple[str, ...], Kind | None]:
    """Dims of an observation in the order that their kind has, and the kind if names say it."""
    for known, kind in _LAYOUTS.items():
        if set(known) == set(dims):
            return known, kind
    if "time" in dims and len(dims) <= 2:
        return ("time", *(name for name in dims if name != "time")), "sequence"
    return dims, None


def parts_of_anndata(data: Any) -> Parts:
    """The matrix ``X`` of an ``AnnData``, dense or sparse, with ``obs_names``."""
    x = data.X
    if hasattr(x, "toarray"):
        x = x.toarray()
    return Parts(np.asarray(x), row_labels=np.asarray(data.obs_names).astype(str), kind="table")
