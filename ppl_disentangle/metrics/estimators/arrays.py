"""Codes and factors as checked numpy arrays: the one edge through which every metric takes its data."""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike

__all__ = [
    "as_array",
    "as_arrays",
    "as_classes",
    "as_codes",
    "as_numbers",
    "as_split",
    "constant",
    "varying",
]


def as_array(values: ArrayLike) -> ndarray:
    """A numpy array of any array library's, from any device; torch's floats become float64."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    return np.asarray(values)


def as_codes(codes: ArrayLike) -> ndarray:
    """Codes ``(num_data, num_codes)`` of any array library and device as float64, all finite."""
    array = _two_dimensional(codes, "codes", "num_codes").astype(np.float64)
    _refuse_non_finite(array, "code")
    return array


def as_classes(factors: ArrayLike) -> ndarray:
    """Factors ``(num_data, num_factors)`` as int64 classes: each column's values by rank, without gaps."""
    array = _two_dimensional(factors, "factors", "num_factors")
    if array.dtype.kind == "f":
        _refuse_non_finite(array, "factor")
    columns = [np.unique(column, return_inverse=True)[1] for column in array.T]
    return np.stack(columns, 1).astype(np.int64)


def as_arrays(codes: ArrayLike, factors: ArrayLike) -> tuple[ndarray, ndarray]:
    """Codes and factor classes of the same data, row by row."""
    checked, classes = as_codes(codes), as_classes(factors)
    _refuse_other_length(checked, classes)
    return checked, classes


def as_numbers(codes: ArrayLike, factors: ArrayLike) -> tuple[ndarray, ndarray]:
    """Codes and factors of the same data as float64, the factors by their own values instead of classes."""
    checked, values = (
        as_codes(codes),
        _two_dimensional(factors, "factors", "num_factors").astype(np.float64),
    )
    _refuse_non_finite(values, "factor")
    _refuse_other_length(checked, values)
    return checked, values


def as_split(
    codes_train: ArrayLike, factors_train: ArrayLike, codes_test: ArrayLike, factors_test: ArrayLike
) -> tuple[ndarray, ndarray, int]:
    """Codes and factor classes of training rows followed by test rows, and the number of the former."""
    codes = _joined(codes_train, codes_test, "codes", "num_codes")
    factors = _joined(factors_train, factors_test, "factors", "num_factors")
    num_train = len(_two_dimensional(codes_train, "codes", "num_codes"))
    if num_train != len(_two_dimensional(factors_train, "factors", "num_factors")):
        raise ValueError(
            "expected a code for each row of the factors, in training and test data each"
        )
    return *as_arrays(codes, factors), num_train


def varying(factors: ndarray) -> ndarray:
    """Which factors ``(num_factors,)`` take more than one value; the others tell nothing and are left out."""
    several = (factors != factors[:1]).any(0)
    if not several.any():
        raise ValueError(
            "expected a factor with at least two values, got one value of every factor"
        )
    return several


def constant(codes: ndarray) -> ndarray:
    """Which codes ``(num_codes,)`` are the same for all data, but for the rounding of float64."""
    return np.ptp(codes, axis=0) <= 1e-12 * np.abs(codes).max(0)


def _two_dimensional(values: ArrayLike, name: str, columns: str) -> ndarray:
    array = as_array(values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"expected {name} of shape (num_data, {columns}), got {array.shape}")
    if len(array) < 2:
        raise ValueError(f"expected {name} of at least 2 rows, got {len(array)}")
    return array


def _joined(train: ArrayLike, test: ArrayLike, name: str, columns: str) -> ndarray:
    parts = _two_dimensional(train, name, columns), _two_dimensional(test, name, columns)
    if parts[0].shape[1] != parts[1].shape[1]:
        raise ValueError(
            f"expected as many {columns} in test as in training, got {[p.shape[1] for p in parts]}"
        )
    return np.concatenate(parts)


def _refuse_other_length(codes: ndarray, factors: ndarray) -> None:
    if len(codes) != len(factors):
        raise ValueError(
            f"expected a code for each row of the factors, got {len(codes)} and {len(factors)} rows"
        )


def _refuse_non_finite(array: ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(array).all(0))
    if bad.size:
        raise ValueError(
            f"expected finite values, got NaN or infinity in {name} column {', '.join(map(str, bad))}"
        )
