"""Classes of numbers, for measures that need them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["classes_of"]

_MOST_LEVELS, _BINS = 100, 20


def classes_of(column: Tensor) -> tuple[tuple[float, ...], Tensor]:
    """The value that stands for each class of a column of numbers, and the classes ``(num_data,)``.

    The classes are the distinct values where there are at most 100, otherwise 20 intervals that hold about as many
    data each, for which the medians stand.
    """
    levels, classes = column.unique(return_inverse=True)
    if len(levels) <= _MOST_LEVELS:
        return tuple(levels.tolist()), classes
    edges = np.quantile(column.numpy(), np.linspace(0, 1, _BINS + 1)[1:-1])
    filled, classes = torch.from_numpy(np.searchsorted(edges, column.numpy())).unique(
        return_inverse=True
    )
    return tuple(column[classes == k].median().item() for k in range(len(filled))), classes
