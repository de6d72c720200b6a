"""MIG-sup: does each code tell about one factor, and about no other?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information

__all__ = ["mig_sup", "mig_sup_per_code"]


def mig_sup(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Mean gap between the two factors that a code tells most about, each as a share of its entropy.

    .. math:: \frac{1}{D} \sum_d \Big(\frac{I(z_d; v_{(1)})}{H(v_{(1)})} - \frac{I(z_d; v_{(2)})}{H(v_{(2)})}\Big)

    where :math:`v_{(1)}, v_{(2)}` are the factors with the largest and second largest share for code :math:`z_d`,
    by :func:`mutual_information`. It supplements :func:`mig`, which has the gap between codes and overlooks codes that
    serve two factors. With a single factor, the second is 0; a factor with one value is left out.

    Range: 0 to 1; a perfect code stays below 1 where a factor has more values than bins. Invariant under
    permutation, sign, shift and scale of the codes.

    Weakness: a code that tells nothing counts 0, so that idle codes lower the score, and a factor that is in no
    code is not missed. Depends on bins and shape as :func:`mig` does.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        bins: number of bins of equal width of each code.

    References:
        [1] Li et al., 2020. Progressive Learning and Disentanglement of Hierarchical Representations.
            https://arxiv.org/abs/2002.10549

    Example:
        >>> v = np.indices((4, 5)).reshape(2, -1).T
        >>> round(mig_sup(v, v), 6), round(mig_sup(np.hstack([v, np.ones_like(v)]), v), 6)
        (1.0, 0.5)
    """
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    return float(mig_sup_per_code(mutual_information(z, v, bins=bins), entropies(v)).mean())


def mig_sup_per_code(information: ndarray, entropy: ndarray) -> ndarray:
    """Gaps ``(num_codes,)`` from a matrix ``(num_codes, num_factors)`` and positive entropies of the factors."""
    shares = np.sort(information / entropy, axis=1)
    return shares[:, -1] - (shares[:, -2] if shares.shape[1] > 1 else 0.0)
