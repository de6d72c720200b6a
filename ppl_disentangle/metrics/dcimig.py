"""DCIMIG: how much of the factors' entropy is in separate codes, one code per factor?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information

__all__ = ["dcimig", "separate_information"]


def dcimig(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Share of the factors' entropy that is held by separate codes, one for each factor.

    .. math:: \frac{\sum_k \max_{d :\, k(d) = k} \big(I(z_d; v_{k}) - \max_{j \ne k} I(z_d; v_j)\big)}{\sum_k H(v_k)},
       \qquad k(d) = \arg\max_k I(z_d; v_k)

    where :math:`I(z_d; v_k)` is the mutual information of code :math:`z_d` and factor :math:`v_k`
    by :func:`mutual_information`, and :math:`H(v_k)` is the factor's entropy. Every code is
    assigned to the factor :math:`k(d)` about which it has most information. Its gap is the
    difference to the factor with the next most information. Each factor takes the largest gap among
    its codes, or 0 if it has no code. With a single factor the next information is 0. A factor with
    a single value is left out.

    Range: 0 to 1. A perfect code stays below 1 if a factor has more values than bins. The score is
    invariant under permutation, sign, shift and scale of the codes, and if codes without
    information are added.

    Weakness: Factors are weighted by their entropy, so that factors with few values hardly count.
    If a factor is spread over several codes, only one of them counts. The score depends on bins and
    on the shape of the codes, as :func:`mig` does.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        bins: Number of bins of equal width of each code.

    References:
        [1] Sepliarskaia et al., 2019. How to Not Measure Disentanglement.
            https://arxiv.org/abs/1910.05587

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
    """Largest gap of each factor in nats, ``(num_factors,)``, from ``(num_codes, num_factors)``."""
    ordered = np.sort(information, axis=1)
    next_information = ordered[:, -2] if information.shape[1] > 1 else 0.0
    gaps = ordered[:, -1] - next_information
    largest = np.zeros(information.shape[1])
    np.maximum.at(largest, information.argmax(1), gaps)
    return largest
