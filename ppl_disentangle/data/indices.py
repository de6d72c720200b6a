"""Indices of data and classes of factors, checked in one place: lists, arrays, slices and masks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_classes", "as_index", "takes_classes", "takes_index", "trusted_indices"]

_TRUSTED: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trusted_indices() -> Iterator[None]:
    """Skip the checks of indices inside, for loops that make their indices themselves.

    A check reads values on the host. A training step must not wait for the device, and a captured
    step cannot read values at all.
    """
    token = _TRUSTED.set(True)
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def takes_index(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method ``(self, index)`` of a data set that checks its index first by :func:`as_index`.

    The data sets that the method calls in turn trust the index: it is checked once.
    """

    @functools.wraps(method)
    def checked(self: Any, index: Any) -> Any:
        if _TRUSTED.get():
            return method(self, index)
        checked_index = as_index(index, len(self), self.name)
        with trusted_indices():
            return method(self, checked_index)

    return checked


def takes_classes(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method ``(self, factors)`` of a grid that checks the classes first by :func:`as_classes`."""

    @functools.wraps(method)
    def checked(self: Any, factors: Any) -> Any:
        if _TRUSTED.get():
            return method(self, factors)
        checked_factors = as_classes(factors, self.factor_names, self.factor_sizes)
        with trusted_indices():
            return method(self, checked_factors)

    return checked


def as_index(index: Any, num: int, name: str, *, from_end: bool = False) -> Tensor:
    """Positions of data as int64 ``(batch,)`` in [0, num), on the device of ``index``.

    Args:
        index: Integers as a tensor, an array or a list; a slice; or a bool mask with an entry for
            each datum.
        num: Number of data.
        name: Name of the data set in error messages.
        from_end: Whether negative integers count from the end; by default they are out of range.

    Raises:
        TypeError: The index holds neither integers nor bools.
        IndexError: A position is out of range, or a mask has another length than the data.
        ValueError: The index is not a vector.
    """
    if isinstance(index, slice):
        chosen = range(num)[index]
        return torch.arange(*_bounds(chosen)) if chosen else torch.empty(0, dtype=torch.int64)
    positions = _integers(index, f"an index of {name!r}")
    if positions.dim() != 1:
        got = tuple(positions.shape)
        raise ValueError(
            f"expected an index of {name!r} of shape (batch,), got {got}; data[i] is one datum"
        )
    if positions.dtype == torch.bool:
        return _chosen(positions, num, name)
    positions = positions.long()
    _check_range(positions, num, name, lowest=-num if from_end else 0)
    return torch.where(positions < 0, positions + num, positions) if from_end else positions


def _bounds(chosen: range) -> tuple[int, int, int]:
    return chosen.start, chosen.stop, chosen.step


def _integers(values: Any, what: str) -> Tensor:
    """Integers or bools as a tensor; an empty list has no type and is taken."""
    tensor = values if isinstance(values, Tensor) else _as_tensor(values, what)
    if tensor.is_floating_point() or tensor.is_complex():
        if tensor.numel():
            raise TypeError(f"expected {what} of integers, got {tensor.dtype}; convert it: .long()")
        return tensor.long()
    return tensor


def _as_tensor(values: Any, what: str) -> Tensor:
    try:
        return torch.from_numpy(np.array(values))  # a copy: the array may be read-only
    except (TypeError, ValueError):
        got = type(values).__name__
        raise TypeError(
            f"expected {what} as a tensor, array or list of integers, got {got}"
        ) from None


def _chosen(mask: Tensor, num: int, name: str) -> Tensor:
    """Positions at which a mask is true."""
    if len(mask) != num:
        raise IndexError(f"expected a mask of the {num} data of {name!r}, got {len(mask)} entries")
    return mask.nonzero()[:, 0]


def _check_range(positions: Tensor, num: int, name: str, *, lowest: int) -> None:
    """Raise an error unless all positions are in [lowest, num)."""
    if positions.is_meta or not len(positions):
        return
    low, high = (int(end) for end in torch.aminmax(positions))
    if low < lowest or high >= num:
        first = low if low < lowest else high
        raise IndexError(f"index {first} is out of range for {num} data of {name!r}")


def as_classes(factors: Any, names: Sequence[str], sizes: Sequence[int]) -> Tensor:
    """Classes of all factors as int64 ``(batch, len(names))``, each in [0, size of its factor).

    Args:
        factors: Classes as a tensor, an array or a list of rows.
        names: Names of the factors.
        sizes: Number of classes of each factor.

    Raises:
        TypeError: The classes are not integers.
        ValueError: The shape does not fit the factors.
        IndexError: A class does not exist.
    """
    classes = _integers(factors, "classes of the factors")
    if classes.dim() != 2 or classes.shape[1] != len(sizes):
        expected = f"classes of the factors {list(names)} of shape (batch, {len(sizes)})"
        raise ValueError(f"expected {expected}, got {tuple(classes.shape)}")
    classes = classes.long()
    if classes.is_meta or not len(classes):
        return classes
    is_wrong = (classes < 0) | (classes >= torch.tensor(sizes, device=classes.device))
    if is_wrong.any():
        row, k = is_wrong.nonzero()[0].tolist()
        expected = f"classes of factor {names[k]!r} in [0, {sizes[k]})"
        raise IndexError(f"expected {expected}, got {int(classes[row, k])} in row {row}")
    return classes
