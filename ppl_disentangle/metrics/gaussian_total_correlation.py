"""Total correlation of the codes under a Gaussian approximation: are the codes uncorrelated?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes, constant

__all__ = ["gaussian_total_correlation"]


def gaussian_total_correlation(codes: ArrayLike) -> float:
    r"""Total correlation, in nats, of a Gaussian with the covariance of the codes.

    No factors are needed.

    .. math:: \operatorname{KL}\big(\mathcal N(0, \Sigma) \,\|\, \mathcal N(0, \operatorname{diag} \Sigma)\big)
        = \tfrac12 \Big(\sum_d \log \Sigma_{dd} - \log \det \Sigma\Big)
        = -\tfrac12 \log \det R

    where :math:`\Sigma` is the covariance of the codes over the data and :math:`R` their
    correlation matrix.

    Range: 0 for uncorrelated codes, to infinity if a code is a linear function of other codes. With
    :math:`D` independent codes and :math:`N` data the estimate is about :math:`D (D - 1) / (4 N)`.
    Constant codes are left out. The score is invariant under permutation, sign, shift and scale of
    the codes.

    Weakness: The score only detects correlations. Codes that depend on each other without being
    correlated score 0. So do rotated factors, if the factors were independent and had equal
    variances.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.

    References:
        [1] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359

    Example:
        >>> z = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 100_000)
        >>> round(gaussian_total_correlation(z), 2), round(-math.log(1 - 0.6**2) / 2, 2)
        (0.22, 0.22)
    """
    z = as_codes(codes)
    z = z[:, ~constant(z)]
    if z.shape[1] < 2:
        return 0.0
    spectrum = np.linalg.eigvalsh(np.corrcoef(z.T))
    singular = spectrum[0] <= len(spectrum) * np.finfo(float).eps * spectrum[-1]
    return math.inf if singular else max(-0.5 * float(np.log(spectrum).sum()), 0.0)
