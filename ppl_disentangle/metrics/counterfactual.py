"""Are counterfactuals sound? The axioms as distances, minimality, and errors against the truth where it is known."""

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
    r"""How far units move under an intervention that changes nothing; 0 is perfect.

    .. math:: \frac{1}{N} \sum_u d\big(x_u, f_\varnothing(x_u)\big)

    where :math:`f_\varnothing` is the counterfactual under no action, or under that of setting a node to its factual
    value, once or several times over [1].

    Args:
        x: observations ``(num, …)``.
        unchanged: what the null intervention made of them.
        distance: d, of two arrays ``(num, …)`` to ``(num,)``.

    References:
        [1] Monteiro et al., 2023. Measuring axiomatic soundness of counterfactual image models.
        https://arxiv.org/abs/2303.01274
    """
    return float(distance(*_alike(x, unchanged)).mean())


def reversibility(
    x: ArrayLike, returned: ArrayLike, *, distance: Distance = mean_absolute
) -> float:
    r"""How far units are from themselves after an intervention and the one that undoes it; 0 is perfect.

    .. math:: \frac{1}{N} \sum_u d\Big(x_u, f_{v_u}\big(f_{v'_u}(x_u)\big)\Big)

    where :math:`f_{v'}` sets nodes to new values and :math:`f_v` those of the image that came of it back to the old
    ones; once or several times over [1].

    Args:
        x: observations ``(num, …)``.
        returned: what both interventions made of them.
        distance: as in :func:`composition`.

    References:
        [1] Monteiro et al., 2023. https://arxiv.org/abs/2303.01274
    """
    return composition(x, returned, distance=distance)


def effectiveness(intended: ArrayLike, measured: ArrayLike, *, classes: bool = False) -> float:
    r"""Whether counterfactual images have the value that a node was set to, as something else than the model sees them.

    The mean absolute difference of both, 0 is perfect; for classes the share that agrees, 1 is perfect [1].

    Args:
        intended: what the node was set to in each unit, ``(num, …)``.
        measured: what a predictor, or the measure that the data were made with, reads off its counterfactual image.
        classes: whether these are class numbers.

    References:
        [1] Monteiro et al., 2023. https://arxiv.org/abs/2303.01274
    """
    target, found = _alike(intended, measured)
    return float((target == found).mean()) if classes else float(np.abs(target - found).mean())


def minimality(
    features: ArrayLike,
    counterfactual_features: ArrayLike,
    classes: ArrayLike,
    counterfactual_classes: ArrayLike,
    *,
    weights: tuple[float, float] = (0.8, 0.2),
    distance: Distance = mean_absolute,
) -> float:
    r"""Whether a counterfactual is nearer to its unit than others of its new class are; less is better.

    .. math:: \frac{1}{N} \sum_u \log\big(w_1 e^{P(S'_u \le d_u)} + w_2 e^{P(S_u \ge d_u)}\big)

    where :math:`d_u` is the distance of the unit's counterfactual to it, :math:`S'_u` the distances to it of the units
    that are of the counterfactual's class, and :math:`S_u` those of the units of its own class, itself among them [1].
    Range: 0 to 1. Units whose new class has no member are left out.

    Args:
        features: an embedding of the units, ``(num, dim)``.
        counterfactual_features: that of their counterfactuals.
        classes: the class of each unit in the node that was set, ``(num,)``; bins of it if it is continuous.
        counterfactual_classes: the class that it was set to.
        weights: :math:`w_1, w_2`, which sum to 1.
        distance: as in :func:`composition`.

    References:
        [1] Melistas et al., 2024. Benchmarking counterfactual image generation; weights and distance as in its code.
        https://arxiv.org/abs/2403.20287
    """
    (z, changed), (old, new) = (
        _alike(features, counterfactual_features),
        _alike(classes, counterfactual_classes),
    )
    if len(z) != len(old):
        raise ValueError(f"expected a class for each unit, got {len(old)} for {len(z)} units")
    moved, scores = distance(changed, z), []
    for u in range(len(z)):
        others = distance(z, np.broadcast_to(z[u], z.shape))
        target = others[old == new[u]]
        if target.size:
            farther, nearer = (
                (target <= moved[u]).mean(),
                (others[old == old[u]] >= moved[u]).mean(),
            )
            scores.append(np.log(weights[0] * np.exp(farther) + weights[1] * np.exp(nearer)))
    if not scores:
        raise ValueError("no unit is of any of the classes that were set")
    return float(np.mean(scores))


def counterfactual_error(
    truth: ArrayLike, estimate: ArrayLike, *, factual: ArrayLike, resampled: ArrayLike | None = None
) -> dict[str, float]:
    """Root mean squared error of counterfactuals, beside what it is worth: doing nothing, and drawing units anew.

    Args:
        truth: true counterfactual values or images, ``(num, …)``.
        estimate: those of the model.
        factual: the units as they were, of the same shape.
        resampled: units drawn from the intervened model, which have no noise of the unit's.

    Returns:
        ``model``, ``do_nothing`` and, if there are any, ``resample``.
    """
    rows = {"model": estimate, "do_nothing": factual} | (
        {} if resampled is None else {"resample": resampled}
    )
    pairs = {name: _alike(truth, row) for name, row in rows.items()}
    return {name: float(np.sqrt(np.square(a - b).mean())) for name, (a, b) in pairs.items()}


def average_effect_error(truth: ArrayLike, estimate: ArrayLike) -> float:
    """Absolute difference of the mean of true and of estimated effects of units, each ``(num,)``."""
    return float(abs(as_array(truth).mean() - as_array(estimate).mean()))


def _alike(first: ArrayLike, second: ArrayLike) -> tuple[ndarray, ndarray]:
    a, b = as_array(first), as_array(second)
    if a.shape != b.shape:
        raise ValueError(f"expected two arrays of one shape, got {a.shape} and {b.shape}")
    if not (a.size and np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("expected finite values, and at least one")
    return a, b
