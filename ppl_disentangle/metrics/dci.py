"""DCI: disentanglement, completeness and informativeness, by what a predictor of the factors uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_split, varying

__all__ = [
    "DCI",
    "Predictor",
    "classifier_of",
    "completeness",
    "completeness_per_factor",
    "dci",
    "disentanglement",
    "disentanglement_per_code",
    "fit_trees",
]

Predictor = Literal["gbt", "lightgbm", "forest"]


class DCI(NamedTuple):
    """Scores from 0 to 1, the predictor they depend on, and its importances ``(num_codes, num_factors)``."""

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
    r"""Predict every factor from all codes by trees, and score the importances :math:`R` of the codes.

    .. math::
        D &= \sum_d \rho_d \Big(1 + \sum_k p_{dk} \log_K p_{dk}\Big), &
        p_{dk} &= \frac{R_{dk}}{\sum_j R_{dj}}, & \rho_d &= \frac{\sum_j R_{dj}}{\sum_{ij} R_{ij}} \\
        C &= \sum_k \gamma_k \Big(1 + \sum_d q_{dk} \log_D q_{dk}\Big), &
        q_{dk} &= \frac{R_{dk}}{\sum_j R_{jk}}, & \gamma_k &= \frac{\sum_j R_{jk}}{\sum_{ij} R_{ij}}

    where :math:`R_{dk}` is the importance of code :math:`z_d` of :math:`D` for factor :math:`v_k` of :math:`K`.
    :func:`disentanglement` asks whether a code serves one factor, :func:`completeness` whether a factor needs
    one code, informativeness is the mean accuracy on the test rows (the paper reports errors). A factor with
    one value in the training rows is left out: NaN in the importances. A class that is absent from them is
    never predicted.

    Range: 0 to 1. Trees are invariant under strictly monotone maps of the codes, and need more data for more
    factor values.

    Weakness: the scores depend on the predictor and compare only with scores of the same one:

    * ``"gbt"``: scikit-learn's gradient boosting with its defaults, the usual reference. Slow: see
      ``benchmarks/metrics.py``.
    * ``"lightgbm"``: the same hundred trees of depth 3, grown by LightGBM on histograms, importance by gain.
      Needs the extra ``fast-metrics``.
    * ``"forest"``: a random forest. Another quantity: fully grown trees spread importance over idle codes.

    Args:
        codes_train: shape ``(num_train, num_codes)``.
        factors_train: shape ``(num_train, num_factors)``.
        codes_test: shape ``(num_test, num_codes)``.
        factors_test: shape ``(num_test, num_factors)``.
        predictor: the classifier.
        seed: random state of the classifier.

    References:
        [1] Eastwood and Williams, 2018. A Framework for the Quantitative Evaluation of Disentangled
            Representations. https://openreview.net/forum?id=By-7dz-AZ
        [2] Locatello et al., 2019. Challenging Common Assumptions (the boosted trees).
            https://arxiv.org/abs/1811.12359
    """
    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    importances, predictions = fit_trees(z, v, num_train, predictor=predictor, seed=seed)
    several = ~np.isnan(importances[0])
    accuracy = np.mean(predictions[:, several] == v[num_train:, several])
    return DCI(disentanglement(importances), completeness(importances), float(accuracy), predictor, importances)


def fit_trees(
    codes: ndarray, factors: ndarray, num_train: int, *, predictor: Predictor, seed: int
) -> tuple[ndarray, ndarray]:
    """Trees for every factor of the first ``num_train`` rows: importances, and predictions of the other rows.

    Returns:
        Importances ``(num_codes, num_factors)`` with sum 1 a factor, and classes ``(num_test, num_factors)``. A
        factor with one value in training has NaN, and that value.
    """
    several = varying(factors[:num_train])
    importances = np.full((codes.shape[1], len(several)), np.nan)
    predictions = np.repeat(factors[:1], len(factors) - num_train, axis=0)
    for k in np.flatnonzero(several):
        classifier = classifier_of(predictor, seed=seed).fit(codes[:num_train], factors[:num_train, k])
        gains = np.abs(classifier.feature_importances_)
        importances[:, k] = gains / max(gains.sum(), np.finfo(float).tiny)
        predictions[:, k] = classifier.predict(codes[num_train:])
    return importances, predictions


def disentanglement(importances: ArrayLike) -> float:
    """Mean of :func:`disentanglement_per_code`, weighted by the codes' importance; 0 where there is none."""
    r = _checked(importances)
    return _weighted(disentanglement_per_code(r), r.sum(1))


