"""Units before and after an intervention: their images, their nodes, and which of the nodes moved."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.causal.actions import Action, to_text
from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.data_range import DataRange, OutsideDataWarning, data_range
from ppl_disentangle.causal.interventions import Intervened, do
from ppl_disentangle.causal.labels import NodeScales, needed_labels, with_needed_labels
from ppl_disentangle.data import CausalDataset, FactorDataset
from ppl_disentangle.graphs import topological_order
from ppl_disentangle.representation import encode, observation_dims, reconstruct
from ppl_disentangle.sites import deterministic_sites, sampled_sites
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = [
    "codes_before_after",
    "drawn_before_after",
    "nodes_before_after",
    "units_before_after",
    "with_truth",
]

WHEN = ("before", "after")
SEEN, UNITS = 1000, 200  # data to judge the support by, and units to average over
CHUNK = 25  # units whose images are in memory at once, times draws


def codes_before_after(
    story: GenerativeStory, x: Tensor, actions: Mapping[str, Action]
) -> xr.Dataset:
    """Units of a story without a graph: their images, and the codes that its encoder reads back from them.

    Returns:
        ``before`` and ``after`` over ``data`` and the dims of an observation; ``codes_before`` and ``codes_after`` over
        ``data`` and ``code``.
    """
    before, after = reconstruct(story, x), reconstruct(do(story, actions), x)
    codes = {
        "codes_before": encode(story, before)["mean"],
        "codes_after": encode(story, after)["mean"],
    }
    return xr.Dataset(_images(before, after) | codes, attrs={"do": to_text(actions)})


def nodes_before_after(
    story: GenerativeStory,
    training: FactorDataset,
    held_out: FactorDataset,
    actions: Mapping[str, Action],
    units: NodeScales,
    *,
    counterfactual: bool,
    num_shown: int,
    seed: int = 0,
) -> xr.Dataset:
    """What an intervention does to a fitted story of nodes, on the second rung or, of held-out units, on the third.

    Args:
        story: a story with a graph.
        training: what it was fitted to; :func:`~ppl_disentangle.causal.data_range` is judged by some of it.
        held_out: other units of the same kind.
        actions: what :func:`~ppl_disentangle.causal.do` takes.
        units: what the nodes are counted in.
        counterfactual: the third rung instead of the second.
        num_shown: number of units that are kept.
        seed: of the draws.

    Returns:
        What :func:`drawn_before_after` or :func:`units_before_after` returned, beside the truth where ``held_out`` know
        it; the attribute ``outside_data_range`` is empty or says where data are left; ``mean`` and ``scale`` over
        ``node`` are the units.
    """
    do(story, actions)  # says what is wrong before the work begins
    seen = data_range(story, training.subset(torch.arange(min(SEEN, len(training)))))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutsideDataWarning)
        if counterfactual:
            some = held_out.subset(torch.arange(min(UNITS, len(held_out))))
            index = torch.arange(len(some))
            x, labelled = (
                some.to_float(some.observations(index)),
                with_needed_labels(story, some, units),
            )
            conditions = needed_labels(story, labelled, index)
            result = units_before_after(
                story, x, actions, seed=seed, data_range=seen, conditions=conditions
            )
            if isinstance(some, CausalDataset):
                result = with_truth(result, some, actions, units)
        else:
            result = drawn_before_after(story, actions, num_units=UNITS, seed=seed, data_range=seen)
    told = {
        "outside_data_range": "; ".join(str(w.message) for w in caught),
        "num_units": result.sizes["data"],
    }
    mean, scale = (
        [d.get(str(n), np.nan) for n in result["node"].values] for d in (units.mean, units.scale)
    )
    kept = result.isel(data=slice(num_shown)).assign_coords(
        mean=("node", mean), scale=("node", scale)
    )
    return kept.assign_attrs(told)


def drawn_before_after(
    story: GenerativeStory,
    actions: Mapping[str, Action],
    *,
    num_units: int,
    seed: int = 0,
    data_range: DataRange | None = None,
) -> xr.Dataset:
    """Units drawn from a story of nodes, and what they are with the same noise under ``do``: the second rung.

    Args:
        story: a story with a graph.
        actions: what :func:`~ppl_disentangle.causal.do` takes.
        num_units: number of units.
        seed: of the draws.
        data_range: warns of actions outside it.

    Returns:
        Mean images ``before`` and ``after`` over ``data``; ``nodes_before`` and ``nodes_after`` over ``data`` and
        ``node``; and over ``node`` their means, ``mean_before`` and ``mean_after``, what each ``is`` to those that were
        set, the share of units in which it ``moved`` at all, its mean ``change``, and the one that the encoder finds in
        the images, ``read_back``.
    """
    intervened = do(story, actions, data_range=data_range)
    with evaluating(story, seed=seed):
        drawn = sampled_sites(poutine.trace(story.model).get_trace(batch_size=num_units))
        latents = {name: drawn[name].value for name in story.latents}
        before, images = _run(story, latents)
        after, images_after = _run(
            intervened, {intervened.natural(name): v for name, v in latents.items()}
        )
    result = _nodes(story, before, after, actions).assign(_images(images, images_after))
    result["read_back"] = _read_back(story, images, images_after, result)
    return result.assign_attrs(rung="intervention", do=to_text(actions), seed=seed)


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
    """What the units ``x`` would have been, by abduction, action and prediction: the third rung.

    Args:
        story: a story with a graph.
        x: units as float observations ``(num, *event)``.
        actions: what :func:`~ppl_disentangle.causal.do` takes.
        num_samples: draws of the noise of each unit, over which nodes and images are averaged.
        seed: of the draws.
        data_range: warns of actions outside it, judged by the first units.
        conditions: what the story is told of each unit, by name.

    Returns:
        What :func:`drawn_before_after` does; and ``observed``, the images x.
    """
    images: list[Tensor] = []
    nodes: list[dict[str, Tensor]] = []
    for number, rows in enumerate(torch.arange(len(x)).split(CHUNK)):
        settings = {
            "num_samples": num_samples,
            "seed": seed + number,
            "data_range": None if number else data_range,
        }
        told = {name: value[rows] for name, value in (conditions or {}).items()}
        worlds = counterfactual(story, x[rows], [{}, actions], **settings, **told)  # type: ignore[arg-type]
        (data,) = (
            str(name) for name, variable in worlds.data_vars.items() if "noise" in variable.attrs
        )
        images.append(torch.from_numpy(worlds[data].mean("draw").values))
        averages = {node: worlds[node].mean("draw").values for node in _names(story)}
        nodes.append(
            {node: torch.from_numpy(v).reshape(*v.shape[:2], -1) for node, v in averages.items()}
        )
    before, after = torch.cat(images, 1)
    first, second = (
        {n: torch.cat([part[n][world] for part in nodes]) for n in nodes[0]} for world in (0, 1)
    )
    result = _nodes(story, first, second, actions).assign(_images(before, after))
    result["read_back"] = _read_back(story, before, after, result)
    result["observed"] = (result["before"].dims, x.cpu().numpy())
    attributes = {"num_samples": num_samples, "seed": seed, "pixel_noise": worlds.attrs["noise"]}
    return result.assign_attrs(rung="counterfactual", do=to_text(actions), **attributes)


def with_truth(
    result: xr.Dataset, data: CausalDataset, actions: Mapping[str, Action], units: NodeScales
) -> xr.Dataset:
    """A counterfactual beside what is true, where the data know it, and beside leaving the units as they are.

    Args:
        result: what :func:`units_before_after` returned for all units of ``data``.
        data: the units.
        actions: what was done, in the units of the story's nodes.
        units: what these are.

    Returns:
        ``result`` with ``truth``, images over ``data``; ``true_change`` and the root mean squared errors ``error`` and
        ``error_of_doing_nothing`` over ``node``; and the mean squared errors of images, as attributes of these names.
        Where the truth is not known, the attribute ``truth`` says why.
    """
    index, factual = torch.arange(len(data)), data.values
    values = {
        n: units.in_data(n, a, factual[:, data.names.index(n)])
        for n, a in actions.items()
        if n in units.mean
    }
    wanted = {name: value for name, value in values.items() if value is not None}
    if len(wanted) < len(actions):
        return result.assign_attrs(
            truth="not known, as no labels tie what was set to the nodes of the data"
        )
    try:
        counterfactual_values, stored = data.counterfactual(index, wanted)
    except ValueError as error:
        return result.assign_attrs(truth=f"not known: in the units of the data, {error}")
    x, truth = data.to_float(data.observations(index)), data.to_float(stored)
    was, would_be = (
        units.standardised(data, factual),
        units.standardised(data, counterfactual_values),
    )
    found = {
        str(node): torch.from_numpy(result["nodes_after"].sel(node=node).values)
        for node in result["node"].values
    }
    rows = [
        [(would_be[n] - was[n]).mean(), _rms(found[n] - would_be[n]), _rms(was[n] - would_be[n])]
        if n in was
        else [torch.tensor(torch.nan)] * 3
        for n in found
    ]
    names = ("true_change", "error", "error_of_doing_nothing")
    columns = {
        name: ("node", [v.item() for v in column])
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    after = torch.from_numpy(result["after"].values)
    errors = {
        "error": _rms(after - truth).item() ** 2,
        "error_of_doing_nothing": _rms(x - truth).item() ** 2,
    }
    shown = {"truth": (result["before"].dims, truth.numpy())}
    return result.assign(columns | shown).assign_attrs(truth="known", **errors)


def _run(story: GenerativeStory, latents: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """The nodes ``(batch, dim)`` and the mean images for given latents."""
    size = len(next(iter(latents.values())))
    trace = poutine.trace(poutine.condition(story.model, data=dict(latents))).get_trace(
        batch_size=size
    )
    image = next(site.fn.mean for name, site in sampled_sites(trace).items() if name not in latents)
    stated = deterministic_sites(trace)
    told = story.story if isinstance(story, Intervened) else story
    return {node: stated[node].value.reshape(size, -1) for node in _names(told)}, image


def _names(story: GenerativeStory) -> list[str]:
    return [] if story.dag is None else topological_order(story.dag)


def _nodes(
    story: GenerativeStory,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    actions: Mapping[str, Action],
) -> xr.Dataset:
    """Nodes before and after, ``(batch, dim)`` each, and how they moved, averaged over coordinates."""
    assert story.dag is not None
    names = list(before)
    changed = {name.partition("[")[0] for name in actions}
    below = set().union(*(nx.descendants(story.dag, name) for name in changed if name in story.dag))
    kinds = [
        "set" if n in changed else "descendant" if n in below else "no descendant" for n in names
    ]
    values = [torch.stack([part[n].mean(-1) for n in names], -1) for part in (before, after)]
    moved = [(after[n] != before[n]).any(-1).float().mean().item() for n in names]
    variables: dict[str, Any] = {
        f"nodes_{when}": (("data", "node"), v.numpy()) for when, v in zip(WHEN, values, strict=True)
    }
    variables |= {
        f"mean_{when}": ("node", v.mean(0).numpy()) for when, v in zip(WHEN, values, strict=True)
    }
    result = xr.Dataset(
        variables | {"is": ("node", kinds), "moved": ("node", moved)}, {"node": names}
    )
    return result.assign(change=result["mean_after"] - result["mean_before"])


def _read_back(
    story: GenerativeStory, before: Tensor, after: Tensor, result: xr.Dataset
) -> xr.DataArray:
    """The mean change of each node that the encoder finds in images; NaN for a node that it does not tell."""
    found = []
    with evaluating(story) as device:
        laws = [story.representation(images.to(device)) for images in (before, after)]
        for node in map(str, result["node"].values):
            first, second = (
                law[node].mean if node in law else torch.tensor(torch.nan) for law in laws
            )
            found.append((second - first).mean().item())
    return xr.DataArray(found, dims="node")


def _images(before: Tensor, after: Tensor) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    dims = ("data", *observation_dims(before.dim() - 1))
    return {
        name: (dims, images.cpu().numpy())
        for name, images in zip(WHEN, (before, after), strict=True)
    }


def _rms(difference: Tensor) -> Tensor:
    return difference.square().mean().sqrt()
