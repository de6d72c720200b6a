"""Unfairness: how much do predictions of one factor depend on the value of another factor?"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.metrics.estimators.arrays import as_array, as_classes, as_split, varying
from ppl_disentangle.metrics.estimators.grid_codes import Encode, GridCodes, RenderableGrid
from ppl_disentangle.metrics.estimators.predictors import Probe, fit_probe

__all__ = ["Unfairness", "total_variation", "unfairness", "unfairness_from_codes"]


class Unfairness(NamedTuple):
    """Result of :func:`unfairness` and :func:`unfairness_from_codes`.

    Attributes:
        mean: Mean score over all pairs of different factors.
        floor: Mean score by chance alone.
        pairs: Score of each pair ``(target, sensitive)``; NaN where a factor has a single value,
            and on the diagonal.
    """

    mean: float
    floor: float
    pairs: ndarray


def unfairness(
    grid: RenderableGrid,
    encode: Encode,
    *,
    seed: int,
    predictor: Probe = "gbt",
    num_train: int = 10_000,
    num_test: int = 200,
) -> Unfairness:
    r"""Change in the distribution of predictions when only the sensitive factor is set.

    .. math:: U_{ks} = \frac{1}{|S|} \sum_{c \in S} \operatorname{TV}\big(p(\hat v_k),\,
        p(\hat v_k \mid \operatorname{do}(v_s = c))\big), \qquad
        \operatorname{TV}(p, q) = \tfrac12 \sum_y |p(y) - q(y)|

    where :math:`\hat v_k` predicts the target factor :math:`v_k` from the codes, :math:`S` holds
    the values of the sensitive factor :math:`v_s`, and :math:`p(\hat v_k)` is the mean of the
    distributions over these values. The classifier is trained on independent, uniform factors, so
    that the labels themselves give no reason for unfairness. The score is the mean over all pairs
    of different factors.

    Range: 0, if no prediction depends on another factor, to 1. The same ``num_test`` vectors of the
    other factors are used for every value of the sensitive factor. A code without the sensitive
    factor therefore has a score of exactly 0: the floor is 0.

    Weakness: A predictor that always predicts the same class has a score of 0, so read the score
    beside the accuracy. The score depends on the predictor.

    Args:
        grid: Grid of factors, or any object with ``factor_sizes`` and ``render``.
        encode: Function from rendered observations to codes ``(num, num_codes)``. A call gets at
            most 4,096 observations.
        seed: Seed of all random draws and of the trees.
        predictor: Classifier of the target factors; see :func:`downstream_accuracy`.
        num_train: Number of observations that train the classifiers.
        num_test: Number of vectors of the other factors.

    References:
        [1] Locatello et al., 2019. On the Fairness of Disentangled Representations.
            https://arxiv.org/abs/1905.13662
    """
    sampler = GridCodes(grid, encode, seed=seed, num_draws=0)  # never encodes the whole grid
    factors = sampler.sample(num_train)
    codes = sampler.codes(factors)
    classes = factors.numpy()
    columns = np.flatnonzero(varying(classes))
    predict = {k: fit_probe(predictor, codes, classes[:, k], seed=seed) for k in columns}
    pairs = np.full((len(sampler.sizes),) * 2, np.nan)
    for s in columns:
        intervened = _intervened_factors(sampler, int(s), num_test)
        intervened_codes = sampler.codes(intervened)
        for k in columns[columns != s]:
            predictions = predict[k](intervened_codes)
            pairs[k, s] = total_variation(predictions, intervened[:, s].numpy())
    return Unfairness(_mean(pairs), 0.0, pairs)


def _intervened_factors(sampler: GridCodes, sensitive: int, num: int) -> Tensor:
    """Factors ``(num_values * num, num_factors)`` with every value of the sensitive factor in turn.

    The vectors of the other factors are the same for all values.
    """
    num_values = sampler.sizes[sensitive]
    factors = sampler.sample(num).repeat(num_values, 1)
    factors[:, sensitive] = torch.arange(num_values).repeat_interleave(num)
    return factors


def unfairness_from_codes(
    codes_train: ArrayLike,
    factors_train: ArrayLike,
    codes_test: ArrayLike,
    factors_test: ArrayLike,
    *,
    predictor: Probe = "gbt",
    seed: int = 0,
) -> Unfairness:
    """The score of :func:`unfairness` from fixed rows: the sensitive factor is observed, not set.

    The distribution of the predictions given a value is estimated from the test rows with that
    value. If factors are correlated in the data, even correct predictions depend on the sensitive
    factor. With few rows per value any two distributions differ by chance. Therefore ``floor`` is
    the score after every sensitive factor was shuffled, and only the score above the floor is
    unfairness.

    Args:
        codes_train: Codes of the training rows, of shape ``(num_train, num_codes)``.
        factors_train: Factor values of the training rows, of shape ``(num_train, num_factors)``.
        codes_test: Codes of the test rows, of shape ``(num_test, num_codes)``.
        factors_test: Factor values of the test rows, of shape ``(num_test, num_factors)``.
        predictor: Classifier of the target factors; see :func:`downstream_accuracy`.
        seed: Seed of the trees and of the shuffled order.
    """
    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    varies = varying(v[:num_train])
    predictions = np.repeat(v[:1], len(v) - num_train, axis=0)
    for k in np.flatnonzero(varies):
        predict = fit_probe(predictor, z[:num_train], v[:num_train, k], seed=seed)
        predictions[:, k] = predict(z[num_train:])
    return unfairness_of_predictions(predictions, v[num_train:], varies, seed=seed)


def unfairness_of_predictions(
    predictions: ndarray, factors: ndarray, varies: ndarray, *, seed: int
) -> Unfairness:
    """The score of predictions that have been made already.

    Args:
        predictions: Predicted classes, of shape ``(num_data, num_factors)``.
        factors: True classes, of shape ``(num_data, num_factors)``.
        varies: Mask of the factors that count, of shape ``(num_factors,)``.
        seed: Seed of the shuffled order.
    """
    rng = np.random.default_rng(seed)
    num_factors = factors.shape[1]
    pairs = np.full((num_factors, num_factors), np.nan)
    floors = np.full((num_factors, num_factors), np.nan)
    for k, s in itertools.permutations(np.flatnonzero(varies), 2):
        pairs[k, s] = total_variation(predictions[:, k], factors[:, s])
        floors[k, s] = total_variation(predictions[:, k], rng.permutation(factors[:, s]))
    return Unfairness(_mean(pairs), _mean(floors), pairs)


def total_variation(predictions: ArrayLike, sensitive: ArrayLike) -> float:
    """Mean distance of the distribution of predictions, given a sensitive value, from the mean.

    The mean distribution weights all sensitive values equally.

    Args:
        predictions: Predicted classes, of shape ``(num_data,)``.
        sensitive: Values of the sensitive factor, of shape ``(num_data,)``.

    Example:
        >>> total_variation([0, 1, 0, 1], [0, 0, 1, 1]), total_variation([0, 0, 1, 1], [0, 0, 1, 1])
        (0.0, 0.5)
    """
    values = as_classes(as_array(sensitive)[:, None])[:, 0]
    classes = np.unique(as_array(predictions), return_inverse=True)[1]
    num_values = values.max() + 1
    num_classes = classes.max() + 1
    counts = np.bincount(values * num_classes + classes, minlength=num_values * num_classes)
    # (num_values, num_classes): p(prediction | sensitive value)
    conditional = counts.reshape(num_values, num_classes) / np.bincount(values)[:, None]
    distances = np.abs(conditional - conditional.mean(0)).sum(1)
    return float(0.5 * distances.mean())


def _mean(pairs: ndarray) -> float:
    known = pairs[~np.isnan(pairs)]
    return float(known.mean()) if known.size else 0.0
