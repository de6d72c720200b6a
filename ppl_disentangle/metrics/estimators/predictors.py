"""Classifiers of a factor from codes, for what a downstream user or an auditor could read from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from ppl_disentangle.metrics.dci import classifier_of

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
