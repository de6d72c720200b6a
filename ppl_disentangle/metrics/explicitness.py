"""Explicitness: can a linear classifier of all codes recognise every value of every factor?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_split, varying
from ppl_disentangle.metrics.estimators.predictors import fit_logistic

__all__ = ["explicitness"]


def explicitness(
    codes_train: ArrayLike, factors_train: ArrayLike, codes_test: ArrayLike, factors_test: ArrayLike
) -> float:
    r"""Mean area under the ROC curve of a logistic regression of each factor on all codes.

    .. math:: \frac{1}{K} \sum_k \frac{1}{|V_k|} \sum_{c \in V_k} \operatorname{AUC}_{kc}, \qquad
       \operatorname{AUC}_{kc} = p(s_{kc}(z) > s_{kc}(z') \mid v_k = c,\, v_k' \ne c)

    where :math:`s_{kc}(z)` is the predicted probability that factor :math:`v_k` has value
    :math:`c`. Ties count half. Codes are standardised by the training rows. The regression is
    multinomial, with scikit-learn's penalty (C = 1) and at most 100 iterations. The mean leaves out
    values that are absent from the test rows and factors with a single value there. Values that are
    absent from the training rows get probability 0, hence an area of 0.5. A factor with a single
    value in the training rows is left out.

    Range: 0.5 by chance, to 1. The score is invariant under permutation, sign, shift and scale of
    the codes, and nearly invariant under any invertible linear map.

    Weakness: Because of this invariance the score cannot distinguish rotated codes from perfect
    ones. It only requires that the codes order the values: a factor with many values scores high
    even if neighbouring values are confused.

    Args:
        codes_train: Codes of the training rows, of shape ``(num_train, num_codes)``.
        factors_train: Factor values of the training rows, of shape ``(num_train, num_factors)``.
        codes_test: Codes of the test rows, of shape ``(num_test, num_codes)``.
        factors_test: Factor values of the test rows, of shape ``(num_test, num_factors)``.

    Raises:
        ValueError: Every factor has a single value in the training rows, or in the test rows.

    References:
        [1] Ridgeway and Mozer, 2018. Learning Deep Disentangled Embeddings with the F-Statistic
            Loss. https://arxiv.org/abs/1802.05312

    Example:
        >>> v = np.indices((3, 4, 5)).reshape(3, -1).T
        >>> moved = v @ np.eye(3)[[1, 2, 0]]
        >>> [round(explicitness(z, v, z, v), 2) for z in (v, moved, np.ones_like(v))]
        [1.0, 1.0, 0.5]
    """
    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    scale = z[:num_train].std(0)
    z = (z - z[:num_train].mean(0)) / np.where(scale > 1e-12 * np.abs(z).max(0), scale, 1.0)
    areas = [_areas(z, classes, num_train) for classes in v[:, varying(v[:num_train])].T]
    areas = [factor_areas for factor_areas in areas if len(factor_areas)]
    if not areas:
        raise ValueError(
            "expected a factor with at least two values in the test rows, "
            "got one value of every factor"
        )
    return float(np.mean([factor_areas.mean() for factor_areas in areas]))


def _areas(codes: ndarray, classes: ndarray, num_train: int) -> ndarray:
    """Area under the ROC curve of each value in the test rows; empty if there is a single value."""
    from scipy.stats import rankdata

    test = classes[num_train:]
    present, counts = np.unique(test, return_counts=True)
    if len(present) < 2:
        return np.empty(0)
    probabilities = _class_probabilities(codes, classes, num_train)[:, present]
    # The area is the Mann-Whitney statistic, from the ranks of the rows that have the value.
    ranks = rankdata(probabilities, axis=0)
    rank_sums = (ranks * (test[:, None] == present)).sum(0)
    num_pairs_in_order = rank_sums - counts * (counts + 1) / 2
    return num_pairs_in_order / (counts * (len(test) - counts))


def _class_probabilities(codes: ndarray, classes: ndarray, num_train: int) -> ndarray:
    """Probabilities ``(num_test, num_classes)`` by a regression; 0 for classes it has not seen."""
    regression = fit_logistic(codes[:num_train], classes[:num_train])
    probabilities = np.zeros((len(codes) - num_train, classes.max() + 1))
    probabilities[:, regression.classes_] = regression.predict_proba(codes[num_train:])
    return probabilities
