"""Labels of some of the data, some of them wrong: semi-supervision for any data with factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import Labels, random_subset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.randomness import uniform_index
from ppl_disentangle.data.sampled.lookup import lookup, positions

__all__ = ["partial_labels"]


def partial_labels(
    data: Any,
    factors: Sequence[str] | None = None,
    *,
    fraction: float = 1.0,
    wrong: float = 0.0,
    numbers: bool = False,
    seed: int = 0,
) -> Labels:
    """Classes of the named factors as labels for some of the data, some of them wrong.

    Give them to a story by ``with_conditions(data, labels=partial_labels(data, …).values)``. For
    the node values of a causal data set, use :meth:`~ppl_disentangle.data.CausalDataset.labels`
    instead. As in [1], a wrong label is a uniform other class.

    Args:
        data: Grid, or other data with factors.
        factors: Names of the labelled factors, in the order of the columns; by default all.
        fraction: Share of the data whose labels are known. For one seed, a larger share contains a
            smaller one.
        wrong: Probability that a label is wrong, independently for each datum and factor.
        numbers: Whether the labels of continuous factors are their numbers; by default they are the
            classes of their intervals. A wrong number is the median of another interval.
        seed: Seed of the choice of the data and of the wrong labels.

    Returns:
        ``values``, float32 of shape ``(len(data), len(factors))``: classes, NaN if not known;
        ``known``, bool ``(len(data),)``; ``mean`` 0 and ``scale`` 1, since classes are not
        standardised.

    Raises:
        KeyError: A name is not a factor.
        ValueError: ``fraction`` or ``wrong`` is out of [0, 1], or a factor with only one class is
            to have wrong labels.

    References:
        [1] Locatello et al., 2020. Disentangling factors of variation using few labels.
        https://arxiv.org/abs/1905.01258

    Example:
        >>> from ppl_disentangle.data import digits
        >>> values, known, *_ = partial_labels(digits(), fraction=0.1)
        >>> known.sum(), values.isnan().sum()
        (tensor(180), tensor(1617))
    """
    data = as_dataset(data)
    if not 0 <= fraction <= 1 or not 0 <= wrong <= 1:
        raise ValueError(f"expected fraction and wrong in [0, 1], got {fraction} and {wrong}")
    chosen = positions(data, factors, varying=wrong > 0 and factors is not None)
    generator = torch.Generator().manual_seed(seed)
    known = random_subset(len(data), fraction, generator)
    everything = torch.arange(len(data))
    classes = lookup(data).classes(everything)[:, chosen]
    labels = classes.float()
    for column, k in enumerate(chosen):
        right = classes[:, column]
        given = _some_wrong(right, data.space[k].size, wrong, generator)
        labels[:, column] = given
        if numbers and data.space[k].kind == "continuous":
            medians = torch.tensor(data.space[k].values, dtype=torch.float64)
            truth = data.factor_numbers(everything)[:, k]
            labels[:, column] = torch.where(given == right, truth, medians[given]).float()
    values = labels.masked_fill(~known[:, None], math.nan)
    return Labels(values, known, torch.zeros(len(chosen)), torch.ones(len(chosen)))


def _some_wrong(
    classes: Tensor, num_classes: int, probability: float, generator: torch.Generator
) -> Tensor:
    """The classes, each replaced by a uniform other class with a given probability."""
    is_wrong = torch.rand(len(classes), generator=generator) < probability
    step = 1 + uniform_index(max(1, num_classes - 1), len(classes), generator)
    return (classes + step * is_wrong) % num_classes
