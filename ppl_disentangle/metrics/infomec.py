"""InfoMEC: modularity, explicitness and compactness in terms of information."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, as_classes, constant, varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information
from ppl_disentangle.metrics.estimators.neighbour_information import neighbour_information
from ppl_disentangle.metrics.estimators.predictors import fit_logistic

__all__ = ["InfoMEC", "concentration", "infomec"]


class InfoMEC(NamedTuple):
    """InfoM, InfoE and InfoC, each 1 for a perfect code."""

    modularity: float
    explicitness: float
    compactness: float


def infomec(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    discrete: bool = False,
    neighbours: int = 10,
    seed: int = 0,
) -> InfoMEC:
    r"""Modularity, explicitness and compactness from normalised information.

    .. math::
        \mathrm{InfoM} &= \frac{\frac1D \sum_d \frac{\max_k N_{dk}}{\sum_k N_{dk}} - \frac1K}{1 - \frac1K}, \qquad
        \mathrm{InfoC} = \frac{\frac1K \sum_k \frac{\max_d N_{dk}}{\sum_d N_{dk}} - \frac1D}{1 - \frac1D}, \\
        \mathrm{InfoE} &= \frac1K \sum_k \Big(1 - \frac{H(v_k \mid z)}{\log |V_k|}\Big), \qquad
        N_{dk} = \frac{I(z_d; v_k)}{H(v_k)}

    InfoM asks whether each code tells of one factor, InfoC whether each factor is told by one code, InfoE whether
    the factors can be read from all codes linearly: :math:`H(v_k | z)` is the loss, in nats, of a logistic
    regression, fitted to and scored on the same rows, without penalty, with its classes weighted alike, and
    stopped after 100 iterations.

    Information is by :func:`neighbour_information`, or, where codes are ``discrete``, by the shares of their values.
    InfoM and InfoC leave out codes that are idle: with a range of at most a twentieth of the largest, or
    constant where codes are discrete. Codes and factors that nothing is known of count 0; where one code is
    left, InfoC is 1; with a single factor, InfoM is 1. A factor with one value is left out.

    Range: 0 to 1, InfoE below 0 where the regression is worse than none. Chance of InfoM and InfoC is above 0,
    since information by chance is never spread evenly. Invariant under permutation, sign and shift of the codes,
    and under scale but for idle codes.

    Weakness: which codes are idle hangs on their scales, and ratios make much of little: codes that tell nothing and
    are not idle have some information by chance, often on one factor alone, so that InfoM may be near 1 for pure noise.
    InfoE hardly changes when codes are rotated.

    Args:
        codes: shape ``(num_data, num_codes)``.
        factors: shape ``(num_data, num_factors)``.
        discrete: whether codes take few values; then the regression sees each value for itself.
        neighbours: of :func:`neighbour_information`.
        seed: of :func:`neighbour_information`.

    References:
        [1] Hsu et al., 2023. Disentanglement via Latent Quantization. https://arxiv.org/abs/2305.18378
        [2] The authors' code, for threshold, neighbours and regression.
            https://github.com/kylehkhsu/latent_quantization

    Example:
        >>> v = np.indices((4, 5, 4)).reshape(3, -1).T[:, :2]
        >>> [round(score, 2) for score in infomec(-v, v, discrete=True)]
        [1.0, 1.0, 1.0]
    """
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    ranges, still = np.ptp(z, axis=0), constant(z)
    active = z[:, ~still & (discrete | (ranges > ranges.max() / 20))]
    if not active.size:
        return InfoMEC(0.0, 0.0, 0.0)
    if discrete:
        values = as_classes(active)
        information = mutual_information(
            values, v, bins=int(values.max()) + 1
        )  # every value has a bin of its own
    else:
        information = neighbour_information(active, v, neighbours=neighbours, seed=seed)
    shares = information / entropies(v)
    features = _one_hot(active) if discrete else (z - z.mean(0)) / np.where(still, 1.0, z.std(0))
    return InfoMEC(concentration(shares), _explicitness(features, v), concentration(shares.T))


def concentration(shares: ndarray) -> float:
    """How far the largest of each row exceeds an even share: the mean over rows, from 0 to 1."""
    size = shares.shape[1]
    if size == 1:
        return 1.0
    totals = shares.sum(1)
    largest = np.where(totals > 0, shares.max(1) / np.where(totals > 0, totals, 1.0), 1 / size)
    return float((largest.mean() - 1 / size) / (1 - 1 / size))


def _one_hot(codes: ndarray) -> ndarray:
    return np.concatenate([column[:, None] == np.unique(column) for column in codes.T], 1).astype(
        np.float64
    )


def _explicitness(features: ndarray, factors: ndarray) -> float:
    """One minus the mean of the losses of a regression on each factor, as shares of the log of its values."""
    losses = []
    for column in factors.T:
        fitted = fit_logistic(features, column, C=np.inf, class_weight="balanced")
        chosen = fitted.predict_proba(features)[np.arange(len(column)), column]
        losses.append(
            -np.log(np.maximum(chosen, np.finfo(float).eps)).mean() / np.log(column.max() + 1)
        )
    return float(1 - np.mean(losses))
