"""Continuous factors: which columns of numbers are continuous, and their classes for metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["binned_classes", "is_continuous", "numbers_as_factor"]

_MAX_LEVELS = 100
_FEW_LEVELS = 20
_MIN_LEVELS = 5
_DATA_PER_LEVEL = 10
_NUM_BINS = 20
_DATA_PER_BIN = 5

Numbers = npt.NDArray[Any]


def is_continuous(column: Numbers) -> bool:
    """Whether numbers ``(num_data,)`` are a continuous quantity, not classes.

    Fractional numbers are continuous if they have more than 100 distinct values, or more than 20
    with fewer than ten data each, or if five or more are all distinct. Whole numbers, such as the number of a
    class, are continuous if more than 100 values have fewer than two data each, or if more than 20
    data are all distinct.

    Example:
        >>> is_continuous(np.linspace(0, 1, 60)), is_continuous(np.arange(60) % 6)
        (True, False)
    """
    return _are_continuous(np.unique(column), len(column))


def _are_continuous(levels: Numbers, num_data: int) -> bool:
    """Whether numbers with these distinct values are continuous; see :func:`is_continuous`."""
    num_levels = len(levels)
    all_distinct = num_levels == num_data
    if np.all(levels == np.floor(levels)):
        are_rare = num_levels > _MAX_LEVELS and 2 * num_levels > num_data
        return bool(are_rare or (all_distinct and num_levels > _FEW_LEVELS))
    are_many = num_levels > _MAX_LEVELS or (all_distinct and num_levels >= _MIN_LEVELS)
    are_rare = num_levels > _FEW_LEVELS and _DATA_PER_LEVEL * num_levels > num_data
    return bool(are_many or are_rare)


def binned_classes(column: Numbers) -> tuple[tuple[float, ...], Numbers]:
    """Intervals with about as many data each: their medians, and the class of each datum.

    There are 20 intervals, and fewer where an interval would have fewer than five distinct values.

    Args:
        column: Numbers, ``(num_data,)``.

    Returns:
        The median of the data in each interval, and int64 classes ``(num_data,)``.
    """
    num_bins = min(_NUM_BINS, max(2, len(np.unique(column)) // _DATA_PER_BIN))
    edges = np.quantile(column, np.linspace(0, 1, num_bins + 1)[1:-1])
    intervals = np.searchsorted(edges, column)
    filled, classes = np.unique(intervals, return_inverse=True)  # ties leave some intervals empty
    medians = [np.quantile(column[classes == k], 0.5, method="lower") for k in range(len(filled))]
    return tuple(float(median) for median in medians), classes.astype(np.int64)


def numbers_as_factor(column: Numbers) -> tuple[bool, tuple[float, ...], Numbers]:
    """Whether numbers are continuous, the values of their classes, and the class of each datum.

    The classes of a column that is not continuous are its distinct values, sorted.
    """
    levels, classes = np.unique(column, return_inverse=True)
    if _are_continuous(levels, len(column)):
        return True, *binned_classes(column)
    return False, tuple(levels.tolist()), classes.astype(np.int64)
