"""Explicitness: can a linear classifier tell every value of every factor from all codes together?"""

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

    where :math:`s_{kc}(z)` is the predicted probability that factor :math:`v_k` has value :math:`c`; ties count
    half. Codes are standardised by the training rows; the regression is multinomial with scikit-learn's penalty
    (C = 1) and at most 100 iterations. Values that are absent from the test rows, or the only one there, are
    left out of the mean; values absent from training get probability 0, and so 0.5. A factor with one value in
    training is left out.

    Range: chance is 0.5, not 0; the best is 1. Invariant under permutation, sign, shift and scale of the codes,
    and nearly under any invertible linear map.

    Weakness: for the same reason it cannot tell rotated codes from perfect ones. It asks of a code only that the
    values lie in order: a factor with many values scores high when neighbours cannot be told apart.

    Args:
        codes_train: shape ``(num_train, num_codes)``.
        factors_train: shape ``(num_train, num_factors)``.
        codes_test: shape ``(num_test, num_codes)``.
        factors_test: shape ``(num_test, num_factors)``.

    Raises:
        ValueError: no factor has two values in training, or none has in the test rows.

    References:
        [1] Ridgeway and Mozer, 2018. Learning Deep Disentangled Embeddings with the F-Statistic Loss.
            https://arxiv.org/abs/1802.05312

    Example:
        >>> v = np.indices((3, 4, 5)).reshape(3, -1).T
        >>> [round(explicitness(z, v, z, v), 2) for z in (v, v @ np.eye(3)[[1, 2, 0]], np.ones_like(v))]
        [1.0, 1.0, 0.5]
    """
    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    scale = z[:num_train].std(0)
    z = (z - z[:num_train].mean(0)) / np.where(scale > 1e-12 * np.abs(z).max(0), scale, 1.0)
    areas = [_areas(z, column, num_train) for column in v[:, varying(v[:num_train])].T]
    if not any(len(of_factor) for of_factor in areas):
        raise ValueError(
            "expected a factor with at least two values in the test rows, got one value of every factor"
        )
    return float(np.mean([of_factor.mean() for of_factor in areas if len(of_factor)]))


def _areas(codes: ndarray, classes: ndarray, num_train: int) -> ndarray:
    """Area under the curve of each value in the test rows, none where there is only one."""
    from scipy.stats import rankdata

    fitted = fit_logistic(codes[:num_train], classes[:num_train])
    test = classes[num_train:]
    present, counts = np.unique(test, return_counts=True)
    if len(present) < 2:
        return np.empty(0)
    scores = np.zeros((len(test), max(classes.max(), fitted.classes_.max()) + 1))
    scores[:, fitted.classes_] = fitted.predict_proba(codes[num_train:])
    ranks = rankdata(scores[:, present], axis=0)
    above = (ranks * (test[:, None] == present)).sum(0) - counts * (counts + 1) / 2
    return above / (counts * (len(test) - counts))
