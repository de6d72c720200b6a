"""Mutual information between continuous codes and discrete factors, from nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, constant

__all__ = ["neighbour_information"]


def neighbour_information(
    codes: ArrayLike, factors: ArrayLike, *, neighbours: int = 10, seed: int = 0
) -> ndarray:
    r"""Mutual information between every code and every factor, in nats, without bins.

    .. math:: \psi(N) + \langle \psi(k_i) - \psi(n_i) - \psi(m_i) \rangle

    where :math:`\psi` is the digamma function, :math:`N` the number of data, and the mean is over
    the data :math:`i`. Of the :math:`n_i` data with the factor's value of datum :math:`i`, the
    :math:`k_i`-th nearest neighbour in the code, :math:`k_i = \min(k, n_i - 1)`, sets a distance.
    The number of data of any value that are closer, datum :math:`i` included, is :math:`m_i`. Data
    whose value no other datum shares are left out. Codes are standardised, and noise of 1e-10
    orders equal values at random. A constant code has information 0. This is equivalent to
    scikit-learn's ``mutual_info_classif`` of each pair, and faster.

    Range: 0 to about the entropy of the factor, which the estimate may exceed slightly; negative
    estimates become 0. The estimate is invariant under permutation, sign, shift and scale of the
    codes. Monotone maps of a code change the estimate, although not its limit for many data.

    Weakness: The estimate has a variance. If codes have equal values, it also varies with the seed.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        neighbours: Number of neighbours :math:`k`.
        seed: Seed of the noise that orders equal values.

    Returns:
        An array of shape ``(num_codes, num_factors)``.

    References:
        [1] Ross, 2014. Mutual Information between Discrete and Continuous Data Sets.
            https://doi.org/10.1371/journal.pone.0087357
        [2] Kraskov et al., 2004. Estimating Mutual Information.
            https://arxiv.org/abs/cond-mat/0305641

    Example:
        >>> v = np.repeat([0, 1, 2, 3], 250)[:, None]
        >>> z = v + np.random.default_rng(0).uniform(0, 0.9, v.shape)
        >>> (neighbour_information(z, v) / np.log(4)).round(2)
        array([[1.]])
    """
    z, v = as_arrays(codes, factors)
    if neighbours < 1:
        raise ValueError(f"expected neighbours >= 1, got {neighbours}")
    is_constant = constant(z)
    z = _standardised(z, is_constant, seed)
    information = np.zeros((z.shape[1], v.shape[1]))
    for d in np.flatnonzero(~is_constant):
        order = np.argsort(z[:, d])
        for k, classes in enumerate(v[order].T):
            information[d, k] = _pair_information(z[order, d], classes, neighbours)
    return information


def _standardised(codes: ndarray, is_constant: ndarray, seed: int) -> ndarray:
    """Codes of mean 0 and standard deviation 1, with tiny noise that orders equal values."""
    standardised = (codes - codes.mean(0)) / np.where(is_constant, 1.0, codes.std(0))
    return standardised + 1e-10 * np.random.default_rng(seed).standard_normal(codes.shape)


def _pair_information(code: ndarray, classes: ndarray, neighbours: int) -> float:
    """The estimate for one factor and one code, whose values ascend."""
    from scipy.special import digamma

    accompanied = np.bincount(classes)[classes] > 1
    if not accompanied.any():
        return 0.0
    code = code[accompanied]
    classes = classes[accompanied]
    class_size, k, low, high = _class_neighbours(code, classes, neighbours)
    num_closer = np.searchsorted(code, high, side="left")
    num_closer -= np.searchsorted(code, low, side="right")
    terms = digamma(k) - digamma(class_size) - digamma(np.maximum(num_closer, 1))
    return max(float(digamma(len(code)) + terms.mean()), 0.0)


def _class_neighbours(
    code: ndarray, classes: ndarray, neighbours: int
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Class size, number k of neighbours, and both ends of the interval up to the k-th neighbour.

    The results are sorted by class.
    """
    # Within a class the values still ascend, so that neighbours are adjacent.
    values = code[np.argsort(classes, kind="stable")]
    counts = np.bincount(classes)
    class_size = np.repeat(counts, counts)
    class_start = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.arange(len(code)) - class_start
    k = np.minimum(neighbours, class_size - 1)
    return class_size, k, *_neighbour_intervals(values, rank, class_size, k)


def _neighbour_intervals(
    values: ndarray, rank: ndarray, class_size: ndarray, k: ndarray
) -> tuple[ndarray, ndarray]:
    """The open interval around each value up to its k-th nearest neighbour of the same class.

    One end of the interval is that neighbour; the other end is at the same distance.

    Args:
        values: Codes by class, ascending within each class.
        rank: Rank of each value in its class.
        class_size: Number of values in the class of each value.
        k: Which neighbour bounds the interval of each value.
    """
    index = np.arange(len(values))
    radius = np.full(len(values), np.inf)
    low = values.copy()
    high = values.copy()
    # The k neighbours are a run of adjacent values. Try every number of them below the value: the
    # run with the smallest distance to its farther end holds the nearest neighbours.
    for num_below in range(k.max() + 1):
        possible = (num_below <= np.minimum(rank, k)) & (rank - num_below + k < class_size)
        first = values[np.where(possible, index - num_below, index)]
        last = values[np.where(possible, index - num_below + k, index)]
        distance = np.maximum(values - first, last - values)
        better = possible & (distance < radius)
        radius[better] = distance[better]
        low_end, high_end = _symmetric_interval(values, first, last, distance)
        low[better] = low_end[better]
        high[better] = high_end[better]
    return low, high


def _symmetric_interval(
    values: ndarray, first: ndarray, last: ndarray, distance: ndarray
) -> tuple[ndarray, ndarray]:
    """Ends of the interval around each value that reaches to the farther of two neighbours.

    That neighbour is one end exactly, so that rounding cannot put it inside the open interval.
    """
    low = np.where(distance == values - first, first, values - distance)
    high = np.where(distance == last - values, last, values + distance)
    return low, high
