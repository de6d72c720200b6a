"""Leakage: how much of a sensitive factor is in each code, in all codes, and in all but one?"""

from __future__ import annotations

from collections.abc import Sequence
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
    r"""Predictability of a sensitive factor above chance: from each code, from all, from all but one.

    .. math:: L(z_S) = \frac{A(z_S) - 1/V}{1 - 1/V}, \qquad
        A(z_S) = \frac{1}{V} \sum_v \Pr\big(f(z_S) = v \mid s = v\big)

    where the classifier :math:`f` predicts the sensitive factor :math:`s` from the codes in the set
    :math:`S`. It is trained with equal weights of all values. :math:`A` is its balanced accuracy
    over the :math:`V` values in the test rows. For codes that are independent of the factor the
    expectation of :math:`A` is :math:`1/V`, for any classifier and however unequal the numbers of
    rows per value.

    Range: 1 if the classifier reads the factor from the codes without error, 0 if the codes carry
    no information about it, and below 0 only by chance. Dropping a code removes the factor only if
    ``without`` is near 0 for that code. If ``alone`` is high for several codes, dropping one code
    does not help. The score is invariant under permutation of the codes, and with trees also under
    monotone maps of each code.

    Weakness: The score is a lower bound. Information that this predictor cannot read may be
    readable by another predictor, or with more data. A score of 0 from a linear probe means little.

    Args:
        codes_train: Codes of the training rows, of shape ``(num_train, num_codes)``.
        factors_train: Factor values of the training rows, of shape ``(num_train, num_factors)``.
        codes_test: Codes of the test rows, of shape ``(num_test, num_codes)``.
        factors_test: Factor values of the test rows, of shape ``(num_test, num_factors)``.
        sensitive: Column of the sensitive factor.
        predictor: Classifier of the sensitive factor; see :func:`downstream_accuracy`.
        seed: Seed of the trees.

    Returns:
        A dataset over ``code``. ``alone`` and ``without`` are the scores of each code alone and of
        all other codes, ``whole`` is the score of all codes. ``*_standard_error`` are their
        standard errors over test rows, for the classifier as trained. With a single code
        ``without`` is 0.

    Raises:
        IndexError: The factors have no such column.
        ValueError: The factor has a single value in the training or in the test rows.

    References:
        [1] Locatello et al., 2019. On the Fairness of Disentangled Representations (sensitive
            factors that representations carry unnoticed; see also :func:`unfairness`).
            https://arxiv.org/abs/1905.13662
        [2] Brodersen et al., 2010. The Balanced Accuracy and Its Posterior Distribution.
            https://doi.org/10.1109/ICPR.2010.764

    Example:
        >>> v = np.random.default_rng(0).integers(2, size=(2000, 2))
        >>> result = leakage(v[:1000], v[:1000], v[1000:], v[1000:], sensitive=0)
        >>> result["alone"].values.round(), result["without"].values.round(), result["whole"].item()
        (array([1., 0.]), array([0., 1.]), 1.0)
    """
    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    classes = _sensitive_classes(v, sensitive, num_train)

    def score(columns: ndarray) -> tuple[float, float]:
        return _score(z[:, columns], classes, num_train, predictor, seed)

    every = np.arange(z.shape[1])
    alone = [score(every[[d]]) for d in every]
    without = [score(np.delete(every, d)) for d in every]
    result = _dataset(alone, without, score(every))
    return result.assign_attrs(predictor=predictor, sensitive=sensitive)


def _sensitive_classes(factors: ndarray, sensitive: int, num_train: int) -> ndarray:
    """Classes of the sensitive factor, which must vary in the training and in the test rows."""
    if not 0 <= sensitive < factors.shape[1]:
        raise IndexError(f"no factor {sensitive}; there are {factors.shape[1]}")
    classes = factors[:, sensitive]
    halves = (classes[:num_train], classes[num_train:])
    if min(len(np.unique(half)) for half in halves) < 2:
        raise ValueError(
            "expected a sensitive factor with several values in both halves, "
            f"factor {sensitive} has one"
        )
    return classes


def _score(
    codes: ndarray, classes: ndarray, num_train: int, predictor: Probe, seed: int
) -> tuple[float, float]:
    """The score of some codes and its standard error; 0 without codes."""
    if not codes.size:
        return 0.0, 0.0
    predict = fit_probe(predictor, codes[:num_train], classes[:num_train], seed=seed, balanced=True)
    return _above_chance(predict(codes[num_train:]), classes[num_train:])


def _dataset(
    alone: Sequence[tuple[float, float]],
    without: Sequence[tuple[float, float]],
    whole: tuple[float, float],
) -> xr.Dataset:
    """The dataset of all scores and their standard errors."""
    import xarray as xr

    variables: dict[str, float | tuple[str, ndarray]] = {}
    for column, suffix in enumerate(("", "_standard_error")):
        variables[f"alone{suffix}"] = ("code", np.array(alone)[:, column])
        variables[f"without{suffix}"] = ("code", np.array(without)[:, column])
        variables[f"whole{suffix}"] = whole[column]
    return xr.Dataset(variables)


def _above_chance(predicted: ndarray, true: ndarray) -> tuple[float, float]:
    """Balanced accuracy, rescaled to 0 at chance, and its standard error: recalls are binomial."""
    values, counts = np.unique(true, return_counts=True)
    recalls = np.array([np.mean(predicted[true == value] == value) for value in values])
    chance = 1 / len(values)
    error = np.sqrt((recalls * (1 - recalls) / counts).sum()) / len(values)
    return float((recalls.mean() - chance) / (1 - chance)), float(error / (1 - chance))
