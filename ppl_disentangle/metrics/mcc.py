"""Mean correlation coefficient (MCC): is every factor a code, up to order and scale?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_numbers, constant

__all__ = ["absolute_correlations", "mcc"]

Method = Literal["pearson", "spearman"]


def mcc(codes: ArrayLike, factors: ArrayLike, *, method: Method = "pearson") -> float:
    r"""Mean absolute correlation of factors and codes, each factor beside the code that suits all of them best.

    .. math:: \mathrm{MCC} = \frac{1}{\min(D, K)} \max_{\pi} \sum_{(d, k) \in \pi} |\rho(z_d, v_k)|

    where :math:`\rho` is Pearson's correlation over the data, or Spearman's, that of the ranks (tied values share
    their mean rank), and :math:`\pi` pairs each of :math:`D` codes with at most one of :math:`K` factors: the
    assignment problem. Factors enter by their values, not as classes. Constant codes and factors are left out
    before anything is counted; without a code that varies, the score is 0.

    Range: 0 to 1. Invariant under permutation, sign, shift and scale of the codes and of the factors; by Spearman
    also under strictly monotone maps of each code. Codes that are independent of the factors have, by chance,
    the order of :math:`\sqrt{\log(D) / N}` with :math:`N` data, not 0.

    Weakness: with fewer codes than factors, those factors that find no code do not count; factors that are
    correlated lend each other's codes their score; a factor without an order, or a circle, needs no code that
    correlates with it; and what else a code depends on matters only as far as it disturbs the correlation: each
    of two factors rotated by 45 degrees still has 0.71.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``, numbers.
        method: ``"pearson"`` or ``"spearman"``.

    Raises:
        KeyError: another method.
        ValueError: all factors are constant.

    References:
        [1] Hyvärinen and Morioka, 2016. Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear
            ICA. https://arxiv.org/abs/1605.06336
        [2] Khemakhem et al., 2020. ICE-BeeM. https://arxiv.org/abs/2002.11537

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> z = np.stack([-np.exp(v[:, 1]), v[:, 0]], 1)
        >>> round(mcc(z, v), 2), round(mcc(z, v, method="spearman"), 2)
        (0.94, 1.0)
    """
    z, v = as_numbers(codes, factors)
    correlations = absolute_correlations(z, v, method=method)[:, ~constant(v)]
    if not correlations.size:
        raise ValueError(
            "expected a factor with at least two values, got one value of every factor"
        )
    return _assigned(correlations[~constant(z)])


def absolute_correlations(
    codes: ndarray, factors: ndarray, *, method: Method = "pearson"
) -> ndarray:
    """Absolute correlation of every code and factor, ``(num_codes, num_factors)``; 0 where one is constant."""
    if method not in ("pearson", "spearman"):
        raise KeyError(f"no method named {method!r}; there are ['pearson', 'spearman']")
    still = np.logical_or.outer(constant(codes), constant(factors))
    if method == "spearman":
        from scipy.stats import rankdata

        codes, factors = rankdata(codes, axis=0), rankdata(factors, axis=0)
    a, b = _unit_columns(codes), _unit_columns(factors)
    return np.where(still, 0.0, np.minimum(np.abs(a.T @ b), 1.0))


def _unit_columns(values: ndarray) -> ndarray:
    """Columns with their mean taken off, of length 1; a column that is constant stays 0."""
    scale = np.abs(values).max(0)
    scaled = values / np.where(scale > 0, scale, 1.0)
    centred = scaled - scaled.mean(0)
    length = np.linalg.norm(centred, axis=0)
    return centred / np.where(length > 0, length, 1.0)


def _assigned(correlations: ndarray) -> float:
    from scipy.optimize import linear_sum_assignment

    if not correlations.size:
        return 0.0
    return float(correlations[linear_sum_assignment(correlations, maximize=True)].mean())
