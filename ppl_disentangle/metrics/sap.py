"""Separated attribute predictability (SAP): does a single code predict each factor?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array, as_numbers, as_split, varying
from ppl_disentangle.metrics.mcc import absolute_correlations
from ppl_disentangle.metrics.mig import information_gaps

__all__ = ["sap"]


def sap(
    codes_train: ArrayLike,
    factors_train: ArrayLike,
    codes_test: ArrayLike | None = None,
    factors_test: ArrayLike | None = None,
    *,
    continuous: bool | Sequence[bool],
) -> float:
    r"""Mean gap between the scores of the two codes that, each alone, predict a factor best.

    .. math:: \mathrm{SAP} = \frac{1}{K} \sum_k S_{(1)k} - S_{(2)k}

    where :math:`S_{(1)k}` and :math:`S_{(2)k}` are the largest and second largest score
    :math:`S_{dk}` of a code :math:`z_d` for factor :math:`v_k`. For a **continuous** factor
    :math:`S_{dk}` is the share of its variance that a linear regression on :math:`z_d` explains in
    the training rows: their squared correlation. For a **discrete** factor it is the accuracy on
    the test rows of a linear support vector machine on :math:`z_d` (C = 0.01, equal class weights,
    one class against the rest). With a single code the second score is 0. A factor with a single
    value in the training rows is left out.

    Range: 0 to 1. A perfect code scores 1 if all factors are continuous. For discrete factors it
    scores much less (0.25 on dSprites), since thresholds on one code cannot separate 40 values in a
    row and the second best code is right by chance. Papers report both variants under one name, so
    say which one you report. The score is invariant under permutation and sign of the codes and,
    for continuous factors, under shift and scale.

    Weakness: The score is linear in each code, so that a monotone map of a perfect code lowers it.
    A factor in two codes scores 0. A code that serves several factors is not penalised. The penalty
    of the support vector machine includes its intercept, so that the score of discrete factors
    depends on shift and scale.

    Args:
        codes_train: Codes of the training rows, of shape ``(num_train, num_codes)``.
        factors_train: Factor values of the training rows, of shape ``(num_train, num_factors)``.
        codes_test: Codes of the test rows, of shape ``(num_test, num_codes)``. They are needed if a
            factor is discrete.
        factors_test: Factor values of the test rows, of shape ``(num_test, num_factors)``. They are
            needed if a factor is discrete.
        continuous: Whether the factors are continuous: one answer for all factors, or one for each.

    References:
        [1] Kumar et al., 2018. Variational Inference of Disentangled Latent Concepts from Unlabeled
            Observations. https://arxiv.org/abs/1711.00848
        [2] Locatello et al., 2019. Challenging Common Assumptions (the settings).
            https://arxiv.org/abs/1811.12359

    Example:
        >>> v = np.indices((2, 9)).reshape(2, -1).T
        >>> z = np.stack([v[:, 0], -3 * v[:, 1]], 1)
        >>> [round(sap(z, v, z, v, continuous=c), 6) for c in (True, [False, True])]
        [1.0, 0.75]
    """
    is_continuous = _flags(continuous, as_array(factors_train).shape[-1])
    z, values = as_numbers(codes_train, factors_train)
    varies = varying(values)
    scores = absolute_correlations(z, values) ** 2
    if not is_continuous[varies].all():
        if codes_test is None or factors_test is None:
            raise ValueError(
                "expected codes_test and factors_test, since not all factors are continuous"
            )
        codes, classes, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
        for k in np.flatnonzero(varies & ~is_continuous):
            scores[:, k] = _accuracies(codes, classes[:, k], num_train)
    return float(information_gaps(scores[:, varies], np.ones(varies.sum())).mean())


def _flags(continuous: bool | Sequence[bool], num_factors: int) -> ndarray:
    """One flag for each factor."""
    if isinstance(continuous, bool):
        return np.full(num_factors, continuous)
    flags = np.array(continuous, dtype=bool)
    if flags.shape != (num_factors,):
        raise ValueError(f"expected continuous as one bool or {num_factors}, got {flags.size}")
    return flags


def _accuracies(codes: ndarray, classes: ndarray, num_train: int) -> list[float]:
    """Test accuracy of a support vector machine on each code alone."""
    from sklearn.svm import LinearSVC

    scores = []
    for code in np.split(codes, codes.shape[1], axis=1):
        machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
        machine.fit(code[:num_train], classes[:num_train])
        correct = machine.predict(code[num_train:]) == classes[num_train:]
        scores.append(float(np.mean(correct)))
    return scores
