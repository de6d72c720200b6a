"""Labels of the nodes of a story: which units have them, in which columns, and what one unit of a node is in data."""

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
    """What the nodes of a story are counted in: standard deviations of the training data's, from their mean.

    Attributes:
        mean: of each node that has labels, in the units of the data.
        scale: standard deviation of each, in the units of the data.
    """

    mean: Mapping[str, float] = dataclasses.field(default_factory=dict)
    scale: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def of(self, data: CausalDataset, values: Tensor) -> dict[str, Tensor]:
        """Values ``(batch, nodes)`` of the nodes of ``data``, in the units of the story's, by node."""
        columns = zip(data.names, values.unbind(-1), strict=True)
        return {
            n: (column - self.mean[n]) / self.scale[n] for n, column in columns if n in self.mean
        }

    def in_data(self, name: str, action: Action, natural: Tensor) -> Tensor | float | None:
        """What an action sets a node to in the units of the data; ``None`` where that is not known.

        Args:
            name: the node.
            action: a number, or what :func:`~ppl_disentangle.causal.shift` returns.
            natural: the node's natural values, in the units of the data.
        """
        if name not in self.mean:
            return None
        if isinstance(action, Shift):
            return natural + self.scale[name] * action.amount
        return (
            self.mean[name] + self.scale[name] * action if isinstance(action, int | float) else None
        )


def label_columns(story: GenerativeStory, data: FactorDataset) -> tuple[str, ...]:
    """The columns of the ``labels`` that the story takes; none where it takes no labels, or data have no such node."""
    if (
        not isinstance(data, CausalDataset)
        or "labels" not in inspect.signature(story.model).parameters
    ):
        return ()
    columns = story.columns or data.names
    return columns if set(columns) & set(data.names) else ()


def with_labels(
    story: GenerativeStory, data: CausalDataset, fraction: float, units: NodeScales | None = None
) -> tuple[FactorDataset, NodeScales]:
    """The data, with standardised labels of a fraction of the units, in the story's columns; what they are counted in.

    Columns that are no nodes of the data are NaN throughout. Without any label nothing ties the nodes of the story to
    those of the data, and their units are not known.

    Args:
        story: a story that takes labels.
        data: data whose nodes are known.
        fraction: of the units that have labels.
        units: what to count in; by default the deviations of these data from their mean.
    """
    scales = (
        None
        if units is None
        else {n: (units.mean.get(n, 0.0), units.scale.get(n, 1.0)) for n in data.names}
    )
    labels = data.labels(fraction=fraction, scales=scales)
    if not labels.known.any():
        return data, NodeScales()
    columns, unknown = label_columns(story, data), torch.full((len(data),), math.nan)
    by_node = dict(zip(data.names, labels.values.unbind(-1), strict=True))
    values = torch.stack([by_node.get(column, unknown) for column in columns], -1)
    mean, scale = (
        {n: v for n, v in zip(data.names, t.tolist(), strict=True) if n in columns}
        for t in (labels.mean, labels.scale)
    )
    return with_conditions(data, labels=values), NodeScales(mean, scale)


def with_needed_labels(
    story: GenerativeStory, data: FactorDataset, units: NodeScales
) -> FactorDataset:
    """The data, with the labels of all units if the story needs them."""
    return (
        with_labels(story, data, 1.0, units)[0]
        if story.needs_labels and isinstance(data, CausalDataset)
        else data
    )


def needed_labels(story: GenerativeStory, data: FactorDataset, index: Tensor) -> dict[str, Tensor]:
    """The ``labels`` of some data, of a story that needs them; nothing of others."""
    return {"labels": data.conditions(index)["labels"]} if story.needs_labels else {}