def completeness(importances: ArrayLike) -> float:
    """Mean of :func:`completeness_per_factor`, weighted by the factors' importance; 0 where there is none."""
    r = _checked(importances)
    return _weighted(completeness_per_factor(r), r.sum(0))


def disentanglement_per_code(importances: ArrayLike) -> ndarray:
    r"""One minus the entropy, in base K, of each code's importances over the K factors.

    .. math:: D_d = 1 + \sum_k p_{dk} \log_K p_{dk}, \qquad p_{dk} = R_{dk} / \textstyle\sum_j R_{dj}

    Args:
        importances: the matrix :math:`R \ge 0` of shape ``(num_codes, num_factors)``; a column of NaN is left
            out.

    Returns:
        An array of shape ``(num_codes,)``: 1 for a code that serves one factor, 0 for one that serves all
        alike, or none. With a single factor there is nothing to confuse it with: 1.
    """
    return _concentration(_checked(importances))


def completeness_per_factor(importances: ArrayLike) -> ndarray:
    r"""One minus the entropy, in base D, of each factor's importances over the D codes.

    .. math:: C_k = 1 + \sum_d q_{dk} \log_D q_{dk}, \qquad q_{dk} = R_{dk} / \textstyle\sum_j R_{jk}

    Idle codes count in the base D, so that dropping them lowers the score.

    Args:
        importances: the matrix :math:`R \ge 0` of shape ``(num_codes, num_factors)``; a column of NaN is left
            out.

    Returns:
        An array of shape ``(num_factors,)``, without the factors left out.
    """
    return _concentration(_checked(importances).T)


def _concentration(rows: ndarray) -> ndarray:
    p = rows + 1e-11
    p = p / p.sum(1, keepdims=True)
    return 1 + (p * np.log(p)).sum(1) / np.log(max(rows.shape[1], 2))


def _weighted(scores: ndarray, importance: ndarray) -> float:
    total = importance.sum()
    return float((scores * importance).sum() / total) if total > 0 else 0.0


def _checked(importances: ArrayLike) -> ndarray:
    r = np.asarray(importances, dtype=np.float64)
    if r.ndim != 2:
        raise ValueError(f"expected importances of shape (num_codes, num_factors), got {r.shape}")
    r = r[:, ~np.isnan(r).all(0)]
    if not (np.isfinite(r).all() and (r >= 0).all() and r.size):
        raise ValueError("expected importances that are finite and not negative, got others")
    return r


def classifier_of(predictor: Predictor, *, seed: int) -> Any:
    """A new classifier with ``fit``, ``predict`` and ``feature_importances_``."""
    if predictor not in _CLASSIFIERS:
        raise KeyError(f"no predictor named {predictor!r}; there are {sorted(_CLASSIFIERS)}")
    return _CLASSIFIERS[predictor](seed)


def _gbt(seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=seed)


def _lightgbm(seed: int) -> Any:
    try:
        from lightgbm import LGBMClassifier
    except ImportError as error:
        raise ImportError('predictor="lightgbm" needs LightGBM: pip install "ppl-disentangle[fast-metrics]"') from error
    size = {"n_estimators": 100, "max_depth": 3, "num_leaves": 8, "learning_rate": 0.1}
    size |= {"min_child_samples": 1, "min_data_in_bin": 1}  # as in scikit-learn's trees
    return LGBMClassifier(**size, importance_type="gain", random_state=seed, n_jobs=1, verbose=-1)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, n_jobs=1)


_CLASSIFIERS: dict[str, Callable[[int], Any]] = {"gbt": _gbt, "lightgbm": _lightgbm, "forest": _forest}
