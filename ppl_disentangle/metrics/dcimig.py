"""DCIMIG: how much of all factors do codes hold that serve no other factor, one code each?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information

__all__ = ["dcimig", "separate_information"]


def dcimig(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Share of the factors' entropy that is in codes of their own.

    .. math:: \frac{\sum_k \max_{d :\, k(d) = k} \big(I(z_d; v_{k}) - \max_{j \ne k} I(z_d; v_j)\big)}{\sum_k H(v_k)},
       \qquad k(d) = \arg\max_k I(z_d; v_k)

    Every code goes to the factor that it tells most about, with the lead that this factor has over the next; each
    factor takes the code with the largest lead, or 0 where it gets no code. Information is that of
    :func:`mutual_information`, in nats, the unit cancels. With a single factor, the next is 0; a factor with one
    value is left out.

    Range: 0 to 1; a perfect code stays below 1 where a factor has more values than bins. Invariant under
    permutation, sign, shift and scale of the codes, and under adding codes that tell nothing.

    Weakness: factors weigh by their entropy, those with few values hardly count. A factor that is spread over
    several codes gets the part that is in one of them. Depends on bins and shape as :func:`mig` does.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        bins: number of bins of equal width of each code.

    References:
        [1] Sepliarskaia et al., 2019. How to Not Measure Disentanglement. https://arxiv.org/abs/1910.05587

    Example:
        >>> v = np.indices((4, 4)).reshape(2, -1).T
        >>> round(dcimig(v, v), 6), round(dcimig(v[:, [0, 0]], v), 6)
        (1.0, 0.5)
    """
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    separate = separate_information(mutual_information(z, v, bins=bins))
    return float(separate.sum() / entropies(v).sum())


def separate_information(information: ndarray) -> ndarray:
    """Largest lead ``(num_factors,)`` in nats of each factor in a code, from ``(num_codes, num_factors)``."""
    ordered = np.sort(information, axis=1)
    leads = ordered[:, -1] - (ordered[:, -2] if information.shape[1] > 1 else 0.0)
    best = np.zeros(information.shape[1])
    np.maximum.at(best, information.argmax(1), leads)
    return best
