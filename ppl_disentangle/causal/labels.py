"""Labels of the nodes of a story: their columns, their scales, and the data with labels."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_disentangle.causal.actions import Action, Shift
from ppl_disentangle.data import CausalDataset, FactorDataset, with_conditions
from ppl_disentangle.story import GenerativeStory

__all__ = ["NodeScales", "label_columns", "needed_labels", "with_labels", "with_needed_labels"]


@dataclasses.dataclass(frozen=True)
class NodeScales:
    """The scales of a story's nodes, which are standardised by the training data.

    Attributes:
        mean: Mean of each node that has labels, in the units of measure of the data.
        scale: Standard deviation of each of these nodes, in the units of measure of the data.
    """

    mean: Mapping[str, float] = dataclasses.field(default_factory=dict)
    scale: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def standardised(self, data: CausalDataset, values: Tensor) -> dict[str, Tensor]:
        """Values ``(batch, nodes)`` of the nodes of ``data`` in the story's scales, by node."""
        return {
            name: (column - self.mean[name]) / self.scale[name]
            for name, column in zip(data.names, values.unbind(-1), strict=True)
            if name in self.mean
        }

    def in_data(self, name: str, action: Action, natural: Tensor) -> Tensor | float | None:
        """The value that an action sets a node to, in the units of measure of the data.

        ``None`` if it is not known.

        Args:
            name: The node.
            action: A number, or the result of :func:`~ppl_disentangle.causal.shift`.
            natural: The node's natural values, in the units of measure of the data.
        """
        if name not in self.mean:
            return None
        if isinstance(action, Shift):
            return natural + self.scale[name] * action.amount
        if isinstance(action, int | float):
            return self.mean[name] + self.scale[name] * action
        return None


def label_columns(story: GenerativeStory, data: FactorDataset) -> tuple[str, ...]:
    """The columns of the ``labels`` that the story takes.

    Empty if the story takes no labels, or if the data have no node with the name of a column.
    """
    takes_labels = "labels" in inspect.signature(story.model).parameters
    if not isinstance(data, CausalDataset) or not takes_labels:
        return ()
    columns = story.columns or data.names
    return columns if set(columns) & set(data.names) else ()


def with_labels(
    story: GenerativeStory, data: CausalDataset, fraction: float, scales: NodeScales | None = None
) -> tuple[FactorDataset, NodeScales]:
    """Add standardised labels of a fraction of the units; returns the data and the scales.

    Columns that are not nodes of the data are NaN throughout. If no unit has a label, nothing
    relates the nodes of the story to the nodes of the data: the data are returned unchanged, with
    empty scales.

    Args:
        story: A story that takes labels.
        data: Data with known nodes.
        fraction: Share of the units that have labels.
        scales: Scales to standardise with; by default the mean and standard deviation of these
            data.
    """
    labels = data.labels(fraction=fraction, scales=_mean_and_scale(data, scales))
    if not labels.known.any():
        return data, NodeScales()
    columns = label_columns(story, data)
    values = _in_columns(labels.values, data.names, columns)
    used = [i for i, node in enumerate(data.names) if node in columns]
    mean = {data.names[i]: labels.mean[i].item() for i in used}
    scale = {data.names[i]: labels.scale[i].item() for i in used}
    return with_conditions(data, labels=values, columns=columns), NodeScales(mean, scale)


def _in_columns(values: Tensor, nodes: tuple[str, ...], columns: tuple[str, ...]) -> Tensor:
    """Values ``(units, nodes)`` in the order of ``columns``; NaN in columns that are not nodes."""
    unknown = values.new_full((len(values),), math.nan)
    by_node = dict(zip(nodes, values.unbind(-1), strict=True))
    return torch.stack([by_node.get(column, unknown) for column in columns], -1)


def _mean_and_scale(
    data: CausalDataset, scales: NodeScales | None
) -> dict[str, tuple[float, float]] | None:
    if scales is None:
        return None
    return {node: (scales.mean.get(node, 0.0), scales.scale.get(node, 1.0)) for node in data.names}


def with_needed_labels(
    story: GenerativeStory, data: FactorDataset, scales: NodeScales
) -> FactorDataset:
    """The data, with the labels of all units if the story cannot do without them."""
    if not (story.needs_labels and isinstance(data, CausalDataset)):
        return data
    labelled, _ = with_labels(story, data, 1.0, scales)
    return labelled


def needed_labels(story: GenerativeStory, data: FactorDataset, index: Tensor) -> dict[str, Tensor]:
    """The condition ``labels`` of some units if the story needs it, else an empty dictionary."""
    return {"labels": data.conditions(index)["labels"]} if story.needs_labels else {}
