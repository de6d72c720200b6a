"""beta-VAE score: do differences of codes tell a linear classifier which factor two observations share?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays
from ppl_disentangle.metrics.estimators.grid_codes import (
    ROWS_PER_CALL,
    Encode,
    GridCodes,
    RenderableGrid,
)
from ppl_disentangle.metrics.estimators.predictors import fit_logistic
from ppl_disentangle.metrics.factor_vae_score import RowSampler

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
    r"""Accuracy of a linear classifier that tells from pairs of codes which factor both of each pair share.

    A point draws a factor :math:`k` and ``batch_size`` pairs of observations, uniform but for the value of
    :math:`v_k`, which both of a pair share, and has the features

    .. math:: \frac{1}{B} \sum_{b=1}^{B} |z_d^{(b)} - z_d'^{(b)}|, \qquad d = 1, \ldots, D

    A logistic regression with scikit-learn's penalty (C = 1) learns :math:`k` from ``num_train`` points; the
    score is its accuracy on ``num_eval`` others. Factors with one value are not drawn.

    Range: 0 to 1, chance about ``1 / num_factors``. Invariant under permutation, sign and shift of the codes.

    Weakness: rewards every code from which the shared factor can be told, rotated ones too; a factor that no
    code holds is found by exclusion. The penalty makes it depend on the scale of the codes: small codes score
    less.

    Args:
        grid: the factor grid, or anything with ``factor_sizes`` and ``render``.
        encode: from rendered observations to codes ``(num, num_codes)``; called on at most 4,096 a time, and
            once for each observation of a grid that is smaller than what the score draws.
        seed: seed of all draws.
        num_train: points that train the classifier.
        num_eval: points that score it.
        batch_size: pairs in a point.

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
    """Accuracy on the points that trained the classifier, and the score itself, as :func:`beta_vae_score` has it."""
    if num_train < 2 or num_eval < 1 or batch_size < 1:
        got = f"{num_train}, {num_eval} and {batch_size}"
        raise ValueError(f"expected num_train >= 2, num_eval >= 1 and batch_size >= 1, got {got}")
    drawn = GridCodes(grid, encode, seed=seed, num_draws=2 * (num_train + num_eval) * batch_size)
    return _accuracies(partial(_draw_pairs, drawn), num_train, num_eval, batch_size)


def beta_vae_score_from_codes(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
) -> float:
    """The score of :func:`beta_vae_score` for data that are given, not drawn.

    A pair takes a random row and draws, with replacement, two rows that share its value of the factor; so rows
    alone with their value make no pair, and a row may meet itself. Where factors are correlated in the data, the
    other factors are not uniform given the shared one, and the scores differ.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        seed: seed of all draws.
        num_train: points that train the classifier.
        num_eval: points that score it.
        batch_size: pairs in a point.
    """
    given = RowSampler(*as_arrays(codes, factors), seed)
    return _accuracies(given.draw_pairs, num_train, num_eval, batch_size)[1]


def _accuracies(
    draw_pairs: Callable[[int, int], tuple[ndarray, ndarray]],
    num_train: int,
    num_eval: int,
    batch_size: int,
) -> tuple[float, float]:
    """Accuracy on the points that trained the classifier, and on others."""
    train, held_out = (_points(draw_pairs, num, batch_size) for num in (num_train, num_eval))
    if (train[1] == train[1][0]).all():
        scores = [np.mean(shared == train[1][0]) for _, shared in (train, held_out)]
    else:
        classifier = fit_logistic(*train)
        scores = [
            np.mean(classifier.predict(features) == shared)
            for features, shared in (train, held_out)
        ]
    return float(scores[0]), float(scores[1])


def _points(
    draw_pairs: Callable[[int, int], tuple[ndarray, ndarray]], num: int, batch_size: int
) -> tuple[ndarray, ndarray]:
    """Features ``(num, num_codes)`` and the factor that is shared ``(num,)``."""
    step = max(ROWS_PER_CALL // (2 * batch_size), 1)
    parts = []
    for start in range(0, num, step):
        shared, pairs = draw_pairs(min(step, num - start), batch_size)
        parts.append((np.abs(pairs[:, :, 0] - pairs[:, :, 1]).mean(1), shared))
    features, factors = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(factors)


def _draw_pairs(drawn: GridCodes, num: int, batch_size: int) -> tuple[ndarray, ndarray]:
    """The factor that pairs share at each point ``(num,)`` and codes ``(num, batch_size, 2, num_codes)``."""
    shared = drawn.fixed(num)
    factors = drawn.uniform(num * 2 * batch_size).view(num, 2, batch_size, -1)
    point = torch.arange(num)
    factors[point, 1, :, shared] = factors[point, 0, :, shared]
    return shared.numpy(), drawn.codes(factors.flatten(0, 2)).reshape(
        num, 2, batch_size, -1
    ).swapaxes(1, 2)
