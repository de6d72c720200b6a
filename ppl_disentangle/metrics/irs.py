"""Interventional robustness (IRS): do codes stay where they are when all factors but their own change?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, constant, varying
from ppl_disentangle.metrics.estimators.grid_codes import Encode, GridCodes, RenderableGrid
from ppl_disentangle.metrics.estimators.mutual_information import binned

__all__ = ["irs", "irs_of_grid"]


def irs(
    codes: ArrayLike, factors: ArrayLike, *, quantile: float = 1.0, bins: int | None = None
) -> float:
    r"""Mean over the codes of how little they move while the factor that holds them best is held fixed.

    .. math:: \mathrm{IRS} = \sum_d \frac{m_d}{\sum_j m_j} \max_k \Big(1 - \frac{1}{m_d |V_k|} \sum_{c \in V_k}
       \operatorname{Q}\big(|z_d - \mathbb E[z_d \mid v_k = c]| \,\big|\, v_k = c\big)\Big), \qquad
       m_d = \max |z_d - \mathbb E z_d|

    where :math:`\operatorname Q` is the quantile over the rows of that value, the maximum at
    ``quantile`` = 1, in the units of the code. That rows of one value stand for an intervention on the factor
    takes independent factors. Constant codes, and factors with a single value, are left out; without a code that
    varies, the score is 0.

    Range: 0 to 1. Codes that are independent of the factors have above 0, the more the fewer rows a value has and
    the lower the quantile. Invariant under permutation,
    sign and shift of the codes and under a scale common to all; each code counts by its largest deviation.

    Weakness: values that few rows have look robust, and a factor that is different in every row makes every code
    perfect: use ``bins`` or factors with few values. The maximum hangs on single rows. Factors may be missing from
    the codes altogether. Correlated factors borrow each other's codes.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        quantile: 1 in the paper; [2] uses 0.99.
        bins: put factors in so many bins of equal width first; [2] uses 20, by which a perfect code of dSprites
            has 0.986.

    References:
        [1] Suter et al., 2019. Robustly Disentangled Causal Mechanisms. https://arxiv.org/abs/1811.00007
        [2] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> irs(-v, v), round(irs(v @ [[1, 1], [1, -1]], v), 2)
        (1.0, 0.57)
    """
    if not 0 < quantile <= 1 or (bins is not None and bins < 2):
        raise ValueError(f"expected 0 < quantile <= 1 and bins >= 2, got {quantile} and {bins}")
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    z = z[:, ~constant(z)]
    if not z.size:
        return 0.0
    moves = np.stack(
        [_deviation(z, column, quantile) for column in (v if bins is None else binned(v, bins)).T],
        1,
    )
    largest = np.abs(z - z.mean(0)).max(0)
    return float(np.average(1 - moves.min(1) / largest, weights=largest))


def irs_of_grid(
    grid: RenderableGrid,
    encode: Encode,
    *,
    seed: int,
    num_data: int = 10_000,
    quantile: float = 1.0,
    bins: int | None = None,
) -> float:
    """:func:`irs` of uniform draws from a grid, where factors are independent.

    Args:
        grid: the factor grid, or anything with ``factor_sizes`` and ``render``.
        encode: from rendered observations to codes ``(num, num_codes)``; called on at most 4,096 a time.
        seed: seed of the draws.
        num_data: number of draws.
        quantile: as in :func:`irs`.
        bins: as in :func:`irs`.
    """
    sampler = GridCodes(grid, encode, seed=seed, num_draws=num_data)
    factors = sampler.sample(num_data)
    return irs(sampler.codes(factors), factors, quantile=quantile, bins=bins)


def _deviation(codes: ndarray, classes: ndarray, quantile: float) -> ndarray:
    """Mean over the values of the quantile of every code's distance from its mean at that value, ``(num_codes,)``."""
    order = np.argsort(classes, kind="stable")
    groups = np.split(codes[order], np.flatnonzero(np.diff(classes[order])) + 1)
    return np.mean(
        [np.quantile(np.abs(group - group.mean(0)), quantile, axis=0) for group in groups], axis=0
    )
