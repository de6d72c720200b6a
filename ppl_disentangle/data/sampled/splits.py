"""Splits by combinations of factors, so that those of the test set are never seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.randomness import as_generator
from ppl_disentangle.data.sampled.lookup import allowed_classes, codes, lookup, positions

__all__ = ["split_combinations", "split_where"]


def split_combinations(
    data: FactorDataset,
    factors: Sequence[str] | None = None,
    *,
    fraction: float = 0.2,
    seed: int = 0,
) -> tuple[FactorDataset, FactorDataset]:
    """A training and a test set that share no combination of the named factors, while training has each single value.

    Whole combinations are held out at random. Each value that occurs in the data stays in the training set, hence what
    is new in the test set is the composition alone.

    Args:
        data: a grid or any data with factors.
        factors: names of those whose combinations count; by default all. With ``["shape", "scale"]``, the test set has
            some shapes in sizes in which they were never seen, wherever they are.
        fraction: share of the combinations that is held out, between 0 and 1.
        seed: of the choice.

    Raises:
        KeyError: no such factor.
        ValueError: nothing is held out, or too much for every value to stay in the training set.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> training, test = split_combinations(Sprites(), ["shape", "scale"], fraction=1 / 6)
        >>> len(training), len(test)
        (614400, 122880)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected 0 < fraction < 1, got {fraction}")
    chosen = positions(data, factors)
    rows = lookup(data).classes(torch.arange(len(data)))[:, chosen]
    present, which = codes(rows, [data.space[k].size for k in chosen]).unique(return_inverse=True)
    combinations = rows.new_empty(len(present), len(chosen))
    combinations[which] = rows
    num, order = (
        round(fraction * len(present)),
        torch.randperm(len(present), generator=as_generator(seed)),
    )
    free = order[~_first_of_each_class(combinations[order])]
    if not 0 < num <= len(free):
        raise ValueError(
            f"cannot hold out {num} of {len(present)} combinations: between 1 and {len(free)} leave each value of "
            f"{[data.factor_names[k] for k in chosen]} in the training set"
        )
    held_out = torch.zeros(len(present), dtype=torch.bool)
    held_out[free[:num]] = True
    return _divide(data, held_out[which])


def split_where(
    data: FactorDataset, where: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> tuple[FactorDataset, FactorDataset]:
    """A training set, and a test set with all data that meet the conditions on their factors.

    - Extrapolation: ``{"scale": (0.8, 1.0)}`` holds out all large ones; these values are never seen in training.
    - Recombination [1]: ``{"shape": "heart", "x": (0.5, 1.0)}`` holds out hearts on the right; both are seen, never
      together.
    - Named combinations: ``[{"shape": "heart", "scale": 0.5}, {"shape": "square", "scale": 1.0}]``.

    Args:
        data: a grid or any data with factors.
        where: for each named factor a value, a list of values, or a range as a tuple ``(low, high)``, both included;
            a datum is held out if it meets them all. Of several mappings, it has to meet one.

    Raises:
        KeyError: no such factor.
        ValueError: no such value, or an empty training or test set.

    References:
        [1] Montero et al., 2021. The role of disentanglement in generalisation.
        https://openreview.net/forum?id=qbH974jKUVy

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> training, test = split_where(Sprites(), {"shape": "heart", "x": (0.5, 1.0)})
        >>> len(training), len(test)
        (614400, 122880)
    """
    cases = [where] if isinstance(where, Mapping) else list(where)
    if not cases or not all(cases):
        raise ValueError(f"expected conditions on factors, got {where!r}")
    classes = lookup(data).classes(torch.arange(len(data)))
    held_out = torch.zeros(len(data), dtype=torch.bool)
    for case in cases:
        meets = torch.ones(len(data), dtype=torch.bool)
        for k, (_, condition) in zip(positions(data, list(case)), case.items(), strict=True):
            meets &= allowed_classes(data.space[k], condition)[classes[:, k]]
        held_out |= meets
    if not 0 < (num := int(held_out.sum())) < len(data):
        raise ValueError(f"{num} of {len(data)} data meet {where!r}; expected some, and not all")
    return _divide(data, held_out)


def _first_of_each_class(combinations: Tensor) -> Tensor:
    """Whether a row is the first with one of its classes, bool ``(num,)``."""
    first = torch.zeros(len(combinations), dtype=torch.bool)
    for column in combinations.unbind(-1):
        order = column.argsort(stable=True)
        ranked = column[order]
        first[order[torch.cat([ranked.new_ones(1), ranked.diff()]) > 0]] = True
    return first


def _divide(data: FactorDataset, held_out: Tensor) -> tuple[FactorDataset, FactorDataset]:
    return data.subset((~held_out).nonzero()[:, 0]), data.subset(held_out.nonzero()[:, 0])
