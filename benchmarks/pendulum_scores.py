"""Scores of the pendulum's counterfactuals: by the true images and values, and by the axioms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import avg_pool2d

from benchmarks.pendulum_reader import read
from ppl_disentangle import counterfactual
from ppl_disentangle.data import Pendulum
from ppl_disentangle.data.causal.dataset import Labels
from ppl_disentangle.metrics.counterfactual import (
    composition,
    effectiveness,
    minimality,
    reversibility,
)
from ppl_disentangle.metrics.estimators.maximal_information import concept_information
from ppl_disentangle.story import GenerativeStory, evaluating

SETTINGS = 5
"""Values that each node is set to, at equal distances between the 5th and the 95th percentile of the held-out units."""


def judged(test: Pendulum) -> Tensor:
    """Every fourth of the held-out units."""
    return torch.arange(0, len(test), 4)


def values_to_set(test: Pendulum, node: str) -> Tensor:
    low, high = test.values[:, test.names.index(node)].quantile(torch.tensor([0.05, 0.95]))
    return torch.linspace(low, high, SETTINGS)


def errors(story: GenerativeStory, test: Pendulum, labels: Labels) -> dict[str, Any]:
    """By node that is set: mean squared error of the mean images; root mean squared error of the other nodes.

    The latter is in standard deviations of the labels.
    """
    x, result = factual(test), {}
    for node in test.names:
        settings = values_to_set(test, node)
        actions = [{node: standard(value, node, test, labels).item()} for value in settings]
        found = counterfactual(story, x, actions, num_samples=None, noise="mean").isel(draw=0)
        values, images = truth(test, node)
        result[node] = compare(
            torch.tensor(found["x"].values), nodes(found, test), images, values, node, test, labels
        )
    return result


def baselines(test: Pendulum, labels: Labels) -> dict[str, Any]:
    """The same errors of units that are left as they are, and of true units drawn anew under the same intervention."""
    x, result = factual(test), {"do nothing": {}, "resample": {}}
    now = (test.values[judged(test)] - labels.mean) / labels.scale
    another = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    for node in test.names:
        values, images = truth(test, node)
        others = (values[:, another] - labels.mean) / labels.scale
        for name, image, value in (
            ("do nothing", x, now),
            ("resample", images[:, another], others),
        ):
            result[name][node] = compare(image, value, images, values, node, test, labels)
    return result


def compare(
    image: Tensor,
    value: Tensor,
    images: Tensor,
    values: Tensor,
    node: str,
    test: Pendulum,
    labels: Labels,
) -> dict[str, float]:
    others = [i for i, name in enumerate(test.names) if name != node]
    off = value - (values - labels.mean) / labels.scale
    return {
        "image": (image - images).square().mean().item(),
        "nodes": off[..., others].square().mean().sqrt().item(),
    }


def information(story: GenerativeStory, test: Pendulum) -> dict[str, dict[str, float]]:
    """Maximal and total information coefficient of each node's posterior mean and its value, all held-out units."""
    with evaluating(story):
        posteriors = story.representation(test.to_float(test.observations(torch.arange(len(test)))))
    known = dict(zip(test.names, test.values.unbind(-1), strict=True))
    mic, tic = concept_information({name: posteriors[name].mean for name in test.names}, known)
    return {
        "mic": dict(zip(test.names, mic.tolist(), strict=True)),
        "tic": dict(zip(test.names, tic.tolist(), strict=True)),
    }


def axioms(story: GenerativeStory, test: Pendulum, labels: Labels) -> dict[str, Any]:
    """Composition of the mean images, hence how well units are seen; by node the other three.

    Each unit has one of the values of each node. Effectiveness is in standard deviations of the labels, as read off the
    images; minimality with images of a 16th of the pixels and the nearest of the values as classes.
    """
    x, index, result = factual(test), judged(test), {}
    same = images_under(story, x, {})
    for i, node in enumerate(test.names):
        settings, old = values_to_set(test, node), test.values[index, i]
        setting = settings[torch.arange(len(x)) % SETTINGS]
        there = images_under(story, x, {node: standard(setting, node, test, labels)[:, None]})
        back = images_under(story, there, {node: standard(old, node, test, labels)[:, None]})
        classes = (old[:, None] - settings).abs().argmin(-1)
        small = (avg_pool2d(images, 4).flatten(1) for images in (x, there))
        result[node] = {
            "effectiveness": effectiveness(setting, read(there)[:, i]) / labels.scale[i].item(),
            "effectiveness_of_the_truth": truly_effective(test, node, setting)
            / labels.scale[i].item(),
            "reversibility": reversibility(x, back),
            "minimality": minimality(*small, classes, torch.arange(len(x)) % SETTINGS),
        }
    return {"composition": composition(x, same), "nodes": result}


def truly_effective(test: Pendulum, node: str, setting: Tensor) -> float:
    """The error of the reading itself."""
    images = test.to_float(test.counterfactual(judged(test), {node: setting})[1])
    return effectiveness(setting, read(images)[:, test.names.index(node)])


def images_under(story: GenerativeStory, x: Tensor, actions: dict[str, Tensor]) -> Tensor:
    return torch.tensor(
        counterfactual(story, x, actions, num_samples=None, noise="mean")["x"].values[0, 0]
    )


def factual(test: Pendulum) -> Tensor:
    return test.to_float(test.observations(judged(test)))


def truth(test: Pendulum, node: str) -> tuple[Tensor, Tensor]:
    """True values ``(setting, unit, node)`` and images under each setting."""
    pairs = [
        test.counterfactual(judged(test), {node: value.item()})
        for value in values_to_set(test, node)
    ]
    values, images = zip(*pairs, strict=True)
    return torch.stack(values), test.to_float(torch.stack(images))


def nodes(found: xr.Dataset, test: Pendulum) -> Tensor:
    """Values of the nodes ``(setting, unit, node)``, the mean of a node's coordinates for its value."""
    columns = [found[name] for name in test.names]
    return torch.tensor(
        np.stack([c.mean(c.dims[2:]).values if c.ndim > 2 else c.values for c in columns], -1)
    )


def standard(value: Tensor, node: str, test: Pendulum, labels: Labels) -> Tensor:
    i = test.names.index(node)
    return (value - labels.mean[i]) / labels.scale[i]
