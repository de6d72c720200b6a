"""Codes and factors as checked NumPy arrays: every metric reads its data with these functions."""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.data.binning import numbers_as_factor

__all__ = [
    "as_array",
    "as_arrays",
    "as_classes",
    "as_codes",
    "as_numbers",
    "as_split",
    "constant",
    "ranks",
    "varying",
]


def as_array(values: ArrayLike) -> ndarray:
    """A NumPy array of values from any array library and device; floats of torch become float64."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    return np.asarray(values)


def as_codes(codes: ArrayLike) -> ndarray:
    """Codes ``(num_data, num_codes)`` as float64; values that are not finite are an error."""
    array = _two_dimensional(codes, "codes", "num_codes").astype(np.float64)
    _refuse_non_finite(array, "code")
    return array


def as_classes(factors: ArrayLike) -> ndarray:
    """Factors ``(num_data, num_factors)`` as int64 classes.

    A class is the rank of a value. For floats that are continuous, see
    :func:`~ppl_disentangle.data.binning.is_continuous`, it is the rank of an interval. Whole numbers
    of an integer type are classes.
    """
    array = _two_dimensional(factors, "factors", "num_factors")
    if array.dtype.kind != "f":
        return ranks(array)
    _refuse_non_finite(array, "factor")
    return np.stack([numbers_as_factor(column)[2] for column in array.T], 1)


def ranks(values: ArrayLike) -> ndarray:
    """The rank of each value among the distinct values of its column, int64."""
    columns = [np.unique(column, return_inverse=True)[1] for column in as_array(values).T]
    return np.stack(columns, 1).astype(np.int64)


def as_arrays(codes: ArrayLike, factors: ArrayLike) -> tuple[ndarray, ndarray]:
    """Codes as float64 and factors as classes, with one row per datum in both."""
    checked = as_codes(codes)
    classes = as_classes(factors)
    _refuse_other_length(checked, classes)
    return checked, classes


def as_numbers(codes: ArrayLike, factors: ArrayLike) -> tuple[ndarray, ndarray]:
    """Codes and factors as float64; factors keep their values instead of becoming classes."""
    checked = as_codes(codes)
    values = _two_dimensional(factors, "factors", "num_factors").astype(np.float64)
    _refuse_non_finite(values, "factor")
    _refuse_other_length(checked, values)
    return checked, values


def as_split(
    codes_train: ArrayLike, factors_train: ArrayLike, codes_test: ArrayLike, factors_test: ArrayLike
) -> tuple[ndarray, ndarray, int]:
    """Codes and factor classes of training rows followed by test rows; the number of training rows.

    Training and test rows are joined so that equal factor values get equal classes in both.
    """
    codes = _joined(codes_train, codes_test, "codes", "num_codes")
    factors = _joined(factors_train, factors_test, "factors", "num_factors")
    num_train = len(_two_dimensional(codes_train, "codes", "num_codes"))
    if num_train != len(_two_dimensional(factors_train, "factors", "num_factors")):
        raise ValueError(
            "expected a code for each row of the factors, in training and test data each"
        )
    return *as_arrays(codes, factors), num_train


def varying(factors: ndarray) -> ndarray:
    """Mask ``(num_factors,)`` of the factors that vary; other factors carry no information."""
    varies = (factors != factors[:1]).any(0)
    if not varies.any():
        raise ValueError(
            "expected a factor with at least two values, got one value of every factor"
        )
    return varies


def constant(codes: ndarray) -> ndarray:
    """Mask ``(num_codes,)`` of the codes that are equal for all data, up to rounding."""
    return np.ptp(codes, axis=0) <= 1e-12 * np.abs(codes).max(0)


def _two_dimensional(values: ArrayLike, name: str, columns: str) -> ndarray:
    array = as_array(values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"expected {name} of shape (num_data, {columns}), got {array.shape}")
    if len(array) < 2:
        raise ValueError(f"expected {name} of at least 2 rows, got {len(array)}")
    return array


def _joined(train: ArrayLike, test: ArrayLike, name: str, columns: str) -> ndarray:
    arrays = [_two_dimensional(values, name, columns) for values in (train, test)]
    widths = [array.shape[1] for array in arrays]
    if widths[0] != widths[1]:
        raise ValueError(f"expected as many {columns} in test as in training, got {widths}")
    return np.concatenate(arrays)


def _refuse_other_length(codes: ndarray, factors: ndarray) -> None:
    if len(codes) != len(factors):
        raise ValueError(
            f"expected a code for each row of the factors, got {len(codes)} and {len(factors)} rows"
        )


def _refuse_non_finite(array: ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(array).all(0))
    if bad.size:
        columns = ", ".join(map(str, bad))
        raise ValueError(f"expected finite values, got NaN or infinity in {name} column {columns}")
