"""The range of all values of a tensor that may exceed the memory, read once in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ValueRange", "range_of"]

_CHUNK_ELEMENTS = 1 << 22


class ValueRange(NamedTuple):
    """Range of the stored values of all observations; NaN, which stands for missing, is left out.

    Attributes:
        low: Lowest value.
        high: Highest value.
        mean: Mean.
        scale: Standard deviation.
        has_missing: Whether a value is NaN.
    """

    low: float
    high: float
    mean: float
    scale: float
    has_missing: bool = False


def range_of(x: Tensor) -> ValueRange:
    """The range of the whole of ``x``, read once in chunks.

    Raises:
        ValueError: A value is infinite, or all are NaN.
    """
    parts = [_moments(chunk) for chunk in _finite_chunks(x)]
    num, low, high, total, squares = torch.stack(parts).unbind(1)
    if not num.sum():
        raise ValueError("expected observations, got NaN alone")
    mean = float(total.sum() / num.sum())
    # Moments about the mean of each chunk, so that a large offset costs no digits.
    spread = squares + num * (total / num.clamp(min=1) - mean).square()
    scale = math.sqrt(float(spread.sum() / num.sum()))
    lowest, highest = float(low.min()), float(high.max())
    return ValueRange(lowest, highest, mean, scale, bool(num.sum() < x.numel()))


def _finite_chunks(x: Tensor) -> Iterator[Tensor]:
    """Rows of ``x`` in parts of about four million elements, none of them infinite."""
    num_rows = max(1, _CHUNK_ELEMENTS // max(1, x[0].numel()))
    for start in range(0, len(x), num_rows):
        chunk = x[start : start + num_rows]
        if x.is_floating_point() and chunk.isinf().any():
            row = start + int(chunk.reshape(len(chunk), -1).isinf().any(1).int().argmax())
            raise ValueError(f"expected finite observations, got inf at index {row}")
        yield chunk


def _moments(chunk: Tensor) -> Tensor:
    """Number, lowest, highest, sum, and squares about the mean of the values that are not NaN."""
    values = chunk.flatten()
    if chunk.is_floating_point():
        values = values[~values.isnan()]
    if not len(values):
        return torch.tensor([0, math.inf, -math.inf, 0, 0], dtype=torch.float64)
    low, high = torch.aminmax(values)
    doubles = values.double()
    total = doubles.sum()
    squares = (doubles - total / len(doubles)).square().sum()
    return torch.stack([total.new_tensor(len(values)), low.double(), high.double(), total, squares])
