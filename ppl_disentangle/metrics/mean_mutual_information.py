"""Mean mutual information of pairs of codes: do they depend on each other?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes
from ppl_disentangle.metrics.estimators.mutual_information import binned, mutual_information

__all__ = ["mean_mutual_information"]


def mean_mutual_information(codes: ArrayLike, *, bins: int = 20) -> float:
    r"""Mean mutual information of all pairs of codes, in nats; no factors are needed.

    .. math:: \frac{1}{D (D - 1)} \sum_{i \ne j} I(z_i; z_j)

    where the mutual information of the :math:`D` codes is estimated with ``bins`` bins of equal
    width, as by :func:`mutual_information`.

    Range: 0 to ``log(bins)``. Independent codes score about :math:`(b - 1)^2 / (2 N)` with
    :math:`b` bins and :math:`N` data, not 0. A constant code has no information about other codes,
    but counts among the pairs: idle codes lower the mean. With a single code the score is 0. The
    score is invariant under permutation, sign, shift and scale of the codes.

    Weakness: The score only considers pairs. Three codes can determine each other although every
    pair is independent.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        bins: Number of bins of each code.

    References:
        [1] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359

    Example:
        >>> wave = np.tile([-1.0, 1.0], 500)
        >>> float(np.exp(mean_mutual_information(np.stack([wave, wave**3], 1))).round(6))
        2.0
    """
    z = as_codes(codes)
    pairs = mutual_information(z, binned(z, bins), bins=bins)
    np.fill_diagonal(pairs, 0.0)
    return float(pairs.sum() / max(len(pairs) * (len(pairs) - 1), 1))
