"""MIG-sup: does each code represent one factor, and no other factor?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information

__all__ = ["mig_sup", "mig_sup_per_code"]


def mig_sup(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Mean gap in normalised information between the two factors that a code represents best.

    .. math:: \frac{1}{D} \sum_d \Big(\frac{I(z_d; v_{(1)})}{H(v_{(1)})} - \frac{I(z_d; v_{(2)})}{H(v_{(2)})}\Big)

    where :math:`v_{(1)}` and :math:`v_{(2)}` are the factors with the largest and second largest
    ratio of mutual information :math:`I`, by :func:`mutual_information`, to entropy :math:`H` for
    code :math:`z_d`. The score supplements :func:`mig`, whose gap between codes overlooks codes
    that serve two factors. With a single factor the second ratio is 0. A factor with a single value
    is left out.

    Range: 0 to 1. A perfect code stays below 1 if a factor has more values than bins. The score is
    invariant under permutation, sign, shift and scale of the codes.

    Weakness: A code without information counts 0, so that idle codes lower the score. A factor that
    is missing from the codes is not penalised. The score depends on bins and on the shape of the
    codes, as :func:`mig` does.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        bins: Number of bins of equal width of each code.

    References:
        [1] Li et al., 2020. Progressive Learning and Disentanglement of Hierarchical
            Representations. https://arxiv.org/abs/2002.10549

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> round(mig_sup(v, v), 6), round(mig_sup(np.hstack([v, np.ones_like(v)]), v), 6)
        (1.0, 0.5)
    """
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    return float(mig_sup_per_code(mutual_information(z, v, bins=bins), entropies(v)).mean())


def mig_sup_per_code(information: ndarray, entropy: ndarray) -> ndarray:
    """Gaps ``(num_codes,)`` from information ``(num_codes, num_factors)`` and positive entropies."""
    ratios = np.sort(information / entropy, axis=1)
    runner_up = ratios[:, -2] if ratios.shape[1] > 1 else 0.0
    return ratios[:, -1] - runner_up
