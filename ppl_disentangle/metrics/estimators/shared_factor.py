"""Classifiers that recognise the factor whose value a group of observations shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy import ndarray

from ppl_disentangle.metrics.estimators.grid_codes import ROWS_PER_CALL

__all__ = ["Classifier", "GroupSampler", "shared_factor_accuracies"]

Classifier = Callable[[ndarray], ndarray]
"""From features ``(num, …)`` to predicted factors ``(num,)``."""


class GroupSampler(Protocol):
    """A source of groups that share a factor's value: ``GridCodes`` or ``RowSampler``."""

    def sample_groups(
        self, num: int, num_groups: int, group_size: int, /
    ) -> tuple[ndarray, ndarray]:
        """Shared factors ``(num,)`` and codes ``(num, num_groups, group_size, num_codes)``."""


def shared_factor_accuracies(
    sampler: GroupSampler,
    features: Callable[[ndarray], ndarray],
    fit: Callable[[ndarray, ndarray], Classifier],
    *,
    num_train: int,
    num_eval: int,
    num_groups: int,
    group_size: int,
) -> tuple[float, float]:
    """Accuracy of a classifier of the shared factor, on its training points and on other points.

    Args:
        sampler: Source of the groups.
        features: Function from codes ``(num, num_groups, group_size, num_codes)`` to features
            ``(num, …)``.
        fit: Function from the features and shared factors of the training points to a classifier.
        num_train: Number of training points.
        num_eval: Number of points that score the classifier.
        num_groups: Groups in a point.
        group_size: Observations in a group.
    """

    def sample_points(num: int) -> tuple[ndarray, ndarray]:
        return _sample_points(sampler, features, num, num_groups, group_size)

    train_points, train_factors = sample_points(num_train)
    classify = fit(train_points, train_factors)
    eval_points, eval_factors = sample_points(num_eval)
    train_accuracy = np.mean(classify(train_points) == train_factors)
    eval_accuracy = np.mean(classify(eval_points) == eval_factors)
    return float(train_accuracy), float(eval_accuracy)


def _sample_points(
    sampler: GroupSampler,
    features: Callable[[ndarray], ndarray],
    num: int,
    num_groups: int,
    group_size: int,
) -> tuple[ndarray, ndarray]:
    """Features ``(num, …)`` and shared factors ``(num,)``."""
    # At most ROWS_PER_CALL observations are sampled at once.
    step = max(ROWS_PER_CALL // (num_groups * group_size), 1)
    points = []
    factors = []
    for start in range(0, num, step):
        shared, codes = sampler.sample_groups(min(step, num - start), num_groups, group_size)
        points.append(features(codes))
        factors.append(shared)
    return np.concatenate(points), np.concatenate(factors)
