"""beta-VAE score: do differences of codes show which factor two observations share?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays
from ppl_disentangle.metrics.estimators.grid_codes import Encode, GridCodes, RenderableGrid
from ppl_disentangle.metrics.estimators.predictors import fit_logistic
from ppl_disentangle.metrics.estimators.row_sampler import RowSampler
from ppl_disentangle.metrics.estimators.shared_factor import (
    Classifier,
    GroupSampler,
    shared_factor_accuracies,
)

__all__ = ["beta_vae_accuracies", "beta_vae_score", "beta_vae_score_from_codes"]


def beta_vae_score(
    grid: RenderableGrid,
    encode: Encode,
    *,
    seed: int,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
) -> float:
    r"""Accuracy of a linear classifier that recognises the factor shared by pairs of observations.

    A point consists of a random factor :math:`k` and ``batch_size`` pairs of observations. The two
    observations of a pair share the value of :math:`v_k` and are uniform in all other factors. The
    features of the point are the mean absolute differences of the codes,

    .. math:: \frac{1}{B} \sum_{b=1}^{B} |z_d^{(b)} - z_d'^{(b)}|, \qquad d = 1, \ldots, D

    where :math:`B` is ``batch_size`` and :math:`D` the number of codes. A logistic regression with
    scikit-learn's penalty (C = 1) learns :math:`k` from ``num_train`` points. The score is its
    accuracy on ``num_eval`` other points. Factors with a single value are never sampled.

    Range: 0 to 1. Chance is about ``1 / num_factors``. The score is invariant under permutation,
    sign and shift of the codes.

    Weakness: Every code from which the shared factor can be recognised scores high, also a rotated
    one. A factor that is missing from the codes is recognised by exclusion. The penalty makes the
    score depend on the scale of the codes: small codes score less.

    Args:
        grid: Grid of factors, or any object with ``factor_sizes`` and ``render``.
        encode: Function from rendered observations to codes ``(num, num_codes)``. A call gets at
            most 4,096 observations. If the score samples more observations than the grid has, each
            is encoded once.
        seed: Seed of all random draws.
        num_train: Number of points that train the classifier.
        num_eval: Number of points that score the classifier.
        batch_size: Number of pairs in a point.

    References:
        [1] Higgins et al., 2017. beta-VAE. https://openreview.net/forum?id=Sy2fzU9gl
        [2] Locatello et al., 2019. Challenging Common Assumptions (the classifier).
            https://arxiv.org/abs/1811.12359

    Example:
        >>> from types import SimpleNamespace
        >>> grid = SimpleNamespace(factor_sizes=(4, 5, 6), render=lambda factors: factors.float())
        >>> beta_vae_score(grid, lambda x: x, seed=0, num_train=300, num_eval=300)
        1.0
    """
    sizes = {"num_train": num_train, "num_eval": num_eval, "batch_size": batch_size}
    return beta_vae_accuracies(grid, encode, seed=seed, **sizes)[1]


def beta_vae_accuracies(
    grid: RenderableGrid,
    encode: Encode,
    *,
    seed: int,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
) -> tuple[float, float]:
    """Accuracy on the training points, and the score itself; see :func:`beta_vae_score`."""
    if num_train < 2 or num_eval < 1 or batch_size < 1:
        got = f"{num_train}, {num_eval} and {batch_size}"
        raise ValueError(f"expected num_train >= 2, num_eval >= 1 and batch_size >= 1, got {got}")
    num_draws = 2 * (num_train + num_eval) * batch_size
    sampler = GridCodes(grid, encode, seed=seed, num_draws=num_draws)
    return _accuracies(sampler, num_train, num_eval, batch_size)


def beta_vae_score_from_codes(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
) -> float:
    """The score of :func:`beta_vae_score` from codes of a fixed set of rows, without a grid.

    A pair takes a random row and draws, with replacement, two rows with the same value of the
    factor. Rows whose value no other row shares make no pair, and a row may be paired with itself.
    If factors are correlated in the data, the other factors are not uniform given the shared one,
    and the two scores differ.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        seed: Seed of all random draws.
        num_train: Number of points that train the classifier.
        num_eval: Number of points that score the classifier.
        batch_size: Number of pairs in a point.
    """
    sampler = RowSampler(*as_arrays(codes, factors), seed)
    return _accuracies(sampler, num_train, num_eval, batch_size)[1]


def _accuracies(
    sampler: GroupSampler, num_train: int, num_eval: int, batch_size: int
) -> tuple[float, float]:
    """Accuracy on the points that trained the classifier, and on other points."""
    return shared_factor_accuracies(
        sampler,
        _mean_differences,
        _fit,
        num_train=num_train,
        num_eval=num_eval,
        num_groups=batch_size,
        group_size=2,
    )


def _mean_differences(pairs: ndarray) -> ndarray:
    """Features ``(num, num_codes)`` of codes ``(num, batch_size, 2, num_codes)``."""
    return np.abs(pairs[:, :, 0] - pairs[:, :, 1]).mean(1)


def _fit(features: ndarray, factors: ndarray) -> Classifier:
    if (factors == factors[0]).all():
        return lambda points: np.full(len(points), factors[0])
    return fit_logistic(features, factors).predict
