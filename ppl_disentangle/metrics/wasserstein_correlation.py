"""Wasserstein distance of the codes from uncorrelated ones, as if they were Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes, constant

__all__ = ["wasserstein_correlation"]


def wasserstein_correlation(codes: ArrayLike, *, normalised: bool = False) -> float:
    r"""Squared 2-Wasserstein distance of a Gaussian with the codes' covariance from its independent one.

    .. math:: W_2^2\big(\mathcal N(0, \Sigma), \mathcal N(0, \Delta)\big)
        = 2 \operatorname{tr} \Sigma - 2 \operatorname{tr} (\Delta^{1/2} \Sigma \Delta^{1/2})^{1/2},
        \qquad \Delta = \operatorname{diag} \Sigma

    where :math:`\Sigma` is the covariance of the codes over the data. Needs no factors.

    Range: 0 to :math:`2 \operatorname{tr} \Sigma`, in squared units of the codes; normalised, divided by
    :math:`\operatorname{tr} \Sigma`, 0 to 2. Unlike the total correlation it stays finite where a code is a
    linear function of others. Invariant under permutation, sign and shift of the codes, normalised also under
    a common scale; a code with little variance counts little.

    Weakness: sees correlations only, as :func:`gaussian_total_correlation`.

    Args:
        codes: shape ``(num_data, num_codes)``.
        normalised: divide by the total variance; codes that are all constant have 0.

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
