"""FactorVAE score: does the code that varies least in a batch name the factor that was held fixed?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.grid_codes import (
    ROWS_PER_CALL,
    Encode,
    GridCodes,
    RenderableGrid,
)

__all__ = ["RowSampler", "factor_vae_accuracies", "factor_vae_score", "factor_vae_score_from_codes"]


def factor_vae_score(
    grid: RenderableGrid,
    encode: Encode,
    *,
    seed: int,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
    num_variance: int = 10_000,
    threshold: float = 0.05,
) -> float:
    r"""Accuracy of the majority vote that tells from one batch of codes which factor was held fixed.

    A vote draws a factor :math:`k`, a batch of ``batch_size`` observations that share its value and are
    uniform in all others, and casts

    .. math:: d^* = \arg\min_d \mathrm{Var}_\text{batch}(z_d) / \mathrm{Var}(z_d)

    for the pair :math:`(d^*, k)`. The classifier answers for each :math:`d^*` the factor it met most often in
    ``num_train`` votes; the score is its accuracy on ``num_eval`` others. Codes with a standard deviation
    below ``threshold`` are dropped before; the score is 0 if none is left. Factors with one value are not
    drawn.

    Range: 0 to 1, chance about ``1 / num_factors``. Variances divide by the batch size minus one. Invariant
    under permutation, sign, shift and, but for the threshold, scale of the codes.

    Weakness: forgives a factor spread over several codes, and codes that also depend on other factors, as long
    as the right one varies least.

    Args:
        grid: the factor grid, or anything with ``factor_sizes`` and ``render``.
        encode: from rendered observations to codes ``(num, num_codes)``; called on at most 4,096 a time, and
            once for each observation of a grid that is smaller than what the score draws.
        seed: seed of all draws.
        num_train: votes that train the classifier.
        num_eval: votes that score it.
        batch_size: observations in a vote.
        num_variance: observations that estimate the variances of the codes.
        threshold: smallest standard deviation of a code that takes part.

    References:
        [1] Kim and Mnih, 2018. Disentangling by Factorising. https://arxiv.org/abs/1802.05983
        [2] Locatello et al., 2019. Challenging Common Assumptions (the threshold).
            https://arxiv.org/abs/1811.12359
    """
    sizes = {
        "num_train": num_train,
        "num_eval": num_eval,
        "batch_size": batch_size,
        "num_variance": num_variance,
    }
    return factor_vae_accuracies(grid, encode, seed=seed, threshold=threshold, **sizes)[1]


def factor_vae_accuracies(
    grid: RenderableGrid,
    encode: Encode,
    *,
    seed: int,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
    num_variance: int = 10_000,
    threshold: float = 0.05,
) -> tuple[float, float]:
    """Accuracy on the votes that trained the classifier, and the score itself, as :func:`factor_vae_score` has it."""
    drawn = GridCodes(
        grid, encode, seed=seed, num_draws=num_variance + (num_train + num_eval) * batch_size
    )
    variances = drawn.codes(drawn.uniform(num_variance)).var(0, ddof=1)
    return _accuracies(
        partial(_draw, drawn), variances, (num_train, num_eval, batch_size), threshold
    )


def factor_vae_score_from_codes(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int,
    num_train: int = 10_000,
    num_eval: int = 5_000,
    batch_size: int = 64,
    threshold: float = 0.05,
) -> float:
    """The score of :func:`factor_vae_score` for data that are given, not drawn.

    A vote takes a random row and draws, with replacement, ``batch_size`` rows that share its value of the
    factor. Rows alone with their value lead no vote; a factor with one value, or with no value twice, is not
    drawn. On rows that are uniform over a grid this estimates the same score; where factors are correlated in
    the data, the other factors are not uniform given the fixed one, and the scores differ.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        seed: seed of all draws.
        num_train: votes that train the classifier.
        num_eval: votes that score it.
        batch_size: rows in a vote.
        threshold: smallest standard deviation of a code that takes part.
    """
    given = RowSampler(*as_arrays(codes, factors), seed)
    sizes = num_train, num_eval, batch_size
    return _accuracies(given.draw, given.codes.var(0, ddof=1), sizes, threshold)[1]


def _draw(drawn: GridCodes, num: int, batch_size: int) -> tuple[ndarray, ndarray]:
    """The factor that is fixed in each vote ``(num,)`` and its codes ``(num, batch_size, num_codes)``."""
    fixed = drawn.fixed(num)
    factors = drawn.uniform(num * batch_size).view(num, batch_size, -1)
    vote = torch.arange(num)
    factors[vote, :, fixed] = factors[vote, 0, fixed][:, None]
    return fixed.numpy(), drawn.codes(factors.flatten(0, 1)).reshape(num, batch_size, -1)


class RowSampler:
    """Codes of rows, drawn such that they share the value of a factor."""

    def __init__(self, codes: ndarray, factors: ndarray, seed: int) -> None:
        self.codes, self.rng = codes, np.random.default_rng(seed)
        groups = [_Groups(column) for column in factors[:, varying(factors)].T]
        self.groups = [group for group in groups if len(group.leaders)]
        if not self.groups:
            raise ValueError("expected a factor with a value that two rows share, got none")

    def draw(self, num: int, batch_size: int) -> tuple[ndarray, ndarray]:
        """The factor that is fixed in each vote ``(num,)`` and its codes ``(num, batch_size, num_codes)``."""
        fixed, rows = self._rows(num, 1, batch_size)
        return fixed, self.codes[rows[:, 0]]

    def draw_pairs(self, num: int, batch_size: int) -> tuple[ndarray, ndarray]:
        """The factor that pairs share at each point ``(num,)`` and codes ``(num, batch_size, 2, num_codes)``."""
        fixed, rows = self._rows(num, batch_size, 2)
        return fixed, self.codes[rows]

    def _rows(self, num: int, batches: int, batch_size: int) -> tuple[ndarray, ndarray]:
        """A factor each time, and ``batches`` batches of rows, each of one value of it."""
        fixed = np.sort(self.rng.integers(len(self.groups), size=num))
        times = batches * np.bincount(fixed, minlength=len(self.groups))
        rows = [g.draw(n, batch_size, self.rng) for g, n in zip(self.groups, times, strict=True)]
        return fixed, np.concatenate(rows).reshape(num, batches, batch_size)


class _Groups:
    """Rows by their value of one factor."""

    def __init__(self, column: ndarray) -> None:
        counts = np.bincount(column)
        self.order = np.argsort(column, kind="stable")
        self.count, self.first = counts[column], (np.cumsum(counts) - counts)[column]
        self.leaders = np.flatnonzero(self.count > 1)

    def draw(self, num: int, batch_size: int, rng: np.random.Generator) -> ndarray:
        """Rows ``(num, batch_size)``, each batch of one value."""
        leader = rng.choice(self.leaders, num)[:, None]
        return self.order[
            self.first[leader] + rng.integers(self.count[leader], size=(num, batch_size))
        ]


def _accuracies(
    draw: Callable[[int, int], tuple[ndarray, ndarray]],
    variances: ndarray,
    sizes: tuple[int, int, int],
    threshold: float,
) -> tuple[float, float]:
    """Accuracy of the majority vote on the votes that trained it, and on others.

    Args:
        draw: from a number of votes and a batch size to the fixed factors and the codes.
        variances: of every code, ``(num_codes,)``.
        sizes: votes that train, votes that score, observations in a vote.
        threshold: smallest standard deviation of a code that takes part.
    """
    num_train, num_eval, batch_size = sizes
    if threshold <= 0 or batch_size < 2:
        raise ValueError(
            f"expected threshold > 0 and batch_size > 1, got {threshold} and {batch_size}"
        )
    active = np.sqrt(variances) >= threshold
    if not active.any():
        return 0.0, 0.0
    step = max(ROWS_PER_CALL // batch_size, 1)

    def votes(num: int) -> tuple[ndarray, ndarray]:
        """The code that varies least and the factor that was fixed, of each vote."""
        least, fixed = [], []
        for start in range(0, num, step):
            factor, z = draw(min(step, num - start), batch_size)
            least.append((z[..., active].var(1, ddof=1) / variances[active]).argmin(1))
            fixed.append(factor)
        return np.concatenate(least), np.concatenate(fixed)

    train = votes(num_train)
    counts = np.zeros((active.sum(), train[1].max() + 1))
    np.add.at(counts, train, 1)
    answers = counts.argmax(1)
    scores = [float(np.mean(answers[code] == factor)) for code, factor in (train, votes(num_eval))]
    return scores[0], scores[1]
