"""Modularity: does each code tell about one factor only?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import mutual_information

__all__ = ["modularity", "modularity_per_code"]


def modularity(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Mean over the codes of how little they tell about other factors than the one they tell most about.

    .. math:: \frac{1}{D} \sum_d \Big(1 - \frac{\sum_{k \ne k(d)} I(z_d; v_k)^2}{(K - 1)\, I(z_d; v_{k(d)})^2}\Big),
       \qquad k(d) = \arg\max_k I(z_d; v_k)

    with the mutual information of :math:`D` codes and :math:`K` factors as estimated by
    :func:`mutual_information`. A code without information on any factor counts 0, as in [2], so that a constant
    code lowers the mean. A factor with a single value is left out.

    Range: 0 to 1. Invariant under permutation, sign, shift and scale of the codes, and under their repetition:
    a factor may be in many codes.

    Weakness: hardly tells rotated codes from perfect ones. The squares make small of all but the largest share,
    and factors with few values have little information to disturb with: dSprites' factors, perfectly mixed by a
    rotation, keep most of the score. A code of noise has chance information, in which some factor always leads.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        bins: number of bins of equal width of each code.

    References:
        [1] Ridgeway and Mozer, 2018. Learning Deep Disentangled Embeddings with the F-Statistic Loss.
            https://arxiv.org/abs/1802.05312
        [2] Locatello et al., 2019. Challenging Common Assumptions (the bins, the zeros).
            https://arxiv.org/abs/1811.12359

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> modularity(v[:, [0, 1, 1]], v), modularity(np.ones((20, 1)), v)
        (1.0, 0.0)
    """
    z, v = as_arrays(codes, factors)
    return float(modularity_per_code(mutual_information(z, v[:, varying(v)], bins=bins)).mean())


def modularity_per_code(information: ndarray) -> ndarray:
    """Modularity ``(num_codes,)`` from information ``(num_codes, num_factors)``; with a single factor 1, or 0 at 0."""
    squares = information**2
    largest = squares.max(1)
    others = (squares.sum(1) - largest) / max(information.shape[1] - 1, 1)
    informed = largest > 1e-24
    return np.where(informed, 1 - others / np.where(informed, largest, 1.0), 0.0)
