"""Modularity: does each code have information about a single factor?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import mutual_information

__all__ = ["modularity", "modularity_per_code"]


def modularity(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Mean over the codes of how little information they have about all factors but one.

    .. math:: \frac{1}{D} \sum_d \Big(1 - \frac{\sum_{k \ne k(d)} I(z_d; v_k)^2}{(K - 1)\, I(z_d; v_{k(d)})^2}\Big),
       \qquad k(d) = \arg\max_k I(z_d; v_k)

    where :math:`I(z_d; v_k)` is the mutual information of the :math:`D` codes and :math:`K` factors
    by :func:`mutual_information`, and :math:`k(d)` is the factor about which code :math:`d` has
    most information. A code without information on any factor counts 0, as in [2], so that a
    constant code lowers the mean. A factor with a single value is left out.

    Range: 0 to 1. The score is invariant under permutation, sign, shift and scale of the codes. It
    is also invariant if codes are repeated: a factor may be in many codes.

    Weakness: The score hardly distinguishes rotated codes from perfect ones. The squares suppress
    all but the largest information, and factors with few values have little information. If a
    rotation mixes the factors of dSprites completely, most of the score remains. A code of noise
    has chance information, which always favours some factor.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        bins: Number of bins of equal width of each code.

    References:
        [1] Ridgeway and Mozer, 2018. Learning Deep Disentangled Embeddings with the F-Statistic
            Loss. https://arxiv.org/abs/1802.05312
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
    """Modularity ``(num_codes,)`` from information ``(num_codes, num_factors)``.

    With a single factor it is NaN: any code with information would have 1.
    """
    if information.shape[1] < 2:
        return np.full(len(information), np.nan)
    squares = information**2
    largest = squares.max(1)
    others = (squares.sum(1) - largest) / (information.shape[1] - 1)
    informed = largest > 1e-24
    return np.where(informed, 1 - others / np.where(informed, largest, 1.0), 0.0)
