"""DCI: disentanglement, completeness and informativeness, from the codes that a predictor uses."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_split
from ppl_disentangle.metrics.estimators.predictors import Predictor, fit_trees

__all__ = [
    "DCI",
    "completeness",
    "completeness_per_factor",
    "dci",
    "disentanglement",
    "disentanglement_per_code",
]

SMALLEST_IMPORTANCE = 1e-11


class DCI(NamedTuple):
    """Result of :func:`dci`.

    Attributes:
        disentanglement: Score from 0 to 1.
        completeness: Score from 0 to 1.
        informativeness: Score from 0 to 1.
        predictor: Predictor on which the scores depend.
        importances: Importances of the codes, ``(num_codes, num_factors)``.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    predictor: Predictor
    importances: ndarray


def dci(
    codes_train: ArrayLike,
    factors_train: ArrayLike,
    codes_test: ArrayLike,
    factors_test: ArrayLike,
    *,
    predictor: Predictor = "gbt",
    seed: int = 0,
) -> DCI:
    r"""Predict every factor from all codes with trees, and score the importances :math:`R` of the codes.

    .. math::
        D &= \sum_d \rho_d \Big(1 + \sum_k p_{dk} \log_K p_{dk}\Big), &
        p_{dk} &= \frac{R_{dk}}{\sum_j R_{dj}}, & \rho_d &= \frac{\sum_j R_{dj}}{\sum_{ij} R_{ij}} \\
        C &= \sum_k \gamma_k \Big(1 + \sum_d q_{dk} \log_D q_{dk}\Big), &
        q_{dk} &= \frac{R_{dk}}{\sum_j R_{jk}}, & \gamma_k &= \frac{\sum_j R_{jk}}{\sum_{ij} R_{ij}}

    where :math:`R_{dk}` is the importance of code :math:`z_d` of :math:`D` for factor :math:`v_k`
    of :math:`K`. :func:`disentanglement` :math:`D` is high if each code serves one factor,
    :func:`completeness` :math:`C` is high if each factor needs one code, and informativeness is the
    mean accuracy on the test rows (the paper reports errors). A factor with a single value in the
    training rows is left out; its importances are NaN. A class that is absent from the training
    rows is never predicted.

    Disentanglement of one factor and completeness of one code are NaN: they would be 1 for noise.

    Range: 0 to 1. Trees are invariant under strictly monotone maps of the codes, and need more data
    for more factor values.

    Weakness: The scores depend on the predictor, so compare only scores with the same predictor:

    * ``"gbt"``: scikit-learn's gradient boosting with its defaults, which is the usual reference.
      It is slow; see ``benchmarks/metrics.py``.
    * ``"lightgbm"``: the same hundred trees of depth 3, grown by LightGBM on histograms, with
      importance by gain. It needs the extra ``fast-metrics``.
    * ``"forest"``: a random forest. It yields a different quantity, since fully grown trees spread
      importance over idle codes.

    Args:
        codes_train: Codes of the training rows, of shape ``(num_train, num_codes)``.
        factors_train: Factor values of the training rows, of shape ``(num_train, num_factors)``.
        codes_test: Codes of the test rows, of shape ``(num_test, num_codes)``.
        factors_test: Factor values of the test rows, of shape ``(num_test, num_factors)``.
        predictor: Classifier of the factors.
        seed: Seed of the classifier.

    References:
        [1] Eastwood and Williams, 2018. A Framework for the Quantitative Evaluation of Disentangled
            Representations. https://openreview.net/forum?id=By-7dz-AZ
        [2] Locatello et al., 2019. Challenging Common Assumptions (the boosted trees).
            https://arxiv.org/abs/1811.12359
    """
    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    importances, predictions = fit_trees(z, v, num_train, predictor=predictor, seed=seed)
    varies = ~np.isnan(importances[0])
    accuracy = np.mean(predictions[:, varies] == v[num_train:, varies])
    return DCI(
        disentanglement(importances),
        completeness(importances),
        float(accuracy),
        predictor,
        importances,
    )


def disentanglement(importances: ArrayLike) -> float:
    """Mean of :func:`disentanglement_per_code`, weighted by the importance of the codes."""
    r = _checked(importances)
    return _weighted(disentanglement_per_code(r), r.sum(1))


def completeness(importances: ArrayLike) -> float:
    """Mean of :func:`completeness_per_factor`, weighted by the importance of the factors."""
    r = _checked(importances)
    return _weighted(completeness_per_factor(r), r.sum(0))


def disentanglement_per_code(importances: ArrayLike) -> ndarray:
    r"""One minus the entropy, in base K, of each code's importances over the K factors.

    .. math:: D_d = 1 + \sum_k p_{dk} \log_K p_{dk}, \qquad p_{dk} = R_{dk} / \textstyle\sum_j R_{dj}

    Args:
        importances: Matrix :math:`R \ge 0` of shape ``(num_codes, num_factors)``. Columns of NaN
            are left out.

    Returns:
        An array of shape ``(num_codes,)``: 1 for a code that serves one factor, 0 for a code that
        serves all factors equally or no factor. With a single factor it is NaN: any code serves it
        alone.
    """
    return _concentration(_checked(importances))


def completeness_per_factor(importances: ArrayLike) -> ndarray:
    r"""One minus the entropy, in base D, of each factor's importances over the D codes.

    .. math:: C_k = 1 + \sum_d q_{dk} \log_D q_{dk}, \qquad q_{dk} = R_{dk} / \textstyle\sum_j R_{jk}

    Idle codes count in the base D, so that dropping them lowers the score.

    Args:
        importances: Matrix :math:`R \ge 0` of shape ``(num_codes, num_factors)``. Columns of NaN
            are left out.

    Returns:
        An array of shape ``(num_factors,)``, without the factors that are left out.
    """
    return _concentration(_checked(importances).T)


def _concentration(rows: ndarray) -> ndarray:
    """One minus the normalised entropy of each row; rows of zeros count as uniform.

    The entropy of one column is 0 whatever the codes are: NaN.
    """
    if rows.shape[1] < 2:
        return np.full(len(rows), np.nan)
    p = rows + SMALLEST_IMPORTANCE
    p = p / p.sum(1, keepdims=True)
    return 1 + (p * np.log(p)).sum(1) / np.log(rows.shape[1])


def _weighted(scores: ndarray, importance: ndarray) -> float:
    """The weighted mean; 0 if all weights are 0, and NaN if the scores are."""
    if np.isnan(scores).any():
        return math.nan
    total = importance.sum()
    return float((scores * importance).sum() / total) if total > 0 else 0.0


def _checked(importances: ArrayLike) -> ndarray:
    """Importances without columns of NaN; negative and infinite values are an error."""
    r = np.asarray(importances, dtype=np.float64)
    if r.ndim != 2:
        raise ValueError(f"expected importances of shape (num_codes, num_factors), got {r.shape}")
    r = r[:, ~np.isnan(r).all(0)]
    if not (np.isfinite(r).all() and (r >= 0).all() and r.size):
        raise ValueError("expected importances that are finite and not negative, got others")
    return r
