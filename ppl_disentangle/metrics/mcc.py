"""Mean correlation coefficient (MCC): does every factor equal a code, up to order and scale?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_numbers, constant

__all__ = ["absolute_correlations", "mcc"]

Method = Literal["pearson", "spearman"]


def mcc(codes: ArrayLike, factors: ArrayLike, *, method: Method = "pearson") -> float:
    r"""Mean absolute correlation of factors and codes, under the best one-to-one assignment.

    .. math:: \mathrm{MCC} = \frac{1}{\min(D, K)} \max_{\pi} \sum_{(d, k) \in \pi} |\rho(z_d, v_k)|

    where :math:`\rho` is Pearson's correlation over the data, or Spearman's correlation of the
    ranks (equal values get their mean rank). The assignment :math:`\pi` pairs each of the :math:`D`
    codes with at most one of the :math:`K` factors. Factors enter with their values, not as
    classes. Constant codes and factors are left out beforehand; if no code varies, the score is 0.

    Range: 0 to 1. The score is invariant under permutation, sign, shift and scale of the codes and
    of the factors, and by Spearman also under strictly monotone maps of each code. Codes that are
    independent of the factors score, by chance, on the order of :math:`\sqrt{\log(D) / N}` with
    :math:`N` data, not 0.

    Weakness: With fewer codes than factors, unassigned factors do not count. Correlated factors
    profit from each other's codes. A code may represent a circular or unordered factor without
    being correlated with it. Other content of a code matters only to the extent that it lowers the
    correlation: two factors that are rotated by 45 degrees still score 0.71 each.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values, which are numbers, of shape ``(num_data, num_factors)``.
        method: Kind of correlation, ``"pearson"`` or ``"spearman"``.

    Raises:
        KeyError: The method is unknown.
        ValueError: All factors are constant.

    References:
        [1] Hyvärinen and Morioka, 2016. Unsupervised Feature Extraction by Time-Contrastive
            Learning and Nonlinear ICA. https://arxiv.org/abs/1605.06336
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
    return _mean_of_assignment(correlations[~constant(z)])


def absolute_correlations(
    codes: ndarray, factors: ndarray, *, method: Method = "pearson"
) -> ndarray:
    """Absolute correlations ``(num_codes, num_factors)``; 0 if the code or the factor is constant."""
    if method not in ("pearson", "spearman"):
        raise KeyError(f"no method named {method!r}; there are ['pearson', 'spearman']")
    is_constant = np.logical_or.outer(constant(codes), constant(factors))
    if method == "spearman":
        from scipy.stats import rankdata

        codes = rankdata(codes, axis=0)
        factors = rankdata(factors, axis=0)
    correlations = np.abs(_unit_columns(codes).T @ _unit_columns(factors))
    return np.where(is_constant, 0.0, np.minimum(correlations, 1.0))


def _unit_columns(values: ndarray) -> ndarray:
    """Columns of mean 0 and length 1; a constant column becomes 0."""
    scale = np.abs(values).max(0)
    scaled = values / np.where(scale > 0, scale, 1.0)
    centred = scaled - scaled.mean(0)
    length = np.linalg.norm(centred, axis=0)
    return centred / np.where(length > 0, length, 1.0)


def _mean_of_assignment(correlations: ndarray) -> float:
    """Mean correlation over the best assignment of codes to factors; 0 without codes."""
    from scipy.optimize import linear_sum_assignment

    if not correlations.size:
        return 0.0
    return float(correlations[linear_sum_assignment(correlations, maximize=True)].mean())
