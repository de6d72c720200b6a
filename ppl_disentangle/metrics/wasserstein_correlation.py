"""Wasserstein distance of the codes from uncorrelated codes, under a Gaussian approximation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes, constant

__all__ = ["wasserstein_correlation"]


def wasserstein_correlation(codes: ArrayLike, *, normalised: bool = False) -> float:
    r"""Squared 2-Wasserstein distance of Gaussians with full and diagonal covariance of the codes.

    .. math:: W_2^2\big(\mathcal N(0, \Sigma), \mathcal N(0, \Delta)\big)
        = 2 \operatorname{tr} \Sigma - 2 \operatorname{tr} (\Delta^{1/2} \Sigma \Delta^{1/2})^{1/2},
        \qquad \Delta = \operatorname{diag} \Sigma

    where :math:`\Sigma` is the covariance of the codes over the data. No factors are needed.

    Range: 0 to :math:`2 \operatorname{tr} \Sigma`, on the squared scale of the codes. The
    normalised score is divided by :math:`\operatorname{tr} \Sigma` and ranges from 0 to 2. Unlike
    the total correlation the score stays finite if a code is a linear function of other codes. It
    is invariant under permutation, sign and shift of the codes; the normalised score is also
    invariant under a common scale. A code with little variance counts little.

    Weakness: The score only detects correlations, as :func:`gaussian_total_correlation` does.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        normalised: Whether to divide by the total variance. Codes that are all constant score 0.

    References:
        [1] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359
        [2] Dowson and Landau, 1982. The Fréchet distance between multivariate normal distributions.
            https://doi.org/10.1016/0047-259X(82)90077-X

    Example:
        >>> wave = np.tile([-1.0, 1.0], 500)
        >>> round(wasserstein_correlation(np.stack([wave, -wave], 1), normalised=True), 6)
        0.585786
    """
    z = as_codes(codes)
    z = z[:, ~constant(z)]
    if z.shape[1] < 2:
        return 0.0
    covariance = np.cov(z.T)
    total = np.trace(covariance)
    scale = np.sqrt(np.diag(covariance))
    spectrum = np.linalg.eigvalsh(scale[:, None] * covariance * scale).clip(0)
    distance = max(2 * float(total - np.sqrt(spectrum).sum()), 0.0)
    return distance / float(total) if normalised else distance
