"""Plug-in mutual information between binned codes and discrete factors, for all pairs at once."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, as_classes, as_codes

__all__ = ["binned", "entropies", "mutual_information"]


def mutual_information(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> ndarray:
    r"""Mutual information between every code and every factor, in nats.

    .. math:: I(z_d; v_k) = \sum_{b, v} p(b, v) \log \frac{p(b, v)}{p(b)\, p(v)}

    where :math:`b` is the bin of code :math:`z_d`, :math:`v` the value of factor :math:`v_k`, and
    :math:`p` are relative frequencies in the data. The ``bins`` bins of a code have equal width and
    cover its range; factors are not binned. This is equivalent to scikit-learn's
    ``mutual_info_score`` of each pair of binned code and factor.

    Range: 0 to the entropy of the factor. For independent variables the plug-in estimate is not 0
    but about ``(bins - 1) * (values - 1) / (2 * num_data)``. An outlier stretches the bins and
    lowers the estimate.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        bins: Number of bins of each code.

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
    # (num_codes, num_data): bins are numbered over all codes, so that one bincount counts them all.
    cells = _bins(z, bins) + bins * np.arange(num_codes)[:, None]
    code_counts = np.bincount(cells.ravel(), minlength=num_codes * bins)
    code_terms = _n_log_n(code_counts).reshape(num_codes, bins).sum(1)
    columns = []
    for classes in v.T:
        joint_terms = _n_log_n(_joint_counts(cells, classes, num_codes, bins)).sum((0, 2))
        factor_term = _n_log_n(np.bincount(classes)).sum()
        # I = H(z) + H(v) - H(z, v), where H = log N - sum(n log n) / N
        columns.append(np.log(num_data) + (joint_terms - code_terms - factor_term) / num_data)
    return np.maximum(np.stack(columns, 1), 0.0)


def _joint_counts(cells: ndarray, classes: ndarray, num_codes: int, bins: int) -> ndarray:
    """Numbers of data by class, code and bin, ``(num_classes, num_codes, bins)``."""
    num_classes = classes.max() + 1
    joint = (num_codes * bins * classes + cells).ravel()
    counts = np.bincount(joint, minlength=num_codes * bins * num_classes)
    return counts.reshape(num_classes, num_codes, bins)


def entropies(factors: ArrayLike) -> ndarray:
    r"""Entropy of every factor in nats, from its relative frequencies :math:`p` in the data.

    .. math:: H(v_k) = -\sum_v p(v) \log p(v)

    Args:
        factors: Factor values of shape ``(num_data, num_factors)``.

    Returns:
        An array of shape ``(num_factors,)``, between 0 and the log of the number of values.
    """
    v = as_classes(factors)
    terms = [_n_log_n(np.bincount(column)).sum() for column in v.T]
    return np.array([np.log(len(v)) - term / len(v) for term in terms])


def binned(codes: ArrayLike, bins: int) -> ndarray:
    """Bin of every code, ``(num_data, num_codes)``; bins have equal width and cover the code's range."""
    return _bins(as_codes(codes), bins).T


def _bins(codes: ndarray, bins: int) -> ndarray:
    """Bin of every code, ``(num_codes, num_data)``; values on an inner edge belong to the higher bin.

    This is equivalent to ``np.searchsorted`` in the inner edges of each code, and faster.
    """
    columns = np.ascontiguousarray(codes.T)
    low = columns.min(1, keepdims=True)
    high = columns.max(1, keepdims=True)
    edges = _edges(low[:, 0], high[:, 0], bins)
    width = np.where(high > low, high - low, 1.0) / bins
    guess = np.minimum((columns - low) / width, bins - 1).astype(np.intp)
    # Rounding may put the guess one bin off: compare each value with the edges of its bin.
    # `position` is that of the bin's lower edge in the edges of all codes.
    position = guess + (bins + 1) * np.arange(len(columns))[:, None]
    guess -= columns < edges[position]
    guess += columns >= edges[position + 1]
    return np.minimum(guess, bins - 1)


def _edges(low: ndarray, high: ndarray, bins: int) -> ndarray:
    """Edges of the bins of all codes, one code after the other, ``(num_codes * (bins + 1),)``."""
    ranges = zip(low, high, strict=True)
    return np.concatenate([np.linspace(start, end, bins + 1) for start, end in ranges])


def _n_log_n(counts: ndarray) -> ndarray:
    return counts * np.log(np.maximum(counts, 1))
