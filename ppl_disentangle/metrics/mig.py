"""Mutual information gap (MIG): is each factor in one code, and in no other code?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information

__all__ = ["information_gaps", "mig", "mig_per_factor"]


def mig(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Mean gap in information between the best two codes of a factor, relative to its entropy.

    .. math:: \mathrm{MIG} = \frac{1}{K} \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}

    where :math:`z_{(1)}` and :math:`z_{(2)}` are the codes with the largest and second largest
    mutual information with factor :math:`v_k`, as estimated by :func:`mutual_information`, and
    :math:`H` is entropy. With a single code the second information is 0. A factor with a single
    value has no entropy and is left out. The paper estimates :math:`I` from samples of the guide,
    without bins; see :func:`mig_exact`.

    Range: 0 to 1. A perfect code stays below 1 if a factor has more values than bins (0.896 on
    dSprites), so read the score beside its ceiling. The score is invariant under permutation, sign,
    shift and scale of the codes.

    Weakness: The score depends on the number of bins and on the shape of the codes: an outlier or a
    nonlinear monotone map changes it. A factor that is spread over two codes scores 0, however well
    both represent it. A code that serves several factors is not penalised.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        bins: Number of bins of equal width of each code.

    References:
        [1] Chen et al., 2018. Isolating Sources of Disentanglement in VAEs.
            https://arxiv.org/abs/1802.04942
        [2] Locatello et al., 2019. Challenging Common Assumptions (the bins).
            https://arxiv.org/abs/1811.12359

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> round(mig(v, v), 6)
        1.0
    """
    return float(np.nanmean(mig_per_factor(codes, factors, bins=bins)))


def mig_per_factor(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> ndarray:
    """Gap of each factor, ``(num_factors,)``; NaN for a factor with a single value.

    The mean over the other factors is :func:`mig`.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        bins: Number of bins of equal width of each code.
    """
    z, v = as_arrays(codes, factors)
    varying(v)  # refuses factors that are all constant
    return information_gaps(mutual_information(z, v, bins=bins), entropies(v))


def information_gaps(information: ndarray, entropy: ndarray) -> ndarray:
    """Gaps ``(num_factors,)`` from information ``(num_codes, num_factors)``; NaN for entropy 0."""
    top = np.sort(information, axis=0)
    runner_up = top[-2] if len(top) > 1 else 0.0
    return (top[-1] - runner_up) / np.where(entropy > 1e-12, entropy, np.nan)
