"""Leakage: how much of a sensitive factor is in each code, in all of them, and in all but one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_split
from ppl_disentangle.metrics.estimators.predictors import Probe, fit_probe

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["leakage"]


def leakage(
    codes_train: ArrayLike,
    factors_train: ArrayLike,
    codes_test: ArrayLike,
    factors_test: ArrayLike,
    *,
    sensitive: int,
    predictor: Probe = "gbt",
    seed: int = 0,
) -> xr.Dataset:
    r"""Predictability of a sensitive factor above chance, from each code alone, from all, and from all but each.

    .. math:: L(z_S) = \frac{A(z_S) - 1/V}{1 - 1/V}, \qquad
        A(z_S) = \frac{1}{V} \sum_v \Pr\big(f(z_S) = v \mid s = v\big)

    for a classifier :math:`f` of the sensitive factor :math:`s` from the codes in the set :math:`S`, trained
    with every value weighing alike. :math:`A` is its balanced accuracy over the :math:`V` values that the test
    rows have: :math:`1/V` in expectation for whatever classifier, where the codes are independent of the
    factor, however unequal its values are in number.

    Range: 1 for codes from which the classifier reads the factor without error, 0 where they tell nothing, and
    below 0 by chance. To remove a factor by dropping a code, ``without`` must be near 0 there; if ``alone`` is
    high for several codes, dropping one does not help. Invariant under permutation of the codes, and by trees
    under monotone maps of each.

    Weakness: a lower bound. What this predictor cannot read may still be there for another, or for more data;
    0 from a linear probe says little.

    Args:
        codes_train: shape ``(num_train, num_codes)``.
        factors_train: shape ``(num_train, num_factors)``.
        codes_test: shape ``(num_test, num_codes)``.
        factors_test: shape ``(num_test, num_factors)``.
        sensitive: column of the factors.
        predictor: as in :func:`downstream_accuracy`.
        seed: random state of trees.

    Returns:
        A dataset over ``code`` with ``alone`` and ``without`` of each, ``whole``, and the
        ``*_standard_error`` of each over test rows, for the classifier as trained; with a single code
        ``without`` is 0.

    Raises:
        IndexError: there is no such column.
        ValueError: the factor has one value in the training or in the test rows.

    References:
        [1] Locatello et al., 2019. On the Fairness of Disentangled Representations (sensitive factors that
            representations carry unseen; there as :func:`unfairness`). https://arxiv.org/abs/1905.13662
        [2] Brodersen et al., 2010. The Balanced Accuracy and Its Posterior Distribution.
            https://doi.org/10.1109/ICPR.2010.764

    Example:
        >>> v = np.random.default_rng(0).integers(2, size=(2000, 2))
        >>> found = leakage(v[:1000], v[:1000], v[1000:], v[1000:], sensitive=0)
        >>> found["alone"].values.round(), found["without"].values.round(), found["whole"].item()
        (array([1., 0.]), array([0., 1.]), 1.0)
    """
    import xarray as xr

    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    if not 0 <= sensitive < v.shape[1]:
        raise IndexError(f"no factor {sensitive}; there are {v.shape[1]}")
    s = v[:, sensitive]
    if min(len(np.unique(s[:num_train])), len(np.unique(s[num_train:]))) < 2:
        raise ValueError(
            f"expected a sensitive factor with several values in both halves, factor {sensitive} has one"
        )

    def score(columns: ndarray) -> tuple[float, float]:
        if not columns.size:
            return 0.0, 0.0
        predict = fit_probe(
            predictor, z[:num_train, columns], s[:num_train], seed=seed, balanced=True
        )
        return _above_chance(predict(z[num_train:, columns]), s[num_train:])

    every = np.arange(z.shape[1])
    alone = np.array([score(every[[d]]) for d in every])
    without = np.array([score(np.delete(every, d)) for d in every])
    whole = score(every)
    variables = {
        "alone": ("code", alone[:, 0]),
        "without": ("code", without[:, 0]),
        "whole": whole[0],
    }
    errors = {"alone": ("code", alone[:, 1]), "without": ("code", without[:, 1]), "whole": whole[1]}
    variables |= {f"{name}_standard_error": error for name, error in errors.items()}
    return xr.Dataset(variables, attrs={"predictor": predictor, "sensitive": sensitive})


def _above_chance(predicted: ndarray, true: ndarray) -> tuple[float, float]:
    """Balanced accuracy, rescaled to 0 at chance, and its standard error: the recall of each value is binomial."""
    values, counts = np.unique(true, return_counts=True)
    recalls = np.array([np.mean(predicted[true == value] == value) for value in values])
    chance = 1 / len(values)
    error = np.sqrt((recalls * (1 - recalls) / counts).sum()) / len(values)
    return float((recalls.mean() - chance) / (1 - chance)), float(error / (1 - chance))
