"""Draws under interventions on the ground-truth factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset, numbers_or_classes
from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.conditioned import with_conditions
from ppl_disentangle.data.sampled.lookup import allowed_classes, lookup, positions
from ppl_disentangle.data.sampled.tuples import checked_num

__all__ = ["interventional"]

Value: TypeAlias = "float | str"
Regime: TypeAlias = "Mapping[str, Value | list[Value] | None]"


def interventional(
    data: Any,
    do: Regime | Sequence[Regime],
    *,
    among: FactorDataset | None = None,
    num: int | None = None,
    seed: int | torch.Generator = 0,
    conditions: bool = False,
) -> FactorDataset:
    r"""Draws from ``data`` after an intervention on some of the ground-truth factors.

    .. math:: i \sim U(\text{data}), \quad r \sim U(\text{regimes}), \quad c = c_i \text{ with } c_k := d_{rk}
       \text{ for the factors } k \text{ set in } r

    If factors do not cause each other, this is :math:`p(x \mid do(c_k := d_{rk}))`: the other
    factors keep their joint distribution, correlated or not. In a :class:`CausalDataset`, the
    descendants of a set node change by the mechanisms, with the noise of the unit.

    Args:
        data: Grid, causal data set, or other data with factors.
        do: Value of each set factor, a list of values, or ``None`` for all values; from several
            values, one is drawn uniformly for each datum. A list of such mappings gives several
            regimes, one of which is drawn uniformly for each datum; ``{}`` is the regime without
            intervention.
        among: Data set that contains the changed data, such as the full grid if ``data`` is a
            correlated subset; by default ``data``. A causal data set computes the changed data
            instead.
        num: Number of draws; by default the number of data.
        seed: Seed of the random draws, or a generator.
        conditions: Whether the data come with the interventions, which ``fit`` passes to model and
            guide as ``interventions``, of shape ``(batch, len(data.space))``: the class to which a
            factor was set, or the value of a node of a causal data set; NaN where nothing was set.
            By default they come without.

    Raises:
        KeyError: A name is not a factor.
        ValueError: A value does not exist, ``do`` has no regimes, or no datum has the changed
            factors.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = interventional(Sprites(), [{}, {"shape": "heart"}], num=1000, conditions=True)
        >>> set_to = data.conditions(torch.arange(1000))["interventions"][:, 0]
        >>> set_to.nan_to_num(-1).unique()
        tensor([-1.,  2.])
    """
    data = as_dataset(data)
    regimes = [do] if isinstance(do, Mapping) else list(do)
    if not regimes:
        raise ValueError("expected at least one regime, got none")
    generator = as_generator(seed)
    index = uniform_index(len(data), checked_num(data, num), generator)
    settings = _draw_settings(data, regimes, len(index), generator)
    changed: FactorDataset
    if isinstance(data, CausalDataset):
        changed = _IntervenedUnits(data, index, settings)
    else:
        changed = _find_changed(data, index, settings, data if among is None else among, generator)
    return (
        with_conditions(changed, interventions=settings, columns=data.factor_names)
        if conditions
        else changed
    )


def _draw_settings(
    data: FactorDataset, regimes: Sequence[Regime], num: int, generator: torch.Generator
) -> Tensor:
    """Value to which each factor of each datum is set, NaN if it is not set: ``(num, factors)``."""
    regime = uniform_index(len(regimes), num, generator)
    settings = torch.full((num, len(data.space)), math.nan)
    for r, values in enumerate(regimes):
        rows = (regime == r).nonzero()[:, 0]
        factors = positions(data, list(values)) if values else []
        for k, wanted in zip(factors, values.values(), strict=True):
            levels = _levels(data, k, wanted)
            settings[rows, k] = levels[uniform_index(len(levels), len(rows), generator)]
    return settings


def _find_changed(
    data: FactorDataset,
    index: Tensor,
    settings: Tensor,
    source: FactorDataset,
    generator: torch.Generator,
) -> FactorDataset:
    """Data of ``source`` with the classes of the data at ``index`` after the intervention."""
    if source.space != data.space:
        raise ValueError(
            f"expected among with the factors of data, got the factors of {source.name!r}"
        )
    set_classes = settings.nan_to_num().long()
    classes = torch.where(settings.isnan(), data.factors(index), set_classes)
    return source.subset(lookup(source).find(range(len(data.space)), classes, generator))


def _levels(data: FactorDataset, k: int, wanted: Value | list[Value] | None) -> Tensor:
    """Classes, or values of a node, to which factor k may be set."""
    factor = data.space[k]
    if isinstance(data, CausalDataset):
        return _node_values(factor, wanted)
    if wanted is None:
        return torch.arange(factor.size).float()
    return allowed_classes(factor, wanted).nonzero()[:, 0].float()


def _node_values(node: Factor, wanted: Value | list[Value] | None) -> Tensor:
    """Values to which a node of a causal data set may be set."""
    if wanted is None:
        values = list(node.values)
    else:
        values = wanted if isinstance(wanted, list) else [wanted]
    if not values or not all(isinstance(value, int | float) for value in values):
        expected = f"a number, numbers in a list, or None for node {node.name!r}"
        raise ValueError(f"expected {expected}, got {wanted!r}")
    return torch.tensor(values, dtype=torch.float32)


class _IntervenedUnits(FactorDataset):
    """Units of a causal data set after an intervention.

    Args:
        data: Causal data set.
        index: Indices of the units in ``data``, ``(num,)``.
        settings: Value to which each node is set, NaN if it is not set: ``(num, nodes)``.
    """

    def __init__(self, data: CausalDataset, index: Tensor, settings: Tensor) -> None:
        self.data = data
        self.name = data.name
        self.space = data.space
        self.observation_shape = data.observation_shape
        self.maximum = data.maximum
        self._kind = data.kind
        self.columns = data.columns
        values = data.intervene(index, dict(zip(data.names, settings.unbind(-1), strict=True)))
        is_unchanged = values == data.values[index]
        classes = torch.where(is_unchanged, data.factors(index), _nearest(self.space, values))
        self._values = DeviceCopies(values)
        self._classes = DeviceCopies(classes)
        self._units = DeviceCopies(index)
        self._len = len(index)

    def __len__(self) -> int:
        return self._len

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self.data.render_values(self._values.on(index.device)[index])

    def factors(self, index: Tensor) -> Tensor:
        """Class of each node value ``(len(index), nodes)``.

        A value that did not change keeps its class; a new value has the class of the nearest value.
        """
        return self._classes.on(index.device)[index]

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Values of continuous nodes, classes of others, float64 ``(len(index), nodes)``."""
        return numbers_or_classes(
            self.space, self._values.on(index.device)[index], self.factors(index)
        )

    def rows(self, index: Tensor) -> Tensor:
        """Row of each unit in the user's own data, int64 ``(len(index),)``."""
        return self.data.rows(self._units.on(index.device)[index])

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Name of the row of each unit, ``(len(index),)``."""
        return self.data.row_labels(self._units.on(index.device)[index])


def _nearest(space: Sequence[Factor], values: Tensor) -> Tensor:
    """Class of the nearest value of each factor, ``(num, factors)``."""
    classes = []
    for factor, column in zip(space, values.unbind(-1), strict=True):
        levels = torch.tensor([float(value) for value in factor.values])
        midpoints = (levels[1:] + levels[:-1]) / 2
        classes.append(torch.bucketize(column.contiguous(), midpoints))
    return torch.stack(classes, -1)
