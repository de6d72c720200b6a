"""Classifiers that predict a factor from codes, as a downstream user or an auditor would."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from ppl_disentangle.metrics.estimators.arrays import varying

__all__ = ["Predictor", "Probe", "classifier_of", "fit_logistic", "fit_probe", "fit_trees"]

Predictor = Literal["gbt", "lightgbm", "forest"]
Probe = Literal["linear", "gbt", "lightgbm", "forest"]


def fit_probe(
    probe: Probe, codes: ndarray, classes: ndarray, *, seed: int = 0, balanced: bool = False
) -> Callable[[ndarray], ndarray]:
    """Fit a classifier; return its function from codes ``(num, num_codes)`` to classes ``(num,)``.

    ``"linear"`` is a multinomial logistic regression of the standardised codes with scikit-learn's
    penalty (C = 1); the other classifiers are the trees of :func:`dci`. Classes that are absent
    from the rows are never predicted. If the rows have a single class, it is always predicted.

    Args:
        probe: Name of the classifier.
        codes: Codes of the training rows, of shape ``(num_data, num_codes)``.
        classes: Classes of the training rows, of shape ``(num_data,)``.
        seed: Seed of the trees.
        balanced: Whether to give every class the same total weight. By default every row has weight
            1.
    """
    present = np.unique(classes)
    classifier = _linear() if probe == "linear" else classifier_of(probe, seed=seed)
    if len(present) == 1:
        return lambda z: np.full(len(z), present[0])
    weights = {}
    if balanced:
        name = "logisticregression__sample_weight" if probe == "linear" else "sample_weight"
        weights[name] = _balanced_weights(classes)
    return classifier.fit(codes, classes, **weights).predict


def _balanced_weights(classes: ndarray) -> ndarray:
    """Weight of every row: classes have equal total weights, and the mean weight is 1."""
    present, counts = np.unique(classes, return_counts=True)
    return (1 / counts)[np.searchsorted(present, classes)] * len(classes) / len(present)


def fit_logistic(codes: ndarray, classes: ndarray, **settings: Any) -> Any:
    """Logistic regression of scikit-learn with at most 100 iterations, converged or not."""
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


def fit_trees(
    codes: ndarray, factors: ndarray, num_train: int, *, predictor: Predictor, seed: int
) -> tuple[ndarray, ndarray]:
    """Fit trees that predict each factor from all codes; return importances and predictions.

    Args:
        codes: Codes of all rows, training rows first, ``(num_data, num_codes)``.
        factors: Factor classes of all rows, ``(num_data, num_factors)``.
        num_train: Number of training rows.
        predictor: Kind of the trees.
        seed: Seed of the trees.

    Returns:
        Importances ``(num_codes, num_factors)``, which sum to 1 over the codes, and predicted
        classes of the test rows, ``(num_test, num_factors)``. For a factor with a single value in
        the training rows the importances are NaN and the prediction is that value.
    """
    varies = varying(factors[:num_train])
    importances = np.full((codes.shape[1], len(varies)), np.nan)
    predictions = np.repeat(factors[:1], len(factors) - num_train, axis=0)
    for k in np.flatnonzero(varies):
        classifier = classifier_of(predictor, seed=seed)
        classifier.fit(codes[:num_train], factors[:num_train, k])
        importances[:, k] = _shares(np.abs(classifier.feature_importances_))
        predictions[:, k] = classifier.predict(codes[num_train:])
    return importances, predictions


def _shares(gains: ndarray) -> ndarray:
    return gains / max(gains.sum(), np.finfo(float).tiny)


def classifier_of(predictor: Predictor, *, seed: int) -> Any:
    """A new scikit-learn classifier with ``feature_importances_``."""
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
    # The sizes of scikit-learn's trees.
    size = {"n_estimators": 100, "max_depth": 3, "num_leaves": 8, "learning_rate": 0.1}
    size |= {"min_child_samples": 1, "min_data_in_bin": 1}
    return LGBMClassifier(**size, importance_type="gain", random_state=seed, n_jobs=1, verbose=-1)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=seed, n_jobs=1)


_CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "gbt": _gbt,
    "lightgbm": _lightgbm,
    "forest": _forest,
}
