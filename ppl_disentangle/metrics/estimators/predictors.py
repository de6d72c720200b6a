"""Classifiers of a factor from codes, for what a downstream user or an auditor could read from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from ppl_disentangle.metrics.estimators.arrays import varying

__all__ = ["Probe", "fit_logistic", "fit_probe"]

Probe = Literal["linear", "gbt", "lightgbm", "forest"]


def fit_probe(
    probe: Probe, codes: ndarray, classes: ndarray, *, seed: int = 0, balanced: bool = False
) -> Callable[[ndarray], ndarray]:
    """A function from codes ``(num, num_codes)`` to predicted classes ``(num,)``, fitted to the rows given.

    ``"linear"`` is a multinomial logistic regression of the standardised codes with scikit-learn's penalty
    (C = 1); the others are the trees of :func:`dci`. Classes that the rows lack are never predicted; rows of
    one class make a constant.

    Args:
        probe: the classifier.
        codes: shape ``(num_data, num_codes)``.
        classes: shape ``(num_data,)``.
        seed: random state of trees.
        balanced: weigh every class alike, whatever its share.
    """
    present, counts = np.unique(classes, return_counts=True)
    classifier = _linear() if probe == "linear" else classifier_of(probe, seed=seed)
    if len(present) == 1:
        return lambda z: np.full(len(z), present[0])
    weights = (1 / counts)[np.searchsorted(present, classes)] * len(classes) / len(present)
    name = "logisticregression__sample_weight" if probe == "linear" else "sample_weight"
    fitted = classifier.fit(codes, classes, **({name: weights} if balanced else {}))
    return lambda z: fitted.predict(z)


def fit_logistic(codes: ndarray, classes: ndarray, **settings: Any) -> Any:
    """scikit-learn's logistic regression, fitted for at most 100 iterations, whether or not they suffice."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(max_iter=100, **settings).fit(codes, classes)


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


Predictor = Literal["gbt", "lightgbm", "forest"]


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
        classifier = classifier_of(predictor, seed=seed).fit(
            codes[:num_train], factors[:num_train, k]
        )
        gains = np.abs(classifier.feature_importances_)
        importances[:, k] = gains / max(gains.sum(), np.finfo(float).tiny)
        predictions[:, k] = classifier.predict(codes[num_train:])
    return importances, predictions


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
        raise ImportError(
            'predictor="lightgbm" needs LightGBM: pip install "ppl-disentangle[fast-metrics]"'
        ) from error
    size = {"n_estimators": 100, "max_depth": 3, "num_leaves": 8, "learning_rate": 0.1}
    size |= {"min_child_samples": 1, "min_data_in_bin": 1}  # as in scikit-learn's trees
    return LGBMClassifier(**size, importance_type="gain", random_state=seed, n_jobs=1, verbose=-1)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, n_jobs=1)


_CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "gbt": _gbt,
    "lightgbm": _lightgbm,
    "forest": _forest,
}
