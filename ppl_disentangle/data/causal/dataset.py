"""The interface of causal data sets: a graph, the noise of each unit, and true counterfactuals."""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset, numbers_or_classes
from ppl_disentangle.data.binning import numbers_as_factor
from ppl_disentangle.data.indices import as_index
from ppl_disentangle.graphs import as_dag, parents, topological_order

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CausalDataset", "Graph", "Labels"]

Graph: TypeAlias = "nx.DiGraph | str | Path | np.ndarray | pd.DataFrame"
"""A graph in any form that :func:`~ppl_disentangle.graphs.as_dag` accepts."""

Intervention: TypeAlias = "Mapping[str, float | Tensor | np.ndarray]"

_CPU = torch.device("cpu")
_EVERYTHING = (-math.inf, math.inf)


class Labels(NamedTuple):
    """Labels of some of the data.

    Attributes:
        values: Label of each datum and node or factor, NaN for data whose labels are not known.
        known: Whether the labels of a datum are known, bool ``(len,)``.
        mean: Mean that was subtracted from each column.
        scale: Scale by which each column was divided.
    """

    values: Tensor
    known: Tensor
    mean: Tensor
    scale: Tensor


class CausalDataset(FactorDataset):
    r"""Units of a structural causal model, observed through a function of the node values alone.

    .. math:: z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \qquad x = g(z)

    The noise :math:`\varepsilon` of every unit is stored, so the counterfactuals of a unit are
    known: its noise goes through the same mechanisms f with some nodes set, and the result through
    the same g. Over all units, these are draws from the interventional distribution.

    The factors are the nodes. For metrics, the classes of a continuous node are 20 intervals with
    about as many units each, and the classes of another node its distinct values. The node values
    themselves are :attr:`values`.

    Implementing a causal data set: set the attributes that the mechanisms need, pass graph and
    noise to ``__init__``, and define :meth:`mechanism` and :meth:`render_values`.

    Args:
        graph: Causal graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` accepts.
        noise: Vector with the noise of each unit, for each node.
        name: Short name for tables and run folders.
        observation_shape: Shape of one observation.
        maximum: Stored value that stands for 1.
        ranges: Lowest and highest value to which a node can be set. A node that is not listed can
            be set to any finite value.

    Attributes:
        dag: Causal graph.
        names: Nodes, parents first, as in the columns of all tensors here; equal to
            :attr:`factor_names`.
    """

    def __init__(
        self,
        graph: Graph,
        noise: Mapping[str, Tensor],
        *,
        name: str,
        observation_shape: tuple[int, ...],
        maximum: float = 1,
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self.dag: nx.DiGraph = as_dag(graph)
        self.names = tuple(topological_order(self.dag))
        if set(noise) != set(self.names):
            raise ValueError(
                f"expected noise of the nodes {list(self.names)}, got noise of {sorted(noise)}"
            )
        self.name = name
        self.observation_shape = observation_shape
        self.maximum = maximum
        self.ranges = dict(ranges or {})
        columns = torch.stack([noise[node].float() for node in self.names], -1)  # (units, nodes)
        values = self.mechanisms(columns)
        self.space, classes = _factors(self.names, values)
        self._noise = DeviceCopies(columns)
        self._values = DeviceCopies(values)
        self._classes = DeviceCopies(classes)
        self._rows = DeviceCopies(torch.arange(len(values)))
        self._len = len(values)

    @abc.abstractmethod
    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """Values of a node ``(batch,)``.

        Args:
            node: Name of the node.
            noise: Noise of the node, ``(batch,)``.
            parent_values: Values of each parent, ``(batch,)``, in the order of the parents.
        """

    @abc.abstractmethod
    def render_values(self, values: Tensor) -> Tensor:
        """Stored observations of node values ``(batch, nodes)``.

        The values need not follow from each other by the mechanisms.
        """

    def __len__(self) -> int:
        return self._len

    @property
    def values(self) -> Tensor:
        """Node values of all units, float32 of shape ``(len, nodes)``, on the CPU."""
        return self._values.on(_CPU)

    @property
    def noise(self) -> Tensor:
        """Noise of all units, float32 of shape ``(len, nodes)``, on the CPU."""
        return self._noise.on(_CPU)

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self.render_values(self._values.on(index.device).index_select(0, index))

    def factors(self, index: Tensor) -> Tensor:
        """Classes of the node values, int64 of shape ``(len(index), nodes)``."""
        return self._classes.on(index.device).index_select(0, index)

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Values of continuous nodes, classes of others, float64 ``(len(index), nodes)``."""
        values = self._values.on(index.device).index_select(0, index).double()
        return numbers_or_classes(self.space, values, self.factors(index))

    def rows(self, index: Tensor) -> Tensor:
        """Rows in the data set of which these units were chosen, int64 ``(len(index),)``."""
        return self._rows.on(index.device).index_select(0, index)

    def mechanisms(self, noise: Tensor, do: Intervention | None = None) -> Tensor:
        """Node values ``(batch, nodes)`` that follow from the noise under do(node := value).

        Args:
            noise: Noise of each node, ``(batch, nodes)``.
            do: Number, or a value for each unit, by node. A unit with NaN is not intervened on. The
                default intervenes on nothing.

        Raises:
            KeyError: A name is not a node.
            ValueError: A value does not fit the batch or is out of the node's range.
        """
        do = do or {}
        settings = {node: self._setting(node, value, noise) for node, value in do.items()}
        values: dict[str, Tensor] = {}
        for node, column in zip(self.names, noise.unbind(-1), strict=True):
            # In doubles: in single precision, a batch and its units may differ in the last bit.
            parent_values = {p: values[p].double() for p in parents(self.dag, node)}
            natural = self.mechanism(node, column.double(), parent_values).to(noise.dtype)
            values[node] = _set_where_known(natural, settings.get(node))
        return torch.stack(list(values.values()), -1)

    def _setting(self, node: str, value: float | Tensor | np.ndarray, noise: Tensor) -> Tensor:
        """The value to which each unit's node is set, ``(batch,)``, after checking it."""
        if node not in self.names:
            close = get_close_matches(node, self.names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise KeyError(f"no node named {node!r}; the graph has {list(self.names)}{hint}")
        setting = torch.as_tensor(value, dtype=noise.dtype, device=noise.device)
        self._check_range(node, setting)
        try:
            return setting.expand(len(noise))
        except RuntimeError:
            shape = tuple(setting.shape)
            raise ValueError(
                f"do({node!r}): expected a number or {len(noise)} values, got shape {shape}"
            ) from None

    def _check_range(self, node: str, setting: Tensor) -> None:
        low, high = self.ranges.get(node, _EVERYTHING)
        outside = setting[setting.isinf() | (setting < low) | (setting > high)]
        if len(outside):
            expected = f"finite values in [{low:g}, {high:g}]"
            raise ValueError(f"do({node!r}): expected {expected}, got {outside[0].item():g}")

    def intervene(self, index: Tensor, do: Intervention) -> Tensor:
        """Node values ``(len(index), nodes)`` of the units at ``index`` under do(node := value).

        The units keep their noise and mechanisms; nodes that do not descend from a set node keep
        their values. See :meth:`mechanisms` for the form of interventions and the errors.
        """
        index = as_index(index, len(self), self.name)
        return self.mechanisms(self._noise.on(index.device).index_select(0, index), do)

    def counterfactual(self, index: Tensor, do: Intervention) -> tuple[Tensor, Tensor]:
        """Node values and stored observations of the units at ``index`` under do(node := value)."""
        values = self.intervene(index, do)
        return values, self.render_values(values)

    def units(self, index: Tensor) -> Self:
        """The units at ``index`` as a causal data set, with the classes of the whole data."""
        index = as_index(index, len(self), self.name, from_end=True)
        # A copy, since subclasses have other arguments; it has the mechanisms of this data set.
        chosen = copy.copy(self)
        chosen._noise = DeviceCopies(self.noise[index])
        chosen._values = DeviceCopies(self.values[index])
        chosen._classes = DeviceCopies(self.factors(index))
        chosen._rows = DeviceCopies(self.rows(index))
        chosen._len = len(index)
        return chosen

    def subset(self, index: Tensor) -> Self:
        """The units at ``index``, with their counterfactuals; the same as :meth:`units`."""
        return self.units(index)

    def labels(
        self,
        *,
        fraction: float = 1.0,
        noise: float = 0.0,
        seed: int = 0,
        scales: Mapping[str, tuple[float, float]] | None = None,
    ) -> Labels:
        """Standardised node values of some of the units, as labels to learn from.

        Args:
            fraction: Share of the units whose labels are known. For one seed, a larger share
                contains a smaller one.
            noise: Standard deviation of normal noise that is added to the standardised values.
            seed: Seed of the choice of the units and of the noise.
            scales: Mean and scale with which each node is standardised; by default mean and
                standard deviation over all units.

        Raises:
            ValueError: ``fraction`` is out of [0, 1], or ``scales`` does not list exactly the
                nodes.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"expected 0 <= fraction <= 1, got {fraction}")
        mean, scale = self._mean_and_scale(scales)
        generator = torch.Generator().manual_seed(seed)
        known = random_subset(len(self), fraction, generator)
        errors = noise * torch.randn(self.values.shape, generator=generator)
        values = (self.values - mean) / scale + errors
        return Labels(values.masked_fill(~known[:, None], math.nan), known, mean, scale)

    def _mean_and_scale(
        self, scales: Mapping[str, tuple[float, float]] | None
    ) -> tuple[Tensor, Tensor]:
        """Mean and scale of each node, ``(nodes,)``; the scale of a constant node is 1."""
        if scales is None:
            mean = self.values.mean(0)
            scale = self.values.std(0, correction=0)
        elif set(scales) == set(self.names):
            columns = self.values.new_tensor([scales[node] for node in self.names])
            mean, scale = columns.unbind(-1)
        else:
            raise ValueError(
                f"expected scales of the nodes {list(self.names)}, got scales of {sorted(scales)}"
            )
        return mean, torch.where(scale > 0, scale, 1)


def _set_where_known(natural: Tensor, setting: Tensor | None) -> Tensor:
    """The setting of each unit, or its natural value if the setting is NaN or missing."""
    return natural if setting is None else torch.where(setting.isnan(), natural, setting)


def random_subset(num: int, fraction: float, generator: torch.Generator) -> Tensor:
    """A random subset of ``num`` data, bool ``(num,)``; a larger share contains a smaller one."""
    order = torch.randperm(num, generator=generator)
    chosen = torch.zeros(num, dtype=torch.bool)
    chosen[order[: round(fraction * num)]] = True
    return chosen


def _factors(names: Sequence[str], values: Tensor) -> tuple[tuple[Factor, ...], Tensor]:
    """A factor for each column of ``values``, and the classes ``(units, nodes)``."""
    factors = []
    classes = []
    for name, column in zip(names, values.unbind(-1), strict=True):
        continuous, levels, classes_of_column = numbers_as_factor(column.contiguous().numpy())
        factors.append(Factor(name, levels, "continuous" if continuous else "ordinal"))
        classes.append(torch.from_numpy(classes_of_column))
    return tuple(factors), torch.stack(classes, -1)
