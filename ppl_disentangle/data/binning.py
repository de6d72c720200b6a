"""Classes of numerical factors, for metrics that compare classes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["classes_of"]

_MAX_LEVELS = 100
_NUM_BINS = 20


def classes_of(column: Tensor) -> tuple[tuple[float, ...], Tensor]:
    """Representative values of the classes, and the class of each datum ``(num_data,)``.

    A column with at most 100 distinct values has a class for each of them. Otherwise the classes
    are 20 intervals with about as many data each, represented by the median of the data in them.
    """
    levels, classes = column.unique(return_inverse=True)
    if len(levels) <= _MAX_LEVELS:
        return tuple(levels.tolist()), classes
    numbers = column.numpy()
    edges = np.quantile(numbers, np.linspace(0, 1, _NUM_BINS + 1)[1:-1])
    intervals = torch.from_numpy(np.searchsorted(edges, numbers))
    filled, classes = intervals.unique(return_inverse=True)  # ties leave some intervals empty
    medians = tuple(column[classes == k].median().item() for k in range(len(filled)))
    return medians, classes
