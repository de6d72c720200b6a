"""Arrays in memory as a data set: observations, and the factors if they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import (
    DeviceCopies,
    Factor,
    FactorDataset,
    Kind,
    numbers_or_classes,
)
from ppl_disentangle.data.binning import numbers_as_factor

__all__ = ["ArrayDataset", "MapStyle", "from_arrays", "from_torch"]

Array: TypeAlias = "Tensor | npt.NDArray[Any]"


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
        self._kind = kind
        self._row_labels = row_labels
        self._len = len(observations)
        self._observations = DeviceCopies(observations)
        self._classes = DeviceCopies(classes)
        self._numbers = None if numbers is None else DeviceCopies(numbers)

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

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Names of the rows, ``(len(index),)``: the given labels, or else positions."""
        positions = np.asarray(index.cpu())
        return positions if self._row_labels is None else self._row_labels[positions]


class MapStyle(Protocol):
    """The interface of a map-style ``torch.utils.data.Dataset``."""

    def __len__(self) -> int:
        """Number of data."""

    def __getitem__(self, i: int, /) -> Any:
        """``x`` or ``(x, y)``."""


def from_arrays(
    observations: Array,
    factors: Array | Mapping[str, Array] | None = None,
    *,
    factor_names: Sequence[str] | None = None,
    maximum: float | None = None,
    channels_last: bool = False,
    name: str = "arrays",
) -> ArrayDataset:
    """A data set of arrays or tensors, which are checked and not copied.

    Args:
        observations: uint8, bool or floats, of shape ``(num,)``, ``(num, dim)``,
            ``(num, height, width)`` for images with one channel, or
            ``(num, channels, height, width)``.
        factors: Numbers or strings, of shape ``(num,)`` or ``(num, factors)``, or a column for each
            name, such as ``dict(frame)`` of a pandas frame. The classes of a factor are its
            distinct values, sorted. Fractional numbers with many distinct values are a continuous
            factor: its classes are intervals, and
            :meth:`~ppl_disentangle.data.FactorDataset.factor_numbers` returns the numbers.
        factor_names: Names of the columns of ``factors``; by default ``factor0``, ``factor1``, ….
        maximum: Stored value that stands for 1; by default 255 for uint8 that exceed 1, else 1.
        channels_last: Whether images have shape ``(num, height, width, channels)``.
        name: Short name for tables and run folders.

    Raises:
        TypeError: Observations or factors have a type that is not supported.
        ValueError: Shapes do not fit each other, or values are not finite or exceed ``maximum``.

    Example:
        >>> data = from_arrays(torch.rand(3, 8), {"colour": np.array(["red", "blue", "red"])})
        >>> data.factor_values, data.factors(torch.arange(3)).flatten()
        ((('blue', 'red'),), tensor([1, 0, 1]))
    """
    x = _channels_first(_checked(observations), channels_last)
    maximum = _checked_maximum(x, maximum)
    space = []
    classes = []
    numbers = []
    for key, column in _columns(factors, factor_names).items():
        factor, column_classes, column_numbers = _encoded(key, column, len(x))
        space.append(factor)
        classes.append(column_classes)
        numbers.append(column_numbers)
    table = torch.stack(classes, -1) if classes else None
    continuous = torch.stack(numbers, -1) if numbers else None
    return ArrayDataset(x, table, space=space, numbers=continuous, maximum=maximum, name=name)


def from_torch(
    dataset: MapStyle,
    *,
    factor_names: Sequence[str] | None = None,
    maximum: float | None = None,
    name: str = "torch",
) -> ArrayDataset:
    """A map-style torch data set of ``x`` or ``(x, y)``, read once into memory.

    Args:
        dataset: Torch data set; ``x`` is a tensor, ``y`` holds the factors, as a number, a string
            or a vector.
        factor_names: Names of the factors; by default ``factor0``, ``factor1``, ….
        maximum: Stored value that stands for 1; by default 255 for uint8 that exceed 1, else 1.
        name: Short name for tables and run folders.

    Raises:
        TypeError: An item is neither a tensor ``x`` nor ``(x, y)``.
        ValueError: The data set is empty, or observations differ in shape.
    """
    items = [dataset[i] for i in range(len(dataset))]
    pairs = [tuple(item) if isinstance(item, tuple | list) else (item,) for item in items]
    if not pairs:
        raise ValueError("expected at least one observation, got an empty data set")
    _check_pairs(pairs)
    x = torch.stack([pair[0] for pair in pairs])
    labels = [pair[1] for pair in pairs if len(pair) == 2]
    numbers = [label.tolist() if isinstance(label, Tensor) else label for label in labels]
    factors = np.array(numbers) if numbers else None
    return from_arrays(x, factors, factor_names=factor_names, maximum=maximum, name=name)


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


def _checked(observations: Array) -> Tensor:
    """Observations as a tensor of uint8 or finite floats with at least one row."""
    x = _as_tensor(observations)
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise TypeError(
            f"expected observations of uint8, bool or floats, got {x.dtype}; convert them"
        )
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(
            f"expected observations of shape (num, …) without empty axes, got {tuple(x.shape)}"
        )
    if x.is_floating_point():
        finite = x.isfinite().reshape(len(x), -1).all(1)
        if not finite.all():
            first = finite.int().argmin()
            raise ValueError(f"expected finite observations, got nan or inf at index {first}")
    return x


def _as_tensor(observations: Array) -> Tensor:
    """Observations as a tensor, bool as uint8."""
    if isinstance(observations, np.ndarray):
        # Torch accepts neither read-only nor reversed nor foreign-endian arrays.
        native = observations.dtype.newbyteorder("=")
        observations = torch.from_numpy(np.require(observations, native, ["C", "W"]))
    return observations.view(torch.uint8) if observations.dtype == torch.bool else observations


def _checked_maximum(x: Tensor, maximum: float | None) -> float:
    """The stored value that stands for 1, after checking that no stored byte exceeds it."""
    highest = x.max().item()
    is_bytes = x.dtype == torch.uint8
    if maximum is None:
        maximum = 255 if is_bytes and highest > 1 else 1
    if not maximum > 0 or (is_bytes and highest > maximum):
        raise ValueError(
            f"expected maximum > 0 and no observation above it, got {maximum=} and {highest}"
        )
    return maximum


def _channels_first(x: Tensor, channels_last: bool) -> Tensor:
    """Images as ``(num, channels, height, width)``; vectors and other shapes are unchanged."""
    if channels_last:
        if x.ndim != 4:
            raise ValueError(f"expected (num, height, width, channels), got {tuple(x.shape)}")
        return x.permute(0, 3, 1, 2).contiguous()
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        got = tuple(x.shape)
        raise ValueError(
            f"expected (num, channels, height, width), got {got}; is it channels_last=True?"
        )
    return x[:, None] if x.ndim == 3 else x


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
    """The factor of a column, its classes ``(num,)`` and, for a continuous factor, its numbers."""
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
