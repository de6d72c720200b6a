"""Plug-in mutual information between binned codes and discrete factors, of all pairs at once."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, as_classes, as_codes

__all__ = ["binned", "entropies", "mutual_information"]


def mutual_information(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> ndarray:
    r"""Mutual information of every code and every factor, in nats.

    .. math:: I(z_d; v_k) = \sum_{b, v} p(b, v) \log \frac{p(b, v)}{p(b)\, p(v)}

    where :math:`b` is the bin of code :math:`z_d`, one of ``bins`` of equal width over the code's own range,
    :math:`v` the value of factor :math:`v_k`, which is not binned, and :math:`p` the shares in the data. This
    is equivalent to scikit-learn's ``mutual_info_score`` of each pair of binned code and factor.

    Range: 0 to the factor's entropy. The plug-in estimate of independent variables is not 0 but about
    ``(bins - 1) * (values - 1) / (2 * num_data)``; an outlier stretches the bins and lowers the estimate.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        bins: number of bins of each code.

    Returns:
        An array of shape ``(num_codes, num_factors)``.

    Example:
        >>> v = np.repeat([0, 1, 2, 3], 100)[:, None]
        >>> mutual_information(np.sin(v), v) / np.log(4)
        array([[1.]])
    """
    z, v = as_arrays(codes, factors)
    if bins < 1:
        raise ValueError(f"expected bins >= 1, got {bins}")
    num_data, num_codes = z.shape
    cells = _bins(z, bins) + bins * np.arange(num_codes)[:, None]
    of_codes = (
        _n_log_n(np.bincount(cells.ravel(), minlength=num_codes * bins))
        .reshape(num_codes, bins)
        .sum(1)
    )
    columns = []
    for values in v.T:
        size = values.max() + 1
        joint = np.bincount(
            (num_codes * bins * values + cells).ravel(), minlength=num_codes * bins * size
        )
        of_pairs = _n_log_n(joint).reshape(size, num_codes, bins).sum((0, 2))
        of_factor = _n_log_n(np.bincount(values)).sum()
        columns.append(np.log(num_data) + (of_pairs - of_codes - of_factor) / num_data)
    return np.maximum(np.stack(columns, 1), 0.0)


def entropies(factors: ArrayLike) -> ndarray:
    r"""Entropy of every factor in nats, :math:`-\sum_v p(v) \log p(v)` with :math:`p` the shares in the data.

    Args:
        factors: shape ``(num_data, num_factors)``.

    Returns:
        An array of shape ``(num_factors,)``, between 0 and the log of the number of values.
    """
    v = as_classes(factors)
    return np.array(
        [np.log(len(v)) - _n_log_n(np.bincount(column)).sum() / len(v) for column in v.T]
    )


def binned(codes: ArrayLike, bins: int) -> ndarray:
    """Bin of every code, ``(num_data, num_codes)``: one of ``bins`` of equal width over the code's own range."""
    return _bins(as_codes(codes), bins).T


def _bins(codes: ndarray, bins: int) -> ndarray:
    """Bin of every code, ``(num_codes, num_data)``; a value on an inner edge belongs to the bin above.

    This is equivalent to ``np.searchsorted`` in the inner edges of each code, and faster.
    """
    columns = np.ascontiguousarray(codes.T)
    low, high = columns.min(1, keepdims=True), columns.max(1, keepdims=True)
    edges = np.stack(
        [np.linspace(*ends, bins + 1) for ends in zip(low[:, 0], high[:, 0], strict=True)]
    )
    width = np.where(high > low, high - low, 1.0) / bins
    guess = np.minimum((columns - low) / width, bins - 1).astype(np.intp)
    cell = (
        guess + (bins + 1) * np.arange(len(columns))[:, None]
    )  # rounding may put the guess one bin off
    guess -= columns < edges.ravel()[cell]
    guess += columns >= edges.ravel()[cell + 1]
    return np.minimum(guess, bins - 1)


def _n_log_n(counts: ndarray) -> ndarray:
    return counts * np.log(np.maximum(counts, 1))
