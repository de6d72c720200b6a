"""Unfairness: how much do predictions of one factor shift with the value of another?"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.metrics.estimators.arrays import as_array, as_codes, as_split, varying
from ppl_disentangle.metrics.estimators.grid_codes import RenderableGrid
from ppl_disentangle.metrics.estimators.predictors import Probe, fit_probe

__all__ = ["Unfairness", "total_variation", "unfairness", "unfairness_from_codes"]

_ROWS_PER_CALL = 4096


class Unfairness(NamedTuple):
    """Mean over pairs, the mean by chance alone, and each pair ``(target, sensitive)``, NaN where there is none."""

    mean: float
    floor: float
    pairs: ndarray


def unfairness(
    grid: RenderableGrid,
    encode: Callable[[Tensor], ArrayLike],
    *,
    seed: int,
    predictor: Probe = "gbt",
    num_train: int = 10_000,
    num_test: int = 200,
) -> Unfairness:
    r"""How far the distribution of predictions moves when the sensitive factor is set, all others alike.

    .. math:: U_{ks} = \frac{1}{|S|} \sum_{c \in S} \operatorname{TV}\big(p(\hat v_k),\,
        p(\hat v_k \mid \operatorname{do}(v_s = c))\big), \qquad
        \operatorname{TV}(p, q) = \tfrac12 \sum_y |p(y) - q(y)|

    where :math:`\hat v_k` predicts the target :math:`v_k` from the codes, :math:`S` are the values of the
    sensitive factor :math:`v_s` and :math:`p(\hat v_k)` is the mean over them. The classifier is trained on
    independent uniform factors, so that nothing in the labels asks for unfairness. The score is the mean over
    all pairs of different factors.

    Range: 0, where no prediction depends on the other factor, to 1. The same ``num_test`` vectors of the other
    factors serve every value, so that a code without the sensitive factor has 0 exactly: the floor is 0.

    Weakness: 0 for a predictor that always says the same, so read it beside the accuracy; and it depends on
    the predictor.

    Args:
        grid: the factor grid, or anything with ``factor_sizes`` and ``render``.
        encode: from rendered observations to codes ``(num, num_codes)``; called on at most 4,096 a time.
        seed: of all draws and of trees.
        predictor: as in :func:`downstream_accuracy`.
        num_train: observations that the classifiers are trained on.
        num_test: vectors of the other factors.

    References:
        [1] Locatello et al., 2019. On the Fairness of Disentangled Representations.
            https://arxiv.org/abs/1905.13662
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(num: int) -> Tensor:
        return torch.stack(
            [torch.randint(n, (num,), generator=generator) for n in grid.factor_sizes], -1
        )

    def codes(factors: Tensor) -> ndarray:
        with torch.no_grad():
            return as_codes(
                np.concatenate(
                    [as_array(encode(grid.render(f))) for f in factors.split(_ROWS_PER_CALL)]
                )
            )

    factors = draw(num_train)
    z, v = codes(factors), factors.numpy()
    several = np.flatnonzero(varying(v))
    predict = {k: fit_probe(predictor, z, v[:, k], seed=seed) for k in several}
    pairs = np.full((len(grid.factor_sizes),) * 2, np.nan)
    for s in several:
        size = grid.factor_sizes[s]
        others = draw(num_test).repeat(size, 1)
        others[:, s] = torch.arange(size).repeat_interleave(num_test)
        moved = codes(others)
        for k in several[several != s]:
            pairs[k, s] = total_variation(predict[k](moved), others[:, s].numpy())
    return Unfairness(_mean(pairs), 0.0, pairs)


def unfairness_from_codes(
    codes_train: ArrayLike,
    factors_train: ArrayLike,
    codes_test: ArrayLike,
    factors_test: ArrayLike,
    *,
    predictor: Probe = "gbt",
    seed: int = 0,
) -> Unfairness:
    """The score of :func:`unfairness` for rows that are given: the sensitive factor is seen, not set.

    The distribution given a value is that of the test rows that have it. Where factors are correlated in the
    data, even predictions that are all right depend on the sensitive factor. Few rows a value make any two
    distributions differ: ``floor`` is the score with every sensitive factor in random order, and what is above
    it is unfairness.

    Args:
        codes_train: shape ``(num_train, num_codes)``.
        factors_train: shape ``(num_train, num_factors)``.
        codes_test: shape ``(num_test, num_codes)``.
        factors_test: shape ``(num_test, num_factors)``.
        predictor: as in :func:`downstream_accuracy`.
        seed: of trees and of the random order.
    """
    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    several = varying(v[:num_train])
    predictions = np.repeat(v[:1], len(v) - num_train, axis=0)
    for k in np.flatnonzero(several):
        predictions[:, k] = fit_probe(predictor, z[:num_train], v[:num_train, k], seed=seed)(
            z[num_train:]
        )
    return unfairness_of_predictions(predictions, v[num_train:], several, seed=seed)


def unfairness_of_predictions(
    predictions: ndarray, factors: ndarray, several: ndarray, *, seed: int
) -> Unfairness:
    """The score of predictions ``(num_data, num_factors)`` among the factors that are ``several``."""
    rng, columns = np.random.default_rng(seed), np.flatnonzero(several)
    pairs, floors = np.full((2, factors.shape[1], factors.shape[1]), np.nan)
    for k, s in itertools.permutations(columns, 2):
        pairs[k, s] = total_variation(predictions[:, k], factors[:, s])
        floors[k, s] = total_variation(predictions[:, k], rng.permutation(factors[:, s]))
    return Unfairness(_mean(pairs), _mean(floors), pairs)


def total_variation(predictions: ArrayLike, sensitive: ArrayLike) -> float:
    """Mean over the sensitive values of the distance of the predictions' distribution from its mean over them.

    Args:
        predictions: classes, shape ``(num_data,)``.
        sensitive: values, shape ``(num_data,)``.

    Example:
        >>> total_variation([0, 1, 0, 1], [0, 0, 1, 1]), total_variation([0, 0, 1, 1], [0, 0, 1, 1])
        (0.0, 0.5)
    """
    rows = np.unique(as_array(sensitive), return_inverse=True)[1]
    columns = np.unique(as_array(predictions), return_inverse=True)[1]
    counts = np.bincount(
        rows * (columns.max() + 1) + columns, minlength=(rows.max() + 1) * (columns.max() + 1)
    )
    given = counts.reshape(rows.max() + 1, -1) / np.bincount(rows)[:, None]
    return float(0.5 * np.abs(given - given.mean(0)).sum(1).mean())


def _mean(pairs: ndarray) -> float:
    known = pairs[~np.isnan(pairs)]
    return float(known.mean()) if known.size else 0.0
