"""Standard errors of scores: by the bootstrap, or from disjoint blocks of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray

from ppl_disentangle.metrics.evaluation.scored_codes import ScoredCodes

__all__ = ["blocks", "bootstrap"]

Score = Callable[[ScoredCodes], Sequence[float]]

NUM_BLOCKS = 5


def bootstrap(score: Score, scored: ScoredCodes) -> ndarray:
    """Standard deviation of the score over resamples of the rows.

    Rows are drawn with replacement, within the training rows and within the test rows. The
    bootstrap suits scores that are smooth in the distribution of the rows. A row that is drawn
    twice is a neighbour of itself, and binned information is larger for fewer distinct rows. Even
    where the level of the resampled scores is therefore biased, their spread is right.

    References:
        [1] Efron and Tibshirani, 1993. An Introduction to the Bootstrap.
            https://doi.org/10.1201/9780429246593
    """
    task = scored.task
    rng = np.random.default_rng(task.seed)
    num_train = task.num_train
    total = len(task.factors)
    scores = []
    for _ in range(task.resamples):
        train = rng.integers(num_train, size=num_train)
        test = rng.integers(num_train, total, size=total - num_train)
        scores.append(score(scored.rows(train, test)))
    with np.errstate(invalid="ignore"):  # the standard error of an infinite score is NaN
        return np.std(scores, axis=0, ddof=1)


def blocks(score: Score, scored: ScoredCodes) -> ndarray:
    """Standard deviation of the score over five disjoint blocks of rows, over the square root of five.

    This suits scores that train a predictor, search neighbours or draw votes, which repeated rows
    would mislead. It costs as much as the score itself. It assumes that the variance falls as one
    over the number of rows, and its own relative error is about a third.

    Raises:
        ValueError: The blocks are too small for the score.
    """
    task = scored.task
    rng = np.random.default_rng(task.seed)
    num_train = task.num_train
    train_order = rng.permutation(num_train)
    test_order = num_train + rng.permutation(len(task.factors) - num_train)
    train_blocks = np.array_split(train_order, NUM_BLOCKS)
    test_blocks = np.array_split(test_order, NUM_BLOCKS)
    scores = [
        score(scored.rows(train, test, share=1 / NUM_BLOCKS))
        for train, test in zip(train_blocks, test_blocks, strict=True)
    ]
    return np.std(scores, axis=0, ddof=1) / math.sqrt(NUM_BLOCKS)
