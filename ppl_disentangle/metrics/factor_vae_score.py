"""FactorVAE score: does the code that varies least in a batch identify the fixed factor?"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays
from ppl_disentangle.metrics.estimators.grid_codes import Encode, GridCodes, RenderableGrid
from ppl_disentangle.metrics.estimators.row_sampler import RowSampler
from ppl_disentangle.metrics.estimators.shared_factor import (
    Classifier,
    GroupSampler,
    shared_factor_accuracies,
)

__all__ = ["factor_vae_accuracies", "factor_vae_score", "factor_vae_score_from_codes"]


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
    r"""Accuracy of a majority vote that recognises from a batch of codes the fixed factor.

    A vote samples a factor :math:`k` and a batch of ``batch_size`` observations that share its
    value and are uniform in all other factors. It is cast for the pair :math:`(d^*, k)` with

    .. math:: d^* = \arg\min_d \mathrm{Var}_\text{batch}(z_d) / \mathrm{Var}(z_d)

    where :math:`d^*` is the code that varies least in the batch, relative to its variance over all
    data. For each :math:`d^*` the classifier predicts the factor that received most of the
    ``num_train`` training votes. The score is its accuracy on ``num_eval`` other votes. Codes with
    a standard deviation below ``threshold`` take no part; the score is 0 if no code is left.
    Factors with a single value are never sampled. Variances divide by the number of observations
    minus one.

    Range: 0 to 1. Chance is about ``1 / num_factors``. The score is invariant under permutation,
    sign, shift and, apart from the threshold, scale of the codes.

    Weakness: The score does not penalise a factor that is spread over several codes, nor a code
    that also depends on other factors, as long as the right code varies least.

    Args:
        grid: Grid of factors, or any object with ``factor_sizes`` and ``render``.
        encode: Function from rendered observations to codes ``(num, num_codes)``. A call gets at
            most 4,096 observations. If the score samples more observations than the grid has, each
            is encoded once.
        seed: Seed of all random draws.
        num_train: Number of votes that train the classifier.
        num_eval: Number of votes that score the classifier.
        batch_size: Number of observations in a vote.
        num_variance: Number of observations from which the variances of the codes are estimated.
        threshold: Smallest standard deviation of a code that takes part.

    References:
        [1] Kim and Mnih, 2018. Disentangling by Factorising. https://arxiv.org/abs/1802.05983
        [2] Locatello et al., 2019. Challenging Common Assumptions (the threshold).
            https://arxiv.org/abs/1811.12359
    """
    sizes = {"num_train": num_train, "num_eval": num_eval, "num_variance": num_variance}
    return factor_vae_accuracies(
        grid, encode, seed=seed, batch_size=batch_size, threshold=threshold, **sizes
    )[1]


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
    """Accuracy on the training votes, and the score itself; see :func:`factor_vae_score`."""
    num_draws = num_variance + (num_train + num_eval) * batch_size
    sampler = GridCodes(grid, encode, seed=seed, num_draws=num_draws)
    variances = sampler.codes(sampler.sample(num_variance)).var(0, ddof=1)
    return _accuracies(sampler, variances, num_train, num_eval, batch_size, threshold)


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
    """The score of :func:`factor_vae_score` from codes of a fixed set of rows, without a grid.

    A vote takes a random row and draws, with replacement, ``batch_size`` rows with the same value
    of the factor. Rows whose value no other row shares lead no vote. A factor is never sampled if
    it has a single value, or if all its values differ. For rows that are uniform over a grid this
    estimates the same score. If factors are correlated in the data, the other factors are not
    uniform given the fixed one, and the two scores differ.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        seed: Seed of all random draws.
        num_train: Number of votes that train the classifier.
        num_eval: Number of votes that score the classifier.
        batch_size: Number of rows in a vote.
        threshold: Smallest standard deviation of a code that takes part.
    """
    sampler = RowSampler(*as_arrays(codes, factors), seed)
    variances = sampler.codes.var(0, ddof=1)
    return _accuracies(sampler, variances, num_train, num_eval, batch_size, threshold)[1]


def _accuracies(
    sampler: GroupSampler,
    variances: ndarray,
    num_train: int,
    num_eval: int,
    batch_size: int,
    threshold: float,
) -> tuple[float, float]:
    """Accuracy of the majority vote on the votes that trained it, and on other votes.

    Args:
        sampler: Source of the batches.
        variances: Variance of every code over all data, ``(num_codes,)``.
        num_train: Number of votes that train the classifier.
        num_eval: Number of votes that score the classifier.
        batch_size: Number of observations in a vote.
        threshold: Smallest standard deviation of a code that takes part.
    """
    if threshold <= 0 or batch_size < 2:
        raise ValueError(
            f"expected threshold > 0 and batch_size > 1, got {threshold} and {batch_size}"
        )
    active = np.sqrt(variances) >= threshold
    if not active.any():
        return 0.0, 0.0

    def least_varying_code(batches: ndarray) -> ndarray:
        """Votes ``(num,)`` for active codes, from codes ``(num, 1, batch_size, num_codes)``."""
        relative = batches[:, 0][..., active].var(1, ddof=1) / variances[active]
        return relative.argmin(1)

    return shared_factor_accuracies(
        sampler,
        least_varying_code,
        partial(_majority_vote, num_codes=int(active.sum())),
        num_train=num_train,
        num_eval=num_eval,
        num_groups=1,
        group_size=batch_size,
    )


def _majority_vote(votes: ndarray, factors: ndarray, *, num_codes: int) -> Classifier:
    """Predict for each code the factor that was fixed most often when the code won the vote."""
    counts = np.zeros((num_codes, factors.max() + 1))
    np.add.at(counts, (votes, factors), 1)
    most_frequent = counts.argmax(1)
    return lambda codes: most_frequent[codes]
