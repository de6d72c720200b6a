"""InfoMEC: modularity, explicitness and compactness, defined by information."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_arrays, constant, ranks, varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information
from ppl_disentangle.metrics.estimators.neighbour_information import neighbour_information
from ppl_disentangle.metrics.estimators.predictors import fit_logistic

__all__ = ["InfoMEC", "concentration", "infomec"]

IDLE_RANGE = 1 / 20
"""Range of an idle code, as a share of the largest range."""


class InfoMEC(NamedTuple):
    """The scores InfoM, InfoE and InfoC, each 1 for a perfect code."""

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

    where :math:`D` is the number of codes, :math:`K` the number of factors and :math:`N_{dk}` the
    mutual information of code :math:`z_d` and factor :math:`v_k`, divided by the factor's entropy.
    InfoM is high if each code has information about one factor, InfoC if one code has the
    information about each factor, and InfoE if the factors can be read from all codes linearly. The
    conditional entropy :math:`H(v_k | z)` is the loss, in nats, of a logistic regression on the
    same rows, without penalty, with equal class weights, and after at most 100 iterations.

    Mutual information is estimated by :func:`neighbour_information` or, for ``discrete`` codes,
    from relative frequencies. InfoM and InfoC leave out idle codes, whose range is at most a
    twentieth of the largest range (for discrete codes: whose range is 0). Codes and factors without
    any information count 0. With a single code InfoC is 1, and with a single factor InfoM is 1. A
    factor with a single value is left out.

    Range: 0 to 1. InfoE is negative if the regression predicts worse than without codes. For InfoM
    and InfoC chance is above 0, since chance information is never spread evenly. The scores are
    invariant under permutation, sign and shift of the codes and, apart from idle codes, under their
    scale.

    Weakness: The scales of the codes decide which codes are idle. The ratios amplify small values:
    a code without information that is not idle has chance information, often on a single factor, so
    that InfoM may be near 1 for pure noise. InfoE hardly changes if codes are rotated.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor values of shape ``(num_data, num_factors)``.
        discrete: Whether the codes take few values. The regression then treats each value as a
            category.
        neighbours: Number of neighbours of :func:`neighbour_information`.
        seed: Seed of :func:`neighbour_information`.

    References:
        [1] Hsu et al., 2023. Disentanglement via Latent Quantization.
            https://arxiv.org/abs/2305.18378
        [2] The authors' code (the threshold, the neighbours and the regression).
            https://github.com/kylehkhsu/latent_quantization

    Example:
        >>> v = np.indices((4, 5, 4)).reshape(3, -1).T[:, :2]
        >>> [round(score, 2) for score in infomec(-v, v, discrete=True)]
        [1.0, 1.0, 1.0]
    """
    z, v = as_arrays(codes, factors)
    v = v[:, varying(v)]
    is_constant = constant(z)
    active = z[:, _active(z, is_constant, discrete=discrete)]
    if not active.size:
        return InfoMEC(0.0, 0.0, 0.0)
    if discrete:
        features = _one_hot(active)
        information = _discrete_information(active, v)
    else:
        features = (z - z.mean(0)) / np.where(is_constant, 1.0, z.std(0))
        information = neighbour_information(active, v, neighbours=neighbours, seed=seed)
    shares = information / entropies(v)
    return InfoMEC(concentration(shares), _explicitness(features, v), concentration(shares.T))


def _active(codes: ndarray, is_constant: ndarray, *, discrete: bool) -> ndarray:
    """Mask ``(num_codes,)`` of the codes that are not idle."""
    if discrete:
        return ~is_constant
    ranges = np.ptp(codes, axis=0)
    return ~is_constant & (ranges > IDLE_RANGE * ranges.max())


def _discrete_information(codes: ndarray, factors: ndarray) -> ndarray:
    """Mutual information of codes that take few values: every value has its own bin."""
    values = ranks(codes)
    return mutual_information(values, factors, bins=int(values.max()) + 1)


def concentration(shares: ndarray) -> float:
    """Excess of each row's largest entry over an even share: the mean over the rows, 0 to 1."""
    size = shares.shape[1]
    if size == 1:
        return 1.0
    totals = shares.sum(1)
    informed = totals > 0
    largest = np.where(informed, shares.max(1) / np.where(informed, totals, 1.0), 1 / size)
    return float((largest.mean() - 1 / size) / (1 - 1 / size))


def _one_hot(codes: ndarray) -> ndarray:
    columns = [column[:, None] == np.unique(column) for column in codes.T]
    return np.concatenate(columns, 1).astype(np.float64)


def _explicitness(features: ndarray, factors: ndarray) -> float:
    """One minus the mean normalised loss of a regression of each factor on the features."""
    losses = []
    for classes in factors.T:
        regression = fit_logistic(features, classes, C=np.inf, class_weight="balanced")
        # (num_data,): probability of the true class
        probabilities = regression.predict_proba(features)[np.arange(len(classes)), classes]
        log_loss = -np.log(np.maximum(probabilities, np.finfo(float).eps)).mean()
        losses.append(log_loss / np.log(classes.max() + 1))
    return float(1 - np.mean(losses))
