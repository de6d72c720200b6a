"""Arrays in memory as a data set: observations, and the factors if they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.columns import Column
from ppl_disentangle.data.base import (
    DeviceCopies,
    Factor,
    FactorDataset,
    Kind,
    numbers_or_classes,
)
from ppl_disentangle.data.binning import numbers_as_factor
from ppl_disentangle.data.observations import (
    arranged,
    as_tensor,
    check_type,
    maximum_of,
)
from ppl_disentangle.data.ranges import ValueRange, range_of

__all__ = ["ArrayDataset", "MapStyle", "from_arrays", "from_torch"]

Array: TypeAlias = "Tensor | npt.NDArray[Any]"


def _copies(tensor: Tensor | None) -> DeviceCopies | None:
    """A tensor as copies for each device; ``None`` stays ``None``."""
    return None if tensor is None else DeviceCopies(tensor)


class ArrayDataset(FactorDataset):
    """Observations in memory, as made by :func:`from_arrays` and similar functions after checks.

    The arrays are copied once to each device on which they are indexed. If a device is too small
    for them, index on the CPU and move each batch.

    Args:
        observations: uint8 or floats of shape ``(num, *observation_shape)``.
        classes: Factor classes, int64 of shape ``(num, len(space))``; not needed if ``space`` is
            empty.
        space: The factors.
        numbers: Numbers of the continuous factors in their columns, ``(num, len(space))``; not
            needed if no factor is continuous.
        maximum: Stored value that stands for 1.
        name: Short name for tables and run folders.
        kind: Kind of the observations; by default images if they have three dims, else vectors.
        row_labels: Name of each row in results; by default its position.
        rows: Row of each datum in the user's own data; by default its position.
        value_range: Range of the stored values, if it is known.
        columns: The columns of a table, in the order of an observation.
    """

    def __init__(
        self,
        observations: Tensor,
        classes: Tensor | None = None,
        *,
        space: Sequence[Factor] = (),
        numbers: Tensor | None = None,
        maximum: float = 1,
        name: str = "arrays",
        kind: Kind | None = None,
        row_labels: npt.NDArray[Any] | None = None,
        rows: Tensor | None = None,
        value_range: ValueRange | None = None,
        columns: Sequence[Column] = (),
    ) -> None:
        if classes is None:
            classes = torch.zeros(len(observations), 0, dtype=torch.int64)
        expected = (len(observations), len(space))
        if classes.shape != expected:
            raise ValueError(f"expected classes of shape {expected}, got {tuple(classes.shape)}")
        self.name = name
        self.space = tuple(space)
        self.maximum = maximum
        self.observation_shape = tuple(observations.shape[1:])
        self.columns = tuple(columns)
        self._kind = kind
        self._row_labels = row_labels
        self._rows = _copies(rows)
        self.value_range = value_range
        self._len = len(observations)
        self._observations = DeviceCopies(observations)
        self._classes = DeviceCopies(classes)
        self._numbers = _copies(numbers)

    def __len__(self) -> int:
        return self._len

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self._observations.on(index.device).index_select(0, index)

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""
        return self._classes.on(index.device).index_select(0, index)

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Numbers of continuous factors, classes of others, float64 ``(len(index), len(space))``."""
        if self._numbers is None:
            return super().factor_numbers(index)
        numbers = self._numbers.on(index.device).index_select(0, index)
        return numbers_or_classes(self.space, numbers, self.factors(index))

    def rows(self, index: Tensor) -> Tensor:
        """Rows in the user's own data, int64 ``(len(index),)``."""
        return index if self._rows is None else self._rows.on(index.device)[index]

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Names of the rows, ``(len(index),)``: the given labels, or else :meth:`rows`."""
        if self._row_labels is None:
            return np.asarray(self.rows(index).cpu())
        return self._row_labels[np.asarray(index.cpu())]


class MapStyle(Protocol):
    """The interface of a map-style ``torch.utils.data.Dataset``."""

    def __len__(self) -> int:
        """Number of data."""

    def __getitem__(self, i: int, /) -> Any:
        """``x`` or ``(x, y)``."""


def from_arrays(
    observations: Array | Sequence[Any],
    factors: Array | Mapping[str, Array] | None = None,
    *,
    factor_names: Sequence[str] | None = None,
    maximum: float | None = None,
    channels_last: bool = False,
    kind: Kind | None = None,
    row_labels: Sequence[Any] | npt.NDArray[Any] | None = None,
    rows: Tensor | None = None,
    name: str = "arrays",
) -> ArrayDataset:
    """A data set of arrays or tensors, which are checked and not copied.

    Args:
        observations: uint8, bool, integers such as counts, or floats, as a tensor, an array, which
            may be a read-only memory map, or lists; of shape ``(num,)``, ``(num, dim)``, ``(num,
            height, width)`` for images with one channel, ``(num, channels, height, width)``, or as
            ``kind`` says. NaN stands for missing values.
        factors: Numbers or strings, of shape ``(num,)`` or ``(num, factors)``, or a column for each
            name, such as ``dict(frame)`` of a pandas frame. The classes of a factor are its
            distinct values, sorted. Fractional numbers with many distinct values are a continuous
            factor: its classes are intervals, and
            :meth:`~ppl_disentangle.data.FactorDataset.factor_numbers` returns the numbers. NaN or
            ``None`` is a missing label, of class -1, whose row the metrics leave out.
        factor_names: Names of the columns of ``factors``; by default ``factor0``, ``factor1``, ….
        maximum: Stored value that stands for 1; by default 255 for uint8 that exceed 1, else 1.
        channels_last: Whether images have shape ``(num, height, width, channels)``, or signals
            ``(num, time, channels)``.
        kind: ``"vector"``; ``"image"``; ``"signal"`` of shape ``(num, channels, time)`` or ``(num,
            time)``; ``"sequence"`` of shape ``(num, time, features)`` or ``(num, time)``; or
            ``"table"``. By default, observations with two axes are images with one channel if they
            are uint8, or if they are in [0, 1] and have the shape of an image; otherwise they are
            signals. The length of each sequence may be a condition; see
            :func:`~ppl_disentangle.data.with_conditions`.
        row_labels: Name of each row in results; by default its position.
        rows: Row of each datum in the user's own data, int64 ``(num,)``; by default its position.
        name: Short name for tables and run folders.

    Raises:
        TypeError: Observations or factors have a type that is not supported.
        ValueError: Shapes do not fit each other, or values are infinite or exceed ``maximum``.

    Example:
        >>> data = from_arrays(torch.rand(3, 8), {"colour": np.array(["red", "blue", "red"])})
        >>> data.factor_values, data.factors(torch.arange(3)).flatten()
        ((('blue', 'red'),), tensor([1, 0, 1]))
    """
    x = as_tensor(observations)
    check_type(x)
    values = range_of(x)
    x, kind = arranged(x, values, kind, channels_last=channels_last)
    return ArrayDataset(
        x if isinstance(observations, np.memmap) else x.contiguous(),
        **_encoded_columns(_columns(factors, factor_names), len(x)),
        maximum=maximum_of(values, x.dtype, maximum),
        name=name,
        kind=kind,
        row_labels=_checked_labels(row_labels, len(x)),
        rows=rows,
        value_range=values,
    )


def _encoded_columns(columns: Mapping[str, npt.NDArray[Any]], num: int) -> dict[str, Any]:
    """Factors, classes and numbers of all columns, as arguments of :class:`ArrayDataset`."""
    encoded = [_encoded(key, column, num) for key, column in columns.items()]
    if not encoded:
        return {}
    space, classes, numbers = zip(*encoded, strict=True)
    return {
        "space": space,
        "classes": torch.stack(classes, -1),
        "numbers": torch.stack(numbers, -1),
    }


def _checked_labels(labels: Any, num: int) -> npt.NDArray[Any] | None:
    """A label for each of ``num`` rows."""
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (num,):
        raise ValueError(f"expected {num} row_labels, got shape {array.shape}")
    return array


def from_torch(
    dataset: MapStyle,
    *,
    factor_names: Sequence[str] | None = None,
    maximum: float | None = None,
    kind: Kind | None = None,
    name: str = "torch",
) -> ArrayDataset:
    """A map-style torch data set of ``x`` or ``(x, y)``, read once into memory.

    Args:
        dataset: Torch data set; ``x`` is a tensor, ``y`` holds the factors, as a number, a string
            or a vector.
        factor_names: Names of the factors; by default ``factor0``, ``factor1``, ….
        maximum: Stored value that stands for 1; by default 255 for uint8 that exceed 1, else 1.
        kind: Kind of the observations; see :func:`from_arrays`.
        name: Short name for tables and run folders.

    Raises:
        TypeError: An item is neither a tensor ``x`` nor ``(x, y)``.
        ValueError: The data set is empty, or observations differ in shape.
    """
    if not hasattr(dataset, "__len__"):
        got = type(dataset).__name__
        raise TypeError(
            f"expected a data set with a length, got the stream {got}: read it with list(…)"
        )
    items = [dataset[i] for i in range(len(dataset))]
    pairs = [tuple(item) if isinstance(item, tuple | list) else (item,) for item in items]
    if not pairs:
        raise ValueError("expected at least one observation, got an empty data set")
    _check_pairs(pairs)
    x = torch.stack([pair[0] for pair in pairs])
    labels = [pair[1] for pair in pairs if len(pair) == 2]
    numbers = [label.tolist() if isinstance(label, Tensor) else label for label in labels]
    factors = np.array(numbers) if numbers else None
    return from_arrays(x, factors, factor_names=factor_names, maximum=maximum, kind=kind, name=name)


def _check_pairs(pairs: Sequence[tuple[Any, ...]]) -> None:
    """Raise an error unless all items are ``(x,)``, or all ``(x, y)``, with tensors of one shape."""
    num_parts = len(pairs[0])
    for i, pair in enumerate(pairs):
        if len(pair) != num_parts or num_parts not in (1, 2) or not isinstance(pair[0], Tensor):
            got = [type(part).__name__ for part in pair]
            raise TypeError(f"expected a tensor x, or (x, y), everywhere, got {got} at {i}")
        expected = tuple(pairs[0][0].shape)
        shape = tuple(pair[0].shape)
        if shape != expected:
            raise ValueError(f"expected shape {expected}, got {shape} at {i}")


def _columns(
    factors: Array | Mapping[str, Array] | None, names: Sequence[str] | None
) -> dict[str, npt.NDArray[Any]]:
    """The column of each factor."""
    if isinstance(factors, Mapping) or factors is None:
        if names is not None:
            raise ValueError(f"expected factor_names only beside an array of factors, got {names}")
        return {key: np.asarray(column) for key, column in (factors or {}).items()}
    table = np.asarray(factors)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2:
        raise ValueError(f"expected factors of shape (num,) or (num, factors), got {table.shape}")
    return dict(zip(_factor_names(names, table.shape[1]), table.T, strict=True))


def _factor_names(names: Sequence[str] | None, num: int) -> list[str]:
    """Names of ``num`` factors, by default ``factor0``, ``factor1``, …."""
    names = [f"factor{k}" for k in range(num)] if names is None else list(names)
    if len(set(names)) != num or len(names) != num:
        raise ValueError(f"expected {num} different factor_names, got {names}")
    return names


def _encoded(name: str, column: npt.NDArray[Any], num: int) -> tuple[Factor, Tensor, Tensor]:
    """The factor of a column, its classes ``(num,)`` and, for a continuous factor, its numbers.

    A missing label, which is NaN or ``None``, has the class -1 and the number NaN.
    """
    missing = _missing_labels(column)
    if missing.any() and not missing.all():
        factor, known, known_numbers = _encoded(name, column[~missing], int((~missing).sum()))
        is_known = torch.from_numpy(~missing)
        classes = torch.full((num,), -1).masked_scatter(is_known, known)
        numbers = torch.full((num,), torch.nan, dtype=torch.float64)
        return factor, classes, numbers.masked_scatter(is_known, known_numbers)
    if column.dtype == object:
        column = np.array(column.tolist())
    _check_column(name, column, num)
    if column.dtype.kind == "U":
        texts, of_text = np.unique(column, return_inverse=True)
        classes = torch.from_numpy(of_text)
        return Factor(name, tuple(texts.tolist()), "categorical"), classes, classes.double()
    continuous, values, of_number = numbers_as_factor(column)
    factor = Factor(name, values, "continuous" if continuous else "ordinal")
    return factor, torch.from_numpy(of_number), torch.from_numpy(column.astype(np.float64))


def _missing_labels(column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which labels of a column are NaN or ``None``."""
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype != object or column.ndim != 1:
        return np.zeros(column.shape, bool)
    # NaN is the only value that differs from itself
    return np.array([value is None or value != value for value in column.tolist()], bool)


def _check_column(name: str, column: npt.NDArray[Any], num: int) -> None:
    """Raise an error unless a column has ``num`` finite numbers or strings."""
    if column.shape != (num,):
        raise ValueError(f"expected {num} values of factor {name!r}, got shape {column.shape}")
    if column.dtype.kind not in "biufU":
        raise TypeError(f"expected numbers or strings for factor {name!r}, got {column.dtype}")
    if column.dtype.kind == "f":
        finite = np.isfinite(column)
        if not finite.all():
            first = finite.argmin()
            raise ValueError(f"expected finite factor {name!r}, got nan or inf at index {first}")
