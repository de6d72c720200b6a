"""How sure a score is: by the bootstrap, or by the spread over disjoint blocks of the rows."""

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
    """Standard deviation of the score over rows drawn again, with replacement, within training and test each.

    For scores that are smooth in the rows' distribution. A row that is drawn twice is a neighbour of itself, and
    binned information is larger on fewer distinct rows: the spread is right where the level is not.

    References:
        [1] Efron and Tibshirani, 1993. An Introduction to the Bootstrap. https://doi.org/10.1201/9780429246593
    """
    task = scored.task
    rng, train, total = np.random.default_rng(task.seed), task.num_train, len(task.factors)
    draws = [
        score(
            scored.rows(
                rng.integers(train, size=train), rng.integers(train, total, size=total - train)
            )
        )
        for _ in range(task.resamples)
    ]
    with np.errstate(invalid="ignore"):  # an infinite score has no standard error: NaN
        return np.std(draws, axis=0, ddof=1)


def blocks(score: Score, scored: ScoredCodes) -> ndarray:
    """Spread of the score over five disjoint blocks of the rows, over the square root of five.

    For scores that train a predictor, look for neighbours or draw votes, which repeated rows would mislead; it
    costs as much as the score itself. It takes the variance to fall as one over the number of rows and is
    itself uncertain by a third.

    Raises:
        ValueError: blocks are too small for the score.
    """
    task = scored.task
    rng, train, total = np.random.default_rng(task.seed), task.num_train, len(task.factors)
    orders = rng.permutation(train), train + rng.permutation(total - train)
    parts = zip(*(np.array_split(order, NUM_BLOCKS) for order in orders), strict=True)
    scores = [score(scored.rows(*part, share=1 / NUM_BLOCKS)) for part in parts]
    return np.std(scores, axis=0, ddof=1) / math.sqrt(NUM_BLOCKS)
