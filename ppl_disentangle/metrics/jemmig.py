"""JEMMIG: is each factor in one code and in no other code, and does that code hold nothing else?"""

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
    r"""Mean over the factors of joint entropy minus information gap, scaled so that 1 is best.

    .. math:: \frac{1}{K} \sum_k \Big(1 - \frac{H(z_{(1)}, v_k) - I(z_{(1)}; v_k) + I(z_{(2)}; v_k)}
       {H(v_k) + \log b}\Big)

    where :math:`z_{(1)}` and :math:`z_{(2)}` are the codes with the largest and second largest
    mutual information with factor :math:`v_k`. Information and the entropies of codes are estimated
    with :math:`b` bins, as by :func:`mutual_information`. Since
    :math:`H(z, v) - I(z; v) = H(z \mid v) + H(v \mid z)`, a code loses score for other content, and
    for information about the factor that it lacks. With a single code the second information is 0.
    A factor with a single value is left out.

    Range: 0 to 1. A perfect code stays below 1 if a factor has more values than bins. The score is
    invariant under permutation, sign, shift and scale of the codes.

    Weakness: Chance is not 0. A code without information gains by an entropy below :math:`\log b`:
    a constant code scores :math:`\log b / (H(v_k) + \log b)`, more than a good code with noise.
    Read the score beside its chance level. It depends on the number of bins.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        bins: Number of bins of equal width of each code. The paper uses 100, which need more data.

    References:
        [1] Do and Tran, 2020. Theory and Evaluation Metrics for Learning Disentangled
            Representations. https://arxiv.org/abs/1908.09961
        [2] Carbonneau et al., 2022. Measuring Disentanglement: A Review of Metrics (the
            normalisation). https://arxiv.org/abs/2012.09276

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> round(jemmig(v, v), 6), round(jemmig(np.ones_like(v), v), 2)
        (1.0, 0.67)
    """
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    information = mutual_information(z, v, bins=bins)
    code_entropies = entropies(binned(z, bins))
    return float(jemmig_per_factor(information, code_entropies, entropies(v), bins=bins).mean())


def jemmig_per_factor(
    information: ndarray, code_entropies: ndarray, factor_entropies: ndarray, *, bins: int
) -> ndarray:
    """Score of each factor ``(num_factors,)``.

    Args:
        information: Mutual information of binned codes and factors, ``(num_codes, num_factors)``.
        code_entropies: Entropies of the binned codes, ``(num_codes,)``.
        factor_entropies: Entropies of the factors, all positive, ``(num_factors,)``.
        bins: Number of bins.
    """
    top = np.sort(information, axis=0)
    runner_up = top[-2] if len(top) > 1 else 0.0
    best_code = information.argmax(0)
    joint_entropy = code_entropies[best_code] + factor_entropies - top[-1]
    return 1 - (joint_entropy - top[-1] + runner_up) / (factor_entropies + np.log(bins))
