"""Observations as tensors: their type and the layout of their kind."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data.base import Kind
from ppl_disentangle.data.ranges import ValueRange

__all__ = ["arranged", "as_tensor", "check_type", "maximum_of"]

_KINDS = ("vector", "image", "signal", "sequence", "table")
_SMALLEST_SIDE = 8
_TYPES = "uint8, bool, integers or floats"
_LAYOUTS = {
    "vector": "(num,) or (num, dim)",
    "table": "(num,) or (num, columns)",
    "image": "(num, height, width) or (num, channels, height, width)",
    "signal": "(num, time) or (num, channels, time)",
    "sequence": "(num, time) or (num, time, features)",
}


def as_tensor(observations: Any) -> Tensor:
    """Observations as a tensor, bool as uint8; an array is not copied, even if it is read-only.

    Raises:
        TypeError: The observations are neither a tensor, an array nor nested lists of numbers.
    """
    if isinstance(observations, list | tuple):
        observations = _stacked(observations)
    if isinstance(observations, np.ndarray):
        observations = _shared_memory(observations)
    if not isinstance(observations, Tensor):
        got = type(observations).__name__
        raise TypeError(
            f"expected observations as a tensor, an array or lists of numbers, got {got};"
            " as_dataset takes frames, torch data sets and loaders"
        )
    if observations.layout != torch.strided:
        raise TypeError(f"expected dense observations, got {observations.layout}; x.to_dense()")
    x = observations.detach()
    return x.view(torch.uint8) if x.dtype == torch.bool else x


def _stacked(rows: list[Any] | tuple[Any, ...]) -> Tensor | np.ndarray:
    """Rows of one shape as one tensor or array; lists of numbers are float32."""
    if rows and all(isinstance(row, Tensor) for row in rows):
        if len({row.shape for row in rows}) == 1:
            return torch.stack(list(rows))
        raise ValueError("expected observations of one shape, got tensors of several shapes")
    try:
        array = np.asarray(rows)
    except ValueError:
        raise ValueError(
            "expected observations of one shape, got rows of several lengths"
        ) from None
    has_arrays = any(isinstance(row, np.ndarray) for row in rows)
    return array if has_arrays or array.dtype.kind not in "iuf" else array.astype(np.float32)


def _shared_memory(array: np.ndarray) -> Tensor:
    """An array as a tensor on the same memory.

    Torch takes neither reversed nor foreign-endian arrays; only such arrays are copied. It warns of
    read-only memory, such as a memory map; nothing here writes to observations. Masked entries are
    missing: they become NaN.
    """
    if isinstance(array, np.ma.MaskedArray):
        filled = np.where(np.ma.getmaskarray(array), np.nan, np.ma.getdata(array))
        return torch.from_numpy(filled.astype(np.float32))
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected observations of {_TYPES}, got {array.dtype}")
    native = array.dtype.newbyteorder("=")
    if native.kind == "u" and native.itemsize > 1:  # torch can hardly compute with these
        array = array.astype(np.int64)
        native = array.dtype
    if array.dtype != native or any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array, native)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))


def check_type(x: Tensor) -> None:
    """Raise an error unless observations are integers or floats and have at least one row."""
    if x.is_complex():
        raise TypeError(f"expected observations of {_TYPES}, got {x.dtype}; convert them")
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(
            f"expected observations of shape (num, …) without empty axes, got {tuple(x.shape)}"
        )


def maximum_of(values: ValueRange, dtype: torch.dtype, maximum: float | None) -> float:
    """The stored value that stands for 1, after checking that no stored byte exceeds it.

    Args:
        values: Range of the observations.
        dtype: Type of the stored observations.
        maximum: The given value; by default 255 for uint8 that exceed 1, else 1.
    """
    is_bytes = dtype == torch.uint8
    if maximum is None:
        maximum = 255 if is_bytes and values.high > 1 else 1
    if not maximum > 0 or (is_bytes and values.high > maximum):
        got = f"{maximum=} and {values.high:g}"
        raise ValueError(f"expected maximum > 0 and no observation above it, got {got}")
    return maximum


def arranged(
    x: Tensor, values: ValueRange, kind: Kind | None, *, channels_last: bool
) -> tuple[Tensor, Kind]:
    """Observations in the layout of their kind, and the kind.

    Images get the shape ``(num, channels, height, width)``, signals ``(num, channels, time)``,
    sequences ``(num, time, features)``.

    Raises:
        ValueError: The kind is unknown, or the shape does not fit it.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"no kind of observation named {kind!r}; expected one of {list(_KINDS)}")
    if channels_last:
        x = _channels_first(x, kind)
    kind = _kind_of(x, values) if kind is None else kind
    return _in_layout(x, kind), kind


def _channels_first(x: Tensor, kind: Kind | None) -> Tensor:
    """Images or signals whose channels are the last axis, with the channels second.

    The tensor is a view: a memory map stays on the disk.
    """
    num_dims = 3 if kind == "signal" else 4
    if x.ndim != num_dims:
        expected = "(num, time, channels)" if num_dims == 3 else "(num, height, width, channels)"
        raise ValueError(f"expected {expected}, got {tuple(x.shape)}")
    return x.movedim(-1, 1)


def _kind_of(x: Tensor, values: ValueRange) -> Kind:
    """The kind that follows from shape and values.

    Observations with two axes are images with one channel if they are bytes, or if they are in [0,
    1] and have the shape of an image; otherwise they are signals ``(channels, time)``.
    """
    if x.ndim == 3:
        height, width = x.shape[1:]
        like_image = height == width or min(height, width) >= _SMALLEST_SIDE
        in_range = 0 <= values.low and values.high <= 1
        return "image" if x.dtype == torch.uint8 or (in_range and like_image) else "signal"
    return "image" if x.ndim == 4 else "vector"


def _in_layout(x: Tensor, kind: Kind) -> Tensor:
    """Observations with the axes of their kind; a single channel or feature gets its axis."""
    got = tuple(x.shape)
    if kind == "image" and x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        raise ValueError(
            f"expected (num, channels, height, width), got {got}; is it channels_last=True?"
        )
    num_axes = {"image": 4, "signal": 3, "sequence": 3}.get(kind)
    if num_axes is not None and x.ndim == num_axes - 1:
        return x.unsqueeze(2 if kind == "sequence" else 1)
    fits = x.ndim == num_axes if num_axes else kind == "vector" or x.ndim <= 2
    if not fits:
        raise ValueError(f"expected observations of kind {kind!r} as {_LAYOUTS[kind]}, got {got}")
    return x
