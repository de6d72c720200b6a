"""Interventional regimes: data as they are once some of their ground-truth factors are set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset
from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.conditioned import with_conditions
from ppl_disentangle.data.sampled.lookup import allowed_classes, lookup, positions
from ppl_disentangle.data.sampled.tuples import checked_num

__all__ = ["interventional"]


def interventional(
    data: FactorDataset,
    do: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    among: FactorDataset | None = None,
    num: int | None = None,
    seed: int | torch.Generator = 0,
    conditions: bool = False,
) -> FactorDataset:
    r"""Draws from ``data`` after some of their ground-truth factors have been set.

    .. math:: i \sim U(\text{data}), \quad r \sim U(\text{regimes}), \quad c = c_i \text{ with } c_k := d_{rk}
       \text{ for the factors } k \text{ set in } r

    Where factors do not cause each other, this is :math:`p(x \mid do(c_k := d_{rk}))`: the other factors keep their
    distribution, whatever it is, correlated or not. Of a :class:`CausalDataset`, what follows from a node that is set
    follows, with the units' own noise and mechanisms.

    Args:
        data: a grid, a causal data set, or any data with factors.
        do: for each factor that is set its value, or a list of values or ``None`` for all values, one of which is drawn
            uniformly for each datum. Of several regimes, one is drawn uniformly for each datum; ``{}`` observes.
        among: where the changed datum is looked up, such as the grid of which ``data`` are a correlated part; by
            default in ``data``. Not for a causal data set, which draws what it needs.
        num: number of draws; by default as many as there are data.
        seed: of the draws, or a generator.
        conditions: Whether the data come with the interventions, which ``fit`` passes to model and guide as
            ``interventions``, of shape ``(batch, len(data.space))``: the class to which a factor was set, or the value
            of a node of a causal data set; NaN where nothing was set. By default they come without.

    Raises:
        KeyError: no such factor.
        ValueError: no such value, no regime, or a combination without a datum.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = interventional(Sprites(), [{}, {"shape": "heart"}], num=1000, conditions=True)
        >>> set_to = data.conditions(torch.arange(1000))["interventions"][:, 0]
        >>> set_to.nan_to_num(-1).unique()
        tensor([-1.,  2.])
    """
    regimes = [do] if isinstance(do, Mapping) else list(do)
    if not regimes:
        raise ValueError("expected at least one regime, got none")
    generator, num = as_generator(seed), checked_num(data, num)
    index, regime = (
        uniform_index(len(data), num, generator),
        uniform_index(len(regimes), num, generator),
    )
    values = torch.full((num, len(data.space)), math.nan)
    for r, setting in enumerate(regimes):
        rows = (regime == r).nonzero()[:, 0]
        for k, (_, wanted) in zip(
            positions(data, list(setting)) if setting else (), setting.items(), strict=True
        ):
            levels = _levels(data, k, wanted)
            values[rows, k] = levels[uniform_index(len(levels), len(rows), generator)]
    if isinstance(data, CausalDataset):
        changed: FactorDataset = _Intervened(data, index, values)
    else:
        source = data if among is None else among
        if source.space != data.space:
            raise ValueError(
                f"expected among with the factors of data, got those of {source.name!r}"
            )
        classes = torch.where(values.isnan(), data.factors(index), values.nan_to_num().long())
        changed = source.subset(lookup(source).find(range(len(data.space)), classes, generator))
    return with_conditions(changed, interventions=values) if conditions else changed


def _levels(data: FactorDataset, k: int, wanted: Any) -> Tensor:
    """What factor k may be set to: classes, or the values of a node."""
    factor = data.space[k]
    if isinstance(data, CausalDataset):
        values = (
            factor.values if wanted is None else wanted if isinstance(wanted, list) else [wanted]
        )
        if not values or not all(isinstance(value, int | float) for value in values):
            raise ValueError(
                f"expected a number, numbers in a list, or None for node {factor.name!r}, got {wanted!r}"
            )
        return torch.tensor(values, dtype=torch.float32)
    if wanted is None:
        return torch.arange(factor.size).float()
    return allowed_classes(factor, wanted).nonzero()[:, 0].float()


class _Intervened(FactorDataset):
    """Units of a causal data set, as they would have been."""

    def __init__(self, data: CausalDataset, index: Tensor, values: Tensor) -> None:
        self.data, self._len = data, len(index)
        self.name, self.space = data.name, data.space
        self.observation_shape, self.maximum = data.observation_shape, data.maximum
        changed = data.intervene(index, dict(zip(data.names, values.unbind(-1), strict=True)))
        nearest = [
            _nearest(factor, column)
            for factor, column in zip(self.space, changed.unbind(-1), strict=True)
        ]
        classes = torch.where(
            changed == data.values[index], data.factors(index), torch.stack(nearest, -1)
        )
        self._values, self._classes = DeviceCopies(changed), DeviceCopies(classes)

    def __len__(self) -> int:
        return self._len

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self.data.render_values(self._values.on(index.device)[index])

    def factors(self, index: Tensor) -> Tensor:
        """A unit's own classes where its values stay, else those of the nearest value; ``(len(index), nodes)``."""
        return self._classes.on(index.device)[index]


def _nearest(factor: Factor, column: Tensor) -> Tensor:
    """The class of the nearest value, ``(num,)``."""
    levels = torch.tensor([float(v) for v in factor.values])
    return torch.bucketize(column.contiguous(), (levels[1:] + levels[:-1]) / 2)
