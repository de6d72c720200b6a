"""Labels of some of the data, some of them wrong: semi-supervision for any data with factors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.causal.dataset import Labels
from ppl_disentangle.data.randomness import uniform_index
from ppl_disentangle.data.sampled.lookup import lookup, positions

__all__ = ["partial_labels"]


def partial_labels(
    data: FactorDataset,
    factors: Sequence[str] | None = None,
    *,
    fraction: float = 1.0,
    wrong: float = 0.0,
    seed: int = 0,
) -> Labels:
    """Classes of the named factors as labels to learn from, of some of the data, some of them wrong.

    What :meth:`~ppl_disentangle.data.CausalDataset.labels` is for the numbers of a causal data set, for the classes of
    any: give them to a story by ``with_conditions(data, labels=partial_labels(data, …).values)``. With noise as in [1],
    a wrong label is another class, uniformly.

    Args:
        data: a grid or any data with factors.
        factors: names of the labelled factors, in the order of the columns; by default all.
        fraction: share of the data whose labels are known. For one seed, a larger share contains a smaller one.
        wrong: probability that a label is wrong, independently for each datum and factor.
        seed: of the choice of the data and of the noise.

    Returns:
        ``values``, float32 of shape ``(len(data), len(factors))``: classes, NaN where not known; ``known``, bool
        ``(len(data),)``; ``mean`` 0 and ``scale`` 1, since classes are not standardised.

    Raises:
        KeyError: no such factor.
        ValueError: a share or a probability out of [0, 1], or wrong labels of a factor that has one class.

    References:
        [1] Locatello et al., 2020. Disentangling factors of variation using few labels.
        https://arxiv.org/abs/1905.01258

    Example:
        >>> from ppl_disentangle.data import digits
        >>> values, known, *_ = partial_labels(digits(), fraction=0.1)
        >>> known.sum(), values.isnan().sum()
        (tensor(180), tensor(1617))
    """
    if not 0 <= fraction <= 1 or not 0 <= wrong <= 1:
        raise ValueError(f"expected fraction and wrong in [0, 1], got {fraction} and {wrong}")
    chosen = positions(data, factors, varying=wrong > 0 and factors is not None)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    known = torch.zeros(len(data), dtype=torch.bool)
    known[order[: round(fraction * len(data))]] = True
    classes = lookup(data).classes(torch.arange(len(data)))[:, chosen]
    for column, k in enumerate(chosen):
        size = data.space[k].size
        flipped = torch.rand(len(data), generator=generator) < wrong
        step = 1 + uniform_index(max(1, size - 1), len(data), generator)
        classes[:, column] = (classes[:, column] + step * flipped) % size
    values = classes.float().masked_fill(~known[:, None], math.nan)
    return Labels(values, known, torch.zeros(len(chosen)), torch.ones(len(chosen)))
