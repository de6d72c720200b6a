"""Counterfactual metrics: soundness axioms, minimality, and errors against a known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array

__all__ = [
    "average_effect_error",
    "composition",
    "counterfactual_error",
    "effectiveness",
    "mean_absolute",
    "minimality",
    "reversibility",
]

Distance = Callable[[ndarray, ndarray], ndarray]


def mean_absolute(first: ndarray, second: ndarray) -> ndarray:
    """Mean absolute difference of each unit, ``(num,)``."""
    return np.abs(first - second).reshape(len(first), -1).mean(1)


def composition(x: ArrayLike, unchanged: ArrayLike, *, distance: Distance = mean_absolute) -> float:
    r"""Mean distance of units from themselves after an intervention without effect; 0 is perfect.

    .. math:: \frac{1}{N} \sum_u d\big(x_u, f_\varnothing(x_u)\big)

    where :math:`f_\varnothing` is the counterfactual without an action, or with the action that
    sets a node to its factual value, applied once or repeatedly [1].

    Args:
        x: Observations of shape ``(num, …)``.
        unchanged: Observations after the intervention, of the same shape.
        distance: Distance :math:`d`, a function of two arrays ``(num, …)`` to ``(num,)``. By
            default the mean absolute difference.

    References:
        [1] Monteiro et al., 2023. Measuring axiomatic soundness of counterfactual image models.
            https://arxiv.org/abs/2303.01274
    """
    return float(distance(*_same_shape(x, unchanged)).mean())


def reversibility(
    x: ArrayLike, returned: ArrayLike, *, distance: Distance = mean_absolute
) -> float:
    r"""Mean distance of units from themselves after an intervention and its inverse; 0 is perfect.

    .. math:: \frac{1}{N} \sum_u d\Big(x_u, f_{v_u}\big(f_{v'_u}(x_u)\big)\Big)

    where :math:`f_{v'}` sets nodes to new values, and :math:`f_v` sets the nodes of the resulting
    image back to their old values. Both may be repeated [1].

    Args:
        x: Observations of shape ``(num, …)``.
        returned: Observations after both interventions, of the same shape.
        distance: Distance :math:`d`; see :func:`composition`.

    References:
        [1] Monteiro et al., 2023. https://arxiv.org/abs/2303.01274
    """
    return composition(x, returned, distance=distance)


def effectiveness(intended: ArrayLike, measured: ArrayLike, *, classes: bool = False) -> float:
    r"""Agreement of counterfactual images with the value that a node was set to [1].

    For numbers this is the mean absolute difference (0 is perfect), for classes the share of units
    that agree (1 is perfect).

    Args:
        intended: Value that the node was set to in each unit, of shape ``(num, …)``.
        measured: Value of the node in the counterfactual image, according to a predictor or to the
            program that computed the node for the data.
        classes: Whether the values are class numbers.

    References:
        [1] Monteiro et al., 2023. https://arxiv.org/abs/2303.01274
    """
    target, value = _same_shape(intended, measured)
    if classes:
        return float((target == value).mean())
    return float(np.abs(target - value).mean())


def minimality(
    features: ArrayLike,
    counterfactual_features: ArrayLike,
    classes: ArrayLike,
    counterfactual_classes: ArrayLike,
    *,
    weights: tuple[float, float] = (0.8, 0.2),
    distance: Distance = mean_absolute,
) -> float:
    r"""Distance of counterfactuals from their units, relative to other units; less is better.

    .. math:: \frac{1}{N} \sum_u \log\big(w_1 e^{P(S'_u \le d_u)} + w_2 e^{P(S_u \ge d_u)}\big)

    where :math:`d_u` is the distance of unit :math:`u` from its counterfactual, :math:`S'_u` its
    distances from the units of the counterfactual's class, and :math:`S_u` its distances from the
    units of its class, itself included [1].

    Range: 0 to 1. Units whose new class has no member are left out.

    Args:
        features: Embedding of the units, of shape ``(num, dim)``.
        counterfactual_features: Embedding of their counterfactuals, of the same shape.
        classes: Class of each unit in the node that was set, of shape ``(num,)``. Put continuous
            nodes into bins.
        counterfactual_classes: Class that the node was set to, of shape ``(num,)``.
        weights: Weights :math:`w_1, w_2`, which sum to 1.
        distance: Distance of embeddings; see :func:`composition`.

    References:
        [1] Melistas et al., 2024. Benchmarking counterfactual image generation; weights and
            distance as in its code. https://arxiv.org/abs/2403.20287
    """
    units, counterfactuals = _same_shape(features, counterfactual_features)
    old, new = _same_shape(classes, counterfactual_classes)
    if len(units) != len(old):
        raise ValueError(f"expected a class for each unit, got {len(old)} for {len(units)} units")
    moved = distance(counterfactuals, units)
    scores = []
    for u, unit in enumerate(units):
        distances = distance(units, np.broadcast_to(unit, units.shape))
        in_new_class = distances[old == new[u]]
        in_old_class = distances[old == old[u]]
        if in_new_class.size:
            closer = (in_new_class <= moved[u]).mean()
            farther = (in_old_class >= moved[u]).mean()
            scores.append(np.log(weights[0] * np.exp(closer) + weights[1] * np.exp(farther)))
    if not scores:
        raise ValueError("no unit is of any of the classes that were set")
    return float(np.mean(scores))


def counterfactual_error(
    truth: ArrayLike, estimate: ArrayLike, *, factual: ArrayLike, resampled: ArrayLike | None = None
) -> dict[str, float]:
    """Root mean squared error of counterfactuals, beside the errors of two trivial estimates.

    Args:
        truth: True counterfactual values or images, of shape ``(num, …)``.
        estimate: Counterfactuals by the model, of the same shape.
        factual: Factual values or images of the units, of the same shape: the estimate that does
            nothing.
        resampled: Units that were sampled from the intervened model, without the noise of the
            actual units. By default this estimate is left out.

    Returns:
        The errors ``model``, ``do_nothing`` and, with ``resampled``, ``resample``.
    """
    estimates = {"model": estimate, "do_nothing": factual}
    if resampled is not None:
        estimates["resample"] = resampled
    pairs = {name: _same_shape(truth, values) for name, values in estimates.items()}
    return {name: float(np.sqrt(np.square(a - b).mean())) for name, (a, b) in pairs.items()}


def average_effect_error(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Absolute difference of the mean true and the mean estimated effect of units, ``(num,)``."""
    return float(abs(as_array(truth).mean() - as_array(estimate).mean()))


def _same_shape(first: ArrayLike, second: ArrayLike) -> tuple[ndarray, ndarray]:
    """Both as arrays, which must have one shape and finite values."""
    a = as_array(first)
    b = as_array(second)
    if a.shape != b.shape:
        raise ValueError(f"expected two arrays of one shape, got {a.shape} and {b.shape}")
    if not (a.size and np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("expected finite values, and at least one")
    return a, b
