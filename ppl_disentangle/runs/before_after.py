"""Units before and after an intervention: their images, their nodes, and which nodes moved."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.causal.action_text import to_text
from ppl_disentangle.causal.actions import Action
from ppl_disentangle.causal.counterfactuals import counterfactual as counterfactual_worlds
from ppl_disentangle.causal.data_range import DataRange, OutsideDataWarning, data_range
from ppl_disentangle.causal.interventions import Intervened, do
from ppl_disentangle.causal.labels import NodeScales, needed_labels, with_needed_labels
from ppl_disentangle.conditions import row_labels
from ppl_disentangle.data import CausalDataset, FactorDataset
from ppl_disentangle.graphs import topological_order
from ppl_disentangle.representation import encode, observation_dims, reconstruct
from ppl_disentangle.runs.folder import Fitted
from ppl_disentangle.runs.rows import CellUnits, before_after_rows, write_rows
from ppl_disentangle.runs.truth import with_truth
from ppl_disentangle.sites import deterministic_sites, sampled_sites
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = [
    "codes_before_after",
    "drawn_before_after",
    "intervene",
    "nodes_before_after",
    "units_before_after",
]

NUM_RANGE_DATA = 1000
"""Training data from which the range of the data is computed."""
NUM_AVERAGED_UNITS = 200
"""Units over which the table of nodes is averaged."""
NUM_UNITS_AT_ONCE = 25
"""Units whose counterfactual images, times the draws of each, are in memory at once."""


def intervene(
    fitted: Fitted,
    actions: Mapping[str, Action],
    *,
    num: int = 8,
    counterfactual: bool = False,
    units: CellUnits = "data",
    seed: int = 0,
) -> xr.Dataset:
    """Intervene on latents or nodes; draw the images and write the result to the run.

    A story with a graph is asked for units drawn from the model, with the same noise before and
    after (an intervention), or for held-out units as they would have been (a counterfactual),
    beside the truth where the data know it. Other stories show held-out images and the codes that
    the encoder finds in them.

    Args:
        fitted: The run with its fitted story.
        actions: Numbers, rows of numbers, or results of :func:`~ppl_disentangle.shift`, by node.
            Nodes with labels are in standard deviations of the labels from their mean.
        num: Number of units to show.
        counterfactual: Whether held-out units are asked for instead of units from the model.
        units: Units of the cells of a table; its rows before and after are a csv file in the folder
            ``tables``.
        seed: Seed of the random draws.

    Raises:
        KeyError: An unknown node, as in :func:`~ppl_disentangle.do`.
        ValueError: A value that the node cannot take, or a counterfactual of a story without a
            graph.
        TypeError: An action of another type, as in :func:`~ppl_disentangle.do`.
    """
    story = fitted.story
    if story.dag is not None:
        result = nodes_before_after(
            fitted, actions, counterfactual=counterfactual, num_shown=num, seed=seed
        )
    elif counterfactual:
        raise ValueError(
            f"{fitted.run.folder} has no nodes: the codes of {type(story).__name__} follow from no"
            " graph; leave the counterfactual out"
        )
    else:
        held_out = fitted.held_out_with_conditions
        shown = held_out.subset(torch.arange(min(num, len(held_out))))
        result = codes_before_after(story, shown, actions)
        result = result.assign_attrs(outside_data_range=_outside_data(fitted, shown, actions))
    question = "counterfactual" if counterfactual else "intervention"
    name = f"{question}_{result.attrs['do'].replace(', ', '_').replace(' ', '')}"
    if fitted.data.kind in ("image", "signal", "sequence"):
        _draw(fitted, name, result)
    if fitted.data.columns:
        write_rows(fitted.run, name, before_after_rows(fitted.data, result, units))
    fitted.run.write_group(name, result)
    return result


def _outside_data(fitted: Fitted, units: FactorDataset, actions: Mapping[str, Action]) -> str:
    """Say where actions on codes leave the range of the codes of the training data; empty if not."""
    training = fitted.training
    seen = fitted.conditioned(training.subset(torch.arange(min(NUM_RANGE_DATA, len(training)))))
    try:
        known = data_range(fitted.story, seen)
    except ValueError as error:  # such as fewer data than codes
        return f"the range of the codes is not known: {error}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutsideDataWarning)
        told = units.conditions(torch.arange(len(units)))
        do(fitted.story, actions, data_range=known, **told)
    return "; ".join(
        str(warning.message)
        for warning in caught
        if issubclass(warning.category, OutsideDataWarning)
    )


def _draw(fitted: Fitted, name: str, result: xr.Dataset) -> None:
    """Draw the images before and after an intervention, with the observed and the true images."""
    from ppl_disentangle import plots

    others = {kind: result[kind].values for kind in ("observed", "truth") if kind in result}
    title = f"{result.attrs.get('rung', '')} do({result.attrs['do']})".strip()
    figure = plots.plot_intervention(
        result["before"].values, result["after"].values, title=title, **others
    )
    fitted.run.write_figure(name, figure)


def codes_before_after(
    story: GenerativeStory, x: FactorDataset | Tensor, actions: Mapping[str, Action]
) -> xr.Dataset:
    """Reconstruct observations with and without an intervention on codes, and encode both.

    Args:
        story: A story without a graph.
        x: Float observations ``(batch, *event)``, or a data set with the conditions that the story
            needs.
        actions: Actions by latent or coordinate, as :func:`~ppl_disentangle.do` takes them.

    Returns:
        ``before`` and ``after`` over ``data`` and the dims of an observation; ``codes_before`` and
        ``codes_after`` over ``data`` and ``code``.
    """
    told = {} if isinstance(x, Tensor) else x.conditions(torch.arange(len(x)))
    before = reconstruct(story, x)
    after = reconstruct(do(story, actions, **told), x)
    result = _image_pair(before, after)
    result["codes_before"] = encode(story, before, **told)["mean"]
    result["codes_after"] = encode(story, after, **told)["mean"]
    return result.assign_coords(data=row_labels(x)).assign_attrs(do=to_text(actions))


def nodes_before_after(
    fitted: Fitted,
    actions: Mapping[str, Action],
    *,
    counterfactual: bool,
    num_shown: int,
    seed: int = 0,
) -> xr.Dataset:
    """Intervene on the nodes of a fitted story and average the nodes over 200 units.

    Args:
        fitted: A run of a story with a graph.
        actions: Actions by node, as :func:`~ppl_disentangle.do` takes them.
        counterfactual: Whether the units are held-out data instead of draws from the model.
        num_shown: Number of units whose images and nodes are kept.
        seed: Seed of the random draws.

    Returns:
        The result of :func:`drawn_before_after` or of :func:`units_before_after`, with the truth of
        :func:`~ppl_disentangle.runs.truth.with_truth` where the units are held-out data. The
        coordinates ``mean`` and ``scale`` over ``node`` are the scales of the nodes. The attribute
        ``outside_data_range`` says where the actions leave the range of the data; it is empty if
        they do not.
    """
    story = fitted.story
    do(story, actions)  # raises the errors of wrong actions before the expensive part
    seen = fitted.training.subset(torch.arange(min(NUM_RANGE_DATA, len(fitted.training))))
    options: dict[str, Any] = {"seed": seed, "data_range": data_range(story, seen)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutsideDataWarning)
        if counterfactual:
            result = _held_out_before_after(fitted, actions, **options)
        else:
            result = drawn_before_after(story, actions, num_units=NUM_AVERAGED_UNITS, **options)
    shown = _with_scales(result, fitted.scales).isel(data=slice(num_shown))
    return shown.assign_attrs(
        outside_data_range="; ".join(str(warning.message) for warning in caught),
        num_units=result.sizes["data"],
    )


def _with_scales(result: xr.Dataset, scales: NodeScales) -> xr.Dataset:
    """Add mean and scale of each node as coordinates; NaN for nodes without labels."""
    nodes = [str(node) for node in result["node"].values]
    mean = [scales.mean.get(node, np.nan) for node in nodes]
    scale = [scales.scale.get(node, np.nan) for node in nodes]
    return result.assign_coords(mean=("node", mean), scale=("node", scale))


def _held_out_before_after(
    fitted: Fitted, actions: Mapping[str, Action], *, seed: int, data_range: DataRange
) -> xr.Dataset:
    """Compute counterfactuals of held-out units, beside the truth where the data know it."""
    held_out = fitted.held_out
    units = held_out.subset(torch.arange(min(NUM_AVERAGED_UNITS, len(held_out))))
    index = torch.arange(len(units))
    labelled = with_needed_labels(fitted.story, units, fitted.scales)
    result = units_before_after(
        fitted.story,
        units.to_float(units.observations(index)),
        actions,
        seed=seed,
        data_range=data_range,
        conditions=needed_labels(fitted.story, labelled, index),
    )
    if isinstance(units, CausalDataset):
        result = with_truth(result, units, actions, fitted.scales)
    return result.assign_coords(data=row_labels(units))


def drawn_before_after(
    story: GenerativeStory,
    actions: Mapping[str, Action],
    *,
    num_units: int,
    seed: int = 0,
    data_range: DataRange | None = None,
) -> xr.Dataset:
    """Draw units from a story and run the intervened story with the same noise.

    Args:
        story: A story with a graph.
        actions: Actions by node, as :func:`~ppl_disentangle.do` takes them.
        num_units: Number of units.
        seed: Seed of the random draws.
        data_range: Range of the data; actions outside of it give a warning.

    Returns:
        Mean images ``before`` and ``after`` over ``data`` and the dims of an observation.
        ``nodes_before`` and ``nodes_after`` over ``data`` and ``node``, averaged over the
        coordinates of a node. Over ``node``: their means ``mean_before`` and ``mean_after``; the
        mean ``change``; the relation ``is`` to the nodes that were set (``set``, ``descendant`` or
        ``no descendant``); the share of units in which the node ``moved`` at all; and
        ``read_back``, the mean change that the encoder finds in the images.
    """
    intervened = do(story, actions, data_range=data_range)
    with evaluating(story, seed=seed):
        drawn = sampled_sites(poutine.trace(story.model).get_trace(batch_size=num_units))
        latents = {name: drawn[name].value for name in story.latents}
        # The intervened story samples the natural values; a node that is set replaces its own.
        natural = {intervened.natural(name): value for name, value in latents.items()}
        before = _generate(story, latents)
        after = _generate(intervened, natural)
    result = _compare(story, before, after, actions)
    return result.assign_attrs(rung="intervention", seed=seed)


def units_before_after(
    story: GenerativeStory,
    x: Tensor,
    actions: Mapping[str, Action],
    *,
    num_samples: int = 10,
    seed: int = 0,
    data_range: DataRange | None = None,
    conditions: Mapping[str, Tensor] | None = None,
) -> xr.Dataset:
    """Compute counterfactuals of given units, averaged over draws of their noise.

    Args:
        story: A story with a graph.
        x: Units as float observations ``(batch, *event)``.
        actions: Actions by node, as :func:`~ppl_disentangle.do` takes them.
        num_samples: Draws of the noise of each unit, over which nodes and images are averaged.
        seed: Seed of the random draws.
        data_range: Range of the data; actions outside of it give a warning. It is checked with the
            first 25 units.
        conditions: Conditions of the units by name, such as ``labels``.

    Returns:
        The variables of :func:`drawn_before_after`, and ``observed``, the images x.
    """
    chunks = []
    for number, rows in enumerate(torch.arange(len(x)).split(NUM_UNITS_AT_ONCE)):
        worlds = counterfactual_worlds(
            story,
            x[rows],
            [{}, actions],
            num_samples=num_samples,
            seed=seed + number,
            data_range=None if number else data_range,
            **{name: value[rows] for name, value in (conditions or {}).items()},  # type: ignore[arg-type]
        )
        chunks.append(worlds[[_image_name(worlds), *_node_names(story)]].mean("draw"))
    before, after = _join_units(story, chunks, _image_name(worlds))
    result = _compare(story, before, after, actions)
    result["observed"] = (result["before"].dims, x.cpu().numpy())
    return result.assign_attrs(
        rung="counterfactual",
        num_samples=num_samples,
        seed=seed,
        pixel_noise=worlds.attrs["noise"],
    )


def _join_units(
    story: GenerativeStory, chunks: Sequence[xr.Dataset], image_name: str
) -> tuple[Units, Units]:
    """Join chunks of units, and separate the factual world from the other one."""
    images = torch.cat([torch.from_numpy(chunk[image_name].values) for chunk in chunks], 1)
    nodes = {node: _world_values(chunks, node) for node in _node_names(story)}
    factual = Units({node: values[0] for node, values in nodes.items()}, images[0])
    changed = Units({node: values[1] for node, values in nodes.items()}, images[1])
    return factual, changed


def _image_name(worlds: xr.Dataset) -> str:
    """Name the observed variable of counterfactual worlds: only its pixels have noise."""
    (name,) = (name for name, variable in worlds.data_vars.items() if "noise" in variable.attrs)
    return str(name)


def _world_values(chunks: Sequence[xr.Dataset], node: str) -> Tensor:
    """Join the values of a node in chunks of units to ``(world, batch, dim)``."""
    values = [torch.from_numpy(chunk[node].values) for chunk in chunks]
    return torch.cat([chunk.reshape(*chunk.shape[:2], -1) for chunk in values], 1)


class Units(NamedTuple):
    """Some units.

    Attributes:
        node_values: Values ``(batch, dim)`` of each node.
        images: Mean images ``(batch, *event)``.
    """

    node_values: Mapping[str, Tensor]
    images: Tensor


def _generate(story: GenerativeStory, latents: Mapping[str, Tensor]) -> Units:
    """Run the model with given latents."""
    size = len(next(iter(latents.values())))
    conditioned = poutine.condition(story.model, data=dict(latents))
    trace = poutine.trace(conditioned).get_trace(batch_size=size)
    sites = sampled_sites(trace)
    images = next(site.fn.mean for name, site in sites.items() if name not in latents)
    stated = deterministic_sites(trace)
    original = story.story if isinstance(story, Intervened) else story
    nodes = {node: stated[node].value.reshape(size, -1) for node in _node_names(original)}
    return Units(nodes, images)


def _node_names(story: GenerativeStory) -> list[str]:
    """Name the nodes of a story with a graph, causes first."""
    return [] if story.dag is None else topological_order(story.dag)


def _compare(
    story: GenerativeStory, before: Units, after: Units, actions: Mapping[str, Action]
) -> xr.Dataset:
    """Compare units before and after; see :func:`drawn_before_after` for the variables."""
    names = list(before.node_values)
    result = _node_means(before.node_values, after.node_values)
    result["change"] = result["mean_after"] - result["mean_before"]
    result["is"] = ("node", _relations(story, names, actions))
    moved = [_share_moved(before.node_values[name], after.node_values[name]) for name in names]
    result["moved"] = ("node", moved)
    result["read_back"] = _read_back(story, before.images, after.images, names)
    return result.merge(_image_pair(before.images, after.images)).assign_attrs(do=to_text(actions))


def _node_means(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> xr.Dataset:
    """Average nodes ``(batch, dim)`` over their coordinates, and these over the units."""
    names = list(before)
    values_before = torch.stack([before[name].mean(-1) for name in names], -1)  # (batch, node)
    values_after = torch.stack([after[name].mean(-1) for name in names], -1)
    dims = ("data", "node")
    variables = {
        "nodes_before": (dims, values_before.numpy()),
        "nodes_after": (dims, values_after.numpy()),
        "mean_before": ("node", values_before.mean(0).numpy()),
        "mean_after": ("node", values_after.mean(0).numpy()),
    }
    return xr.Dataset(variables, {"node": names})


def _share_moved(before: Tensor, after: Tensor) -> float:
    """Return the share of units ``(batch, dim)`` in which a node changed at all."""
    return (after != before).any(-1).float().mean().item()


def _relations(
    story: GenerativeStory, names: Sequence[str], actions: Mapping[str, Action]
) -> list[str]:
    """Name the relation of each node to the nodes that were set."""
    changed = {name.partition("[")[0] for name in actions}  # z of z[3]
    descendants: set[str] = set()
    for name in changed:
        if story.dag is not None and name in story.dag:
            descendants |= nx.descendants(story.dag, name)
    kinds = dict.fromkeys(names, "no descendant")
    kinds |= dict.fromkeys(descendants, "descendant")
    kinds |= dict.fromkeys(changed, "set")
    return [kinds[name] for name in names]


def _read_back(
    story: GenerativeStory, before: Tensor, after: Tensor, names: Sequence[str]
) -> xr.DataArray:
    """Average the change of each node that the encoder finds in images.

    A node that is not part of the representation is NaN.
    """
    with evaluating(story) as device:
        posterior_before = story.representation(before.to(device))
        posterior_after = story.representation(after.to(device))
        changes = {
            name: (posterior_after[name].mean - posterior_before[name].mean).mean().item()
            for name in names
            if name in posterior_before
        }
    return xr.DataArray([changes.get(name, np.nan) for name in names], dims="node")


def _image_pair(before: Tensor, after: Tensor) -> xr.Dataset:
    """Label images ``(batch, *event)`` before and after."""
    dims = ("data", *observation_dims(before.dim() - 1))
    return xr.Dataset(
        {"before": (dims, before.cpu().numpy()), "after": (dims, after.cpu().numpy())}
    )
