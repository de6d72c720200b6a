"""Your own arrays as a data set: observations, and the factors where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset

__all__ = ["ArrayDataset", "MapStyle", "from_arrays", "from_torch"]

Array: TypeAlias = "Tensor | npt.NDArray[Any]"


class ArrayDataset(FactorDataset):
    """Observations held in memory; :func:`from_arrays` and its neighbours check the data and build one.

    The arrays are copied once to each device that an index comes from. Where a device is too small for
    them, ask with an index on the CPU and move the batch.

    Args:
        observations: uint8 or floats of shape ``(num, *observation_shape)``.
        classes: factor classes, int64 of shape ``(num, len(space))``; none where ``space`` is empty.
        space: the factors.
        maximum: the stored value that means 1.
        name: a short name for tables and run folders.
    """

    def __init__(
        self,
        observations: Tensor,
        classes: Tensor | None = None,
        *,
        space: Sequence[Factor] = (),
        maximum: float = 1,
        name: str = "arrays",
    ) -> None:
        classes = (
            torch.zeros(len(observations), 0, dtype=torch.int64) if classes is None else classes
        )
        if classes.shape != (len(observations), len(space)):
            expected = (len(observations), len(space))
            raise ValueError(f"expected classes of shape {expected}, got {tuple(classes.shape)}")
        self.name, self.space, self.maximum = name, tuple(space), maximum
        self.observation_shape = tuple(observations.shape[1:])
        self._len = len(observations)
        self._observations, self._classes = DeviceCopies(observations), DeviceCopies(classes)

    def __len__(self) -> int:
        return self._len

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self._observations.on(index.device).index_select(0, index)

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""
        return self._classes.on(index.device).index_select(0, index)


class MapStyle(Protocol):
    """What a map-style ``torch.utils.data.Dataset`` can do."""

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
    """A data set of arrays or tensors, which are checked here and not copied.

    Args:
        observations: uint8, bool or floats, of shape ``(num,)``, ``(num, dim)``, ``(num, height, width)``,
            which gets one channel, or ``(num, channels, height, width)``.
        factors: numbers or strings, of shape ``(num,)`` or ``(num, factors)``, or a column for each name, as
            in ``dict(frame)`` for a pandas frame. The classes of a factor are its distinct values, sorted.
        factor_names: names of the columns of ``factors``; by default ``factor0``, ``factor1``, …
        maximum: the stored value that means 1; by default 255 for uint8 that exceed 1, else 1.
        channels_last: whether images come as ``(num, height, width, channels)``.
        name: a short name for tables and run folders.

    Example:
        >>> data = from_arrays(torch.rand(3, 8), {"colour": np.array(["red", "blue", "red"])})
        >>> data.factor_values, data.factors(torch.arange(3)).flatten()
        ((('blue', 'red'),), tensor([1, 0, 1]))
    """
    x = _channels_first(_checked(observations), channels_last)
    highest = x.max().item()
    if maximum is None:
        maximum = 255 if x.dtype == torch.uint8 and highest > 1 else 1
    if not 0 < maximum or (x.dtype == torch.uint8 and highest > maximum):
        raise ValueError(
            f"expected maximum > 0 and no observation above it, got {maximum=} and {highest}"
        )
    encoded = [
        _encoded(key, column, len(x)) for key, column in _columns(factors, factor_names).items()
    ]
    classes = torch.stack([column for _, column in encoded], -1) if encoded else None
    return ArrayDataset(
        x, classes, space=[factor for factor, _ in encoded], maximum=maximum, name=name
    )


def from_torch(
    dataset: MapStyle,
    *,
    factor_names: Sequence[str] | None = None,
    maximum: float | None = None,
    name: str = "torch",
) -> ArrayDataset:
    """A map-style torch data set of ``x`` or ``(x, y)``, read once into memory; ``y`` holds the factors."""
    items = [dataset[i] for i in range(len(dataset))]
    pairs = [tuple(item) if isinstance(item, tuple | list) else (item,) for item in items]
    for i, pair in enumerate(pairs):
        if len(pair) != len(pairs[0]) or len(pair) not in (1, 2) or not isinstance(pair[0], Tensor):
            got = [type(part).__name__ for part in pair]
            raise TypeError(f"expected a tensor x, or (x, y), everywhere, got {got} at {i}")
        if pair[0].shape != pairs[0][0].shape:
            raise ValueError(
                f"expected shape {tuple(pairs[0][0].shape)}, got {tuple(pair[0].shape)} at {i}"
            )
    if not pairs:
        raise ValueError("expected at least one observation, got an empty data set")
    x = torch.stack([pair[0] for pair in pairs])
    y = [
        pair[1].tolist() if isinstance(pair[1], Tensor) else pair[1]
        for pair in pairs
        if len(pair) == 2
    ]
    factors = np.array(y) if y else None
    return from_arrays(x, factors, factor_names=factor_names, maximum=maximum, name=name)


def _checked(observations: Array) -> Tensor:
    """Observations as a tensor of uint8 or finite floats with at least one row."""
    if isinstance(observations, np.ndarray):
        # Torch takes neither read-only nor reversed nor foreign-endian arrays as they are.
        native = observations.dtype.newbyteorder("=")
        observations = torch.from_numpy(np.require(observations, native, ["C", "W"]))
    x = observations.view(torch.uint8) if observations.dtype == torch.bool else observations
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise TypeError(
            f"expected observations of uint8, bool or floats, got {x.dtype}; convert them"
        )
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(
            f"expected observations of shape (num, …) without empty axes, got {tuple(x.shape)}"
        )
    if x.is_floating_point() and not (finite := x.isfinite().reshape(len(x), -1).all(1)).all():
        raise ValueError(
            f"expected finite observations, got nan or inf at index {finite.int().argmin()}"
        )
    return x


def _channels_first(x: Tensor, channels_last: bool) -> Tensor:
    """Images as ``(num, channels, height, width)``, vectors and other shapes as they are."""
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
    if isinstance(factors, Mapping) and names is None:
        return {key: np.asarray(column) for key, column in factors.items()}
    if isinstance(factors, Mapping) or (factors is None and names is not None):
        raise ValueError(f"expected factor_names only beside an array of factors, got {names}")
    if factors is None:
        return {}
    table = np.asarray(factors)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2:
        raise ValueError(f"expected factors of shape (num,) or (num, factors), got {table.shape}")
    names = [f"factor{k}" for k in range(table.shape[1])] if names is None else list(names)
    if len(set(names)) != table.shape[1] or len(names) != table.shape[1]:
        raise ValueError(f"expected {table.shape[1]} different factor_names, got {names}")
    return dict(zip(names, table.T, strict=True))


def _encoded(name: str, column: npt.NDArray[Any], num: int) -> tuple[Factor, Tensor]:
    """The factor with its distinct values, and the classes ``(num,)`` of a column."""
    if column.dtype == object:
        column = np.array(column.tolist())
    if column.shape != (num,):
        raise ValueError(f"expected {num} values of factor {name!r}, got shape {column.shape}")
    if column.dtype.kind not in "biufU":
        raise TypeError(f"expected numbers or strings for factor {name!r}, got {column.dtype}")
    if column.dtype.kind == "f" and not (finite := np.isfinite(column)).all():
        raise ValueError(
            f"expected finite factor {name!r}, got nan or inf at index {finite.argmin()}"
        )
    values, classes = np.unique(column, return_inverse=True)
    factor = Factor(
        name, tuple(values.tolist()), "categorical" if column.dtype.kind == "U" else "ordinal"
    )
    return factor, torch.from_numpy(classes)
