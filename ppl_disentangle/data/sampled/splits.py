"""Splits by combinations of factors: training never sees the combinations of the test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.randomness import as_generator
from ppl_disentangle.data.sampled.lookup import (
    Condition,
    allowed_classes,
    codes,
    lookup,
    positions,
)

__all__ = ["split_combinations", "split_where"]


def split_combinations(
    data: Any,
    factors: Sequence[str] | None = None,
    *,
    fraction: float = 0.2,
    seed: int = 0,
) -> tuple[FactorDataset, FactorDataset]:
    """Training and test set without common combinations of the named factors.

    Whole combinations are held out at random. Each single value stays in the training set, so only
    the combinations are new in the test set.

    Args:
        data: Grid, or other data with factors.
        factors: Names of the factors whose combinations are split; by default all. With ``["shape",
            "scale"]``, the test set has some shapes in sizes that training lacks, at any position.
        fraction: Share of the combinations that is held out, between 0 and 1.
        seed: Seed of the choice.

    Raises:
        KeyError: A name is not a factor.
        ValueError: No combination is held out, or too many for every value to stay in the training
            set.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> training, test = split_combinations(Sprites(), ["shape", "scale"], fraction=1 / 6)
        >>> len(training), len(test)
        (614400, 122880)
    """
    data = as_dataset(data)
    if not 0 < fraction < 1:
        raise ValueError(f"expected 0 < fraction < 1, got {fraction}")
    chosen = positions(data, factors)
    combinations, which = _combinations(data, chosen)
    order = torch.randperm(len(combinations), generator=as_generator(seed))
    # The first combination with each value, in the random order, stays in the training set.
    free = order[~_first_of_each_class(combinations[order])]
    num = round(fraction * len(combinations))
    if not 0 < num <= len(free):
        names = [data.factor_names[k] for k in chosen]
        raise ValueError(
            f"cannot hold out {num} of {len(combinations)} combinations: between 1 and {len(free)} "
            f"leave each value of {names} in the training set"
        )
    held_out = torch.zeros(len(combinations), dtype=torch.bool)
    held_out[free[:num]] = True
    return _divide(data, held_out[which])


def _combinations(data: FactorDataset, factors: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Combinations of classes that occur, ``(num, factors)``, and the position of each datum's."""
    rows = lookup(data).classes(torch.arange(len(data)))[:, factors]
    row_codes = codes(rows, [data.space[k].size for k in factors])
    present, which = row_codes.unique(return_inverse=True)
    combinations = rows.new_empty(len(present), len(factors))
    combinations[which] = rows
    return combinations, which


def split_where(
    data: Any, where: Mapping[str, Condition] | Sequence[Mapping[str, Condition]]
) -> tuple[FactorDataset, FactorDataset]:
    """Training set, and a test set with all data that meet conditions on their factors.

    - Extrapolation: ``{"scale": (0.8, 1.0)}`` holds out all large objects; training never sees
      these values.
    - Recombination [1]: ``{"shape": "heart", "x": (0.5, 1.0)}`` holds out hearts on the right;
      training sees hearts and positions on the right, but never together.
    - Named combinations: ``[{"shape": "heart", "scale": 0.5}, {"shape": "square", "scale": 1.0}]``.

    Args:
        data: Grid, or other data with factors.
        where: Value, list of values, or range as a tuple ``(low, high)`` with both ends included,
            for each named factor. A datum is held out if it meets all conditions of the mapping.
            From a list of mappings, it has to meet one.

    Raises:
        KeyError: A name is not a factor.
        ValueError: A value does not exist, or training or test set would be empty.

    References:
        [1] Montero et al., 2021. The role of disentanglement in generalisation.
        https://openreview.net/forum?id=qbH974jKUVy

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> training, test = split_where(Sprites(), {"shape": "heart", "x": (0.5, 1.0)})
        >>> len(training), len(test)
        (614400, 122880)
    """
    data = as_dataset(data)
    cases = [where] if isinstance(where, Mapping) else list(where)
    if not cases or not all(cases):
        raise ValueError(f"expected conditions on factors, got {where!r}")
    classes = lookup(data).classes(torch.arange(len(data)))
    held_out = torch.zeros(len(data), dtype=torch.bool)
    for case in cases:
        held_out |= _meets(data, classes, case)
    num = int(held_out.sum())
    if not 0 < num < len(data):
        raise ValueError(f"{num} of {len(data)} data meet {where!r}; expected some, and not all")
    return _divide(data, held_out)


def _meets(data: FactorDataset, classes: Tensor, case: Mapping[str, Condition]) -> Tensor:
    """Whether each datum meets all conditions, bool ``(num,)``."""
    meets = torch.ones(len(classes), dtype=torch.bool)
    factors = positions(data, list(case))
    for k, condition in zip(factors, case.values(), strict=True):
        meets &= allowed_classes(data.space[k], condition)[classes[:, k]]
    return meets


def _first_of_each_class(combinations: Tensor) -> Tensor:
    """Whether a row is the first with one of its classes, bool ``(num,)``."""
    first = torch.zeros(len(combinations), dtype=torch.bool)
    for column in combinations.unbind(-1):
        order = column.argsort(stable=True)
        ranked = column[order]
        is_new = torch.cat([ranked.new_ones(1), ranked.diff()]) > 0
        first[order[is_new]] = True
    return first


def _divide(data: FactorDataset, held_out: Tensor) -> tuple[FactorDataset, FactorDataset]:
    """Training and held-out data."""
    return data.subset((~held_out).nonzero()[:, 0]), data.subset(held_out.nonzero()[:, 0])
