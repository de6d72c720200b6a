"""Data whose causes are known: a graph, the units' noise, and what each unit would have been."""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, Self, TypeAlias

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset
from ppl_disentangle.data.binning import classes_of
from ppl_disentangle.graphs import as_dag, parents, topological_order

__all__ = ["CausalDataset", "Labels"]

Intervention: TypeAlias = "Mapping[str, float | Tensor | np.ndarray]"

_CPU = torch.device("cpu")


class Labels(NamedTuple):
    """Standardised values of the nodes: ``values`` is NaN for the units that are not ``known``."""

    values: Tensor
    known: Tensor
    mean: Tensor
    scale: Tensor


class CausalDataset(FactorDataset):
    r"""Units of a structural causal model, each observed through a function of its nodes alone.

    .. math:: z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \qquad x = g(z)

    The noise :math:`\varepsilon` of every unit is kept. Hence what a unit would have been, had some nodes been set, is
    known: the same noise goes through the same mechanisms f, and the result through the same g. Over all units, these
    are draws from the interventional distribution.

    The factors are the nodes. Their classes, for metrics, are the distinct values of a node where there are at most
    100, otherwise 20 intervals that hold about as many units each; the numbers themselves are :attr:`values`.

    Implementing a causal data set: set what the mechanisms need, hand graph and noise to ``__init__``, and define
    :meth:`mechanism` and :meth:`render_values`.

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes.
        noise: for each node a vector with the noise of each unit.
        name: a short name for tables and run folders.
        observation_shape: shape of one observation.
        maximum: the stored value that means 1.
        ranges: for a node, the lowest and the highest value that it may be set to; any finite value otherwise.

    Attributes:
        dag: the causal graph.
        names: the nodes, parents first, as in the columns of all tensors here; the same as :attr:`factor_names`.
    """

    def __init__(
        self,
        graph: Any,
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
                f"expected noise of the nodes {list(self.names)}, got that of {sorted(noise)}"
            )
        self.name, self.observation_shape, self.maximum = name, observation_shape, maximum
        self.ranges = dict(ranges or {})
        stacked = torch.stack([noise[node].float() for node in self.names], -1)
        values = self.mechanisms(stacked)
        levels, classes = zip(
            *(classes_of(column.contiguous()) for column in values.unbind(-1)), strict=True
        )
        self.space = tuple(
            Factor(node, column) for node, column in zip(self.names, levels, strict=True)
        )
        self._noise, self._values, self._classes = (
            DeviceCopies(stacked),
            DeviceCopies(values),
            DeviceCopies(torch.stack(classes, -1)),
        )
        self._len = len(values)

    @abc.abstractmethod
    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """The values of ``node``, from its noise ``(batch,)`` and its parents' values ``(batch,)``."""

    @abc.abstractmethod
    def render_values(self, values: Tensor) -> Tensor:
        """Stored observations of any values ``(batch, nodes)``, whether or not the mechanisms would lead to them."""

    def __len__(self) -> int:
        return self._len

    @property
    def values(self) -> Tensor:
        """Values of all units, float32 of shape ``(len, nodes)``, on the CPU."""
        return self._values.on(_CPU)

    @property
    def noise(self) -> Tensor:
        """Noise of all units, float32 of shape ``(len, nodes)``, on the CPU."""
        return self._noise.on(_CPU)

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self.render_values(self._values.on(index.device).index_select(0, index))

    def factors(self, index: Tensor) -> Tensor:
        """Classes of the nodes' values, int64 of shape ``(len(index), nodes)``."""
        return self._classes.on(index.device).index_select(0, index)

    def mechanisms(self, noise: Tensor, do: Intervention | None = None) -> Tensor:
        """Values ``(batch, nodes)`` that follow from noise ``(batch, nodes)`` under do(node := value).

        Args:
            noise: noise of each node.
            do: a number, or a value for each unit, by node; NaN where a unit is left alone.

        Raises:
            KeyError: no such node.
            ValueError: a value that does not fit the batch, or out of the node's range.
        """
        settings = {node: self._setting(node, value, noise) for node, value in (do or {}).items()}
        values: dict[str, Tensor] = {}
        for node, column in zip(self.names, noise.unbind(-1), strict=True):
            # In doubles, since a vector of floats and its parts need not agree in the last bit.
            parent_values = {p: values[p].double() for p in parents(self.dag, node)}
            natural = self.mechanism(node, column.double(), parent_values).to(noise.dtype)
            setting = settings.get(node)
            values[node] = (
                natural if setting is None else torch.where(setting.isnan(), natural, setting)
            )
        return torch.stack(list(values.values()), -1)

    def _setting(self, node: str, value: float | Tensor | np.ndarray, noise: Tensor) -> Tensor:
        if node not in self.names:
            close = get_close_matches(node, self.names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise KeyError(f"no node named {node!r}; the graph has {list(self.names)}{hint}")
        setting = torch.as_tensor(value, dtype=noise.dtype, device=noise.device)
        low, high = self.ranges.get(node, (-math.inf, math.inf))
        outside = setting[setting.isinf() | (setting < low) | (setting > high)]
        if len(outside):
            raise ValueError(
                f"do({node!r}): expected finite values in [{low:g}, {high:g}], got {outside[0].item():g}"
            )
        try:
            return setting.expand(len(noise))
        except RuntimeError:
            shape = tuple(setting.shape)
            raise ValueError(
                f"do({node!r}): expected a number or {len(noise)} values, got shape {shape}"
            ) from None

    def intervene(self, index: Tensor, do: Intervention) -> Tensor:
        """Values ``(len(index), nodes)`` that the units at ``index`` would have had under do(node := value).

        Noise and mechanisms are those of the units; what does not descend from a node that is set stays as it is. See
        :meth:`mechanisms` for the arguments.
        """
        return self.mechanisms(self._noise.on(index.device).index_select(0, index), do)

    def counterfactual(self, index: Tensor, do: Intervention) -> tuple[Tensor, Tensor]:
        """Values and stored observations that the units at ``index`` would have had under do(node := value)."""
        values = self.intervene(index, do)
        return values, self.render_values(values)

    def units(self, index: Tensor) -> Self:
        """The units at ``index`` as a causal data set of their own, with the classes of all."""
        chosen = copy.copy(self)
        chosen._noise, chosen._values = (
            DeviceCopies(self.noise[index]),
            DeviceCopies(self.values[index]),
        )
        chosen._classes, chosen._len = DeviceCopies(self.factors(index)), len(index)
        return chosen

    def subset(self, index: Tensor) -> Self:
        """The same as :meth:`units`: what they would have been stays known."""
        return self.units(index)

    def labels(
        self,
        *,
        fraction: float = 1.0,
        noise: float = 0.0,
        seed: int = 0,
        scales: Mapping[str, tuple[float, float]] | None = None,
    ) -> Labels:
        """Labels to learn from: ``(values - mean) / scale`` of every node, for some of the units, measured with noise.

        Args:
            fraction: share of the units whose labels are known. For one seed, a larger share contains a smaller one.
            noise: standard deviation of normal noise, in units of ``scale``.
            seed: of the choice of the units and of the noise.
            scales: mean and scale to use for each node; by default its own over all units.

        Raises:
            ValueError: a fraction out of [0, 1], or scales of other nodes.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"expected 0 <= fraction <= 1, got {fraction}")
        if scales is not None and set(scales) != set(self.names):
            raise ValueError(
                f"expected scales of the nodes {list(self.names)}, got those of {sorted(scales)}"
            )
        mean, scale = self.values.mean(0), self.values.std(0, correction=0)
        if scales is not None:
            mean, scale = self.values.new_tensor([scales[node] for node in self.names]).unbind(-1)
        scale = torch.where(scale > 0, scale, 1)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        known = torch.zeros(len(self), dtype=torch.bool)
        known[order[: round(fraction * len(self))]] = True
        values = (self.values - mean) / scale + noise * torch.randn(
            self.values.shape, generator=generator
        )
        return Labels(values.masked_fill(~known[:, None], math.nan), known, mean, scale)
