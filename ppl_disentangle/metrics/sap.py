"""Separated attribute predictability (SAP): does one code alone predict a factor, and no other code nearly as well?"""

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
    r"""Mean gap between the two codes that, each alone, predict a factor best.

    .. math:: \mathrm{SAP} = \frac{1}{K} \sum_k S_{(1)k} - S_{(2)k}

    where :math:`S_{(1)k}, S_{(2)k}` are the largest and second largest entry of column :math:`k` of the
    scores :math:`S_{dk}`. For a **continuous** factor :math:`S_{dk}` is the share of its variance that a linear
    regression on code :math:`z_d` explains, their squared correlation, over the training rows. For any other it
    is the accuracy on the test rows of a linear support vector machine on :math:`z_d` (C = 0.01, classes weighted
    alike, one against the rest). With one code only, the second is 0. A factor with one value in training is left out.

    Range: 0 to 1. A perfect code has 1 where all factors are continuous. Elsewhere it has much less, 0.25 on
    dSprites: thresholds on one code cannot tell 40 values in a row apart, and the second best code guesses right
    in one of ``values`` cases. Papers quote both kinds under one name: say which. Invariant under permutation
    and sign of the codes, and, where factors are continuous, under shift and scale.

    Weakness: linear in each code, so that a monotone map of a perfect code costs; a factor in two codes scores 0;
    a code may serve several factors. The penalty of the machine, which includes its intercept, makes the score of
    other factors depend on shift and scale.

    Args:
        codes_train: shape ``(num_train, num_codes)``.
        factors_train: shape ``(num_train, num_factors)``.
        codes_test: shape ``(num_test, num_codes)``; needed unless all factors are continuous.
        factors_test: shape ``(num_test, num_factors)``; likewise.
        continuous: whether factors are, all alike or one by one.

    References:
        [1] Kumar et al., 2018. Variational Inference of Disentangled Latent Concepts from Unlabeled Observations.
            https://arxiv.org/abs/1711.00848
        [2] Locatello et al., 2019. Challenging Common Assumptions (the settings).
            https://arxiv.org/abs/1811.12359

    Example:
        >>> v = np.indices((2, 9)).reshape(2, -1).T
        >>> z = np.stack([v[:, 0], -3 * v[:, 1]], 1)
        >>> [round(sap(z, v, z, v, continuous=c), 6) for c in (True, [False, True])]
        [1.0, 0.75]
    """
    num_factors = as_array(factors_train).shape[-1]
    flags = (
        np.full(num_factors, continuous)
        if isinstance(continuous, bool)
        else np.array(continuous, dtype=bool)
    )
    if flags.shape != (num_factors,):
        raise ValueError(f"expected continuous as one bool or {num_factors}, got {flags.size}")
    z, values = as_numbers(codes_train, factors_train)
    several = varying(values)
    scores = absolute_correlations(z, values) ** 2
    if not flags[several].all():
        if codes_test is None or factors_test is None:
            raise ValueError(
                "expected codes_test and factors_test, since not all factors are continuous"
            )
        codes, classes, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
        for k in np.flatnonzero(several & ~flags):
            scores[:, k] = _accuracies(codes, classes[:, k], num_train)
    return float(information_gaps(scores[:, several], np.ones(several.sum())).mean())


def _accuracies(codes: ndarray, classes: ndarray, num_train: int) -> list[float]:
    """Test accuracy of each code alone."""
    from sklearn.svm import LinearSVC

    train, test = classes[:num_train], classes[num_train:]
    scores = []
    for code in np.split(codes, codes.shape[1], axis=1):
        machine = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(
            code[:num_train], train
        )
        scores.append(float(np.mean(machine.predict(code[num_train:]) == test)))
    return scores
