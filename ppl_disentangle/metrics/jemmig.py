"""JEMMIG: is a factor in one code, in no other, and is there nothing else in that code?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import (
    binned,
    entropies,
    mutual_information,
)

__all__ = ["jemmig", "jemmig_per_factor"]


def jemmig(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Joint entropy minus mutual information gap, normalised so that larger is better; the mean over the factors.

    .. math:: \frac{1}{K} \sum_k \Big(1 - \frac{H(z_{(1)}, v_k) - I(z_{(1)}; v_k) + I(z_{(2)}; v_k)}
       {H(v_k) + \log b}\Big)

    where :math:`z_{(1)}, z_{(2)}` are the codes with the largest and second largest mutual information with factor
    :math:`v_k`, in :math:`b` bins as by :func:`mutual_information`, and entropies are of the bins. Since
    :math:`H(z, v) - I(z; v) = H(z \mid v) + H(v \mid z)`, the code loses by what else is in it, and by what it
    leaves unsaid of the factor. With one code only, the second is 0. A factor with a single value is left out.

    Range: 0 to 1; a perfect code stays below 1 where a factor has more values than bins. Invariant under
    permutation, sign, shift and scale of the codes.

    Weakness: chance is not 0. A code that tells nothing gains by an entropy below :math:`\log b`: a constant one
    has :math:`\log b / (H(v_k) + \log b)`, more than a fair code with noise. Read it beside its chance; it depends on
    the number of bins.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        bins: number of bins of equal width of each code; the paper's 100 need more data.

    References:
        [1] Do and Tran, 2020. Theory and Evaluation Metrics for Learning Disentangled Representations.
            https://arxiv.org/abs/1908.09961
        [2] Carbonneau et al., 2022. Measuring Disentanglement: A Review of Metrics (the normalisation).
            https://arxiv.org/abs/2012.09276

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> round(jemmig(v, v), 6), round(jemmig(np.ones_like(v), v), 2)
        (1.0, 0.67)
    """
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    information = mutual_information(z, v, bins=bins)
    return float(
        jemmig_per_factor(information, entropies(binned(z, bins)), entropies(v), bins=bins).mean()
    )


def jemmig_per_factor(
    information: ndarray, of_codes: ndarray, of_factors: ndarray, *, bins: int
) -> ndarray:
    """Score of each factor ``(num_factors,)``.

    Args:
        information: of codes in bins and factors, ``(num_codes, num_factors)``.
        of_codes: entropies of the bins of each code.
        of_factors: entropies of the factors, positive.
        bins: number of bins.
    """
    top = np.sort(information, axis=0)
    runner_up = top[-2] if len(top) > 1 else 0.0
    joint = of_codes[information.argmax(0)] + of_factors - top[-1]
    return 1 - (joint - top[-1] + runner_up) / (of_factors + np.log(bins))
