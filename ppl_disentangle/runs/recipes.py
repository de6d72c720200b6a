"""Hyper-parameters that are known to work, and the configuration of a new run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import networkx as nx

from ppl_disentangle.causal.labels import label_columns
from ppl_disentangle.data import CausalDataset, FactorDataset, load_data
from ppl_disentangle.data.load import NAMES
from ppl_disentangle.graphs import topological_order
from ppl_disentangle.runs.fingerprint import fingerprint
from ppl_disentangle.runs.preparation import absolute_source, default_held_out
from ppl_disentangle.runs.resolved import resolved
from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.zoo import build

__all__ = ["DEFAULTS", "EVALUATION", "RECIPES", "Plan", "configure"]

DEFAULTS: dict[str, Any] = {"steps": 20_000, "batch_size": 64, "lr": 1e-3, "precision": "float32"}
"""Training settings where a recipe has no others."""

RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("beta_tcvae", "sprites"): {
        "network": "burgess",
        "options": {"beta": 8.0, "estimator": "weighted", "warm_up": 3000},
        "training": {"steps": 7000, "precision": "bfloat16"},
    },
    ("beta_tcvae", "digits"): {
        "options": {"beta": 2.0, "warm_up": 1000},
        "training": {"steps": 3000},
    },
    ("beta_vae", "digits"): {
        "options": {"beta": 1.0, "warm_up": 1000},
        "training": {"steps": 3000},
    },
    ("causal_vae", "pendulum"): {"network": "burgess", "options": {}, "training": {"steps": 4000}},
}
"""Hyper-parameters by story and data; ``docs/demo.md`` lists the settings that were compared."""

METRICS = [
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "factor_vae_score",
    "active_units",
]

EVALUATION: dict[str, Any] = {
    "metrics": METRICS,
    "num_data": 10_000,
    "num_test": 5_000,
    "dci_predictor": "lightgbm",
    "seed": 0,
}
"""Settings of the metrics of a run.

DCI uses LightGBM: the boosted trees of scikit-learn, its reference, take minutes for each code.
"""


class Plan(NamedTuple):
    """The configuration of a new run, with the data and the story that it was checked with.

    Attributes:
        config: Configuration of the run.
        data: Data of the run.
        story: Story of the run with its initial weights.
    """

    config: dict[str, Any]
    data: FactorDataset
    story: GenerativeStory


def configure(
    story: Mapping[str, Any],
    source: str,
    training: Mapping[str, Any],
    *,
    command: str,
    held_out: int | None = None,
    options: Mapping[str, Any] | None = None,
    labels: float | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> Plan:
    """Configure a new run, and check the configuration by building its story.

    A setting that is not given comes from the recipe for this story and data, else from
    :data:`DEFAULTS`.

    Args:
        story: The ``name``, the ``options`` and the further arguments of
            :func:`~ppl_disentangle.zoo.build`.
        source: Name or path of the data, as :func:`~ppl_disentangle.data.load_data` takes it.
        training: Options of :func:`~ppl_disentangle.inference.fit`; ``None`` counts as not given.
        command: Command line that asks for the run.
        held_out: Number of data kept out of training; by default 1000, and at most a fifth of them.
        options: Options of the reader of the data, such as the ``size`` of images.
        labels: Fraction of the training data whose nodes have labels; by default all of them, where
            the story takes labels and the data have nodes.
        evaluation: Options of :func:`~ppl_disentangle.metrics.evaluate` that replace
            :data:`EVALUATION`.

    Raises:
        ValueError: The story cannot be built for the data or takes no labels of its nodes.
    """
    source = absolute_source(source)
    data = load_data(source, **(options or {}))
    recipe = RECIPES.get((story["name"], data.name), {"options": {}, "training": {}})
    story_config = dict(story)
    story_config["options"] = recipe["options"] | story["options"]
    story_config["network"] = story.get("network") or recipe.get("network")
    story_config = resolved(story_config, data)
    built = build(data=data, **story_config)
    given = {name: value for name, value in training.items() if value is not None}
    if "patience" in given and not built.has_bound:
        raise ValueError(
            f"{type(built).__name__} has no bound that patience could judge by; leave the patience"
            " out"
        )
    config = {"story": story_config, "data": _data_config(source, data, held_out, options or {})}
    fraction = _label_fraction(built, data, labels)
    if fraction is not None:
        config["data"]["labels"] = fraction
    if built.dag is not None:
        config["graph"] = _graph_config(built.dag)
    config["training"] = DEFAULTS | recipe["training"] | given
    config["evaluation"] = EVALUATION | dict(evaluation or {})
    return Plan({**config, "command": command}, data, built)


def _graph_config(dag: nx.DiGraph) -> dict[str, Any]:
    """List the nodes of a graph, causes first, and its edges."""
    return {"nodes": topological_order(dag), "edges": [list(edge) for edge in dag.edges]}


def _data_config(
    source: str, data: FactorDataset, held_out: int | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe the data: their source, size, factors and fingerprint, and how many are held out."""
    if held_out is not None and not 0 < held_out < len(data):
        raise ValueError(
            f"expected 0 < held_out < {len(data)}, the number of data of {source}, got {held_out}"
        )
    num_held_out = default_held_out(len(data)) if held_out is None else held_out
    config: dict[str, Any] = {
        "source": source,
        "name": data.name,
        "num_data": len(data),
        "observation_shape": list(data.observation_shape),
        "factors": dict(zip(data.factor_names, data.factor_sizes, strict=True)),
        "held_out": num_held_out,
        "num_held_out": num_held_out,
    }
    if options:
        config["options"] = dict(options)
    if source not in NAMES:
        config["fingerprint"] = fingerprint(data)
    return config


def _label_fraction(
    story: GenerativeStory, data: FactorDataset, labels: float | None
) -> float | None:
    """Check the fraction of labelled data; ``None`` where the story or the data have no labels."""
    if not label_columns(story, data):
        if labels is None:
            return None
        raise ValueError(_why_unlabelled(story, data))
    if labels is None:
        return 1.0
    if not 0 <= labels <= 1:
        raise ValueError(f"expected a fraction of labels between 0 and 1, got {labels:g}")
    if labels < 1 and story.needs_labels:
        raise ValueError(
            f"{type(story).__name__} needs the labels of all data; leave the fraction of labels out"
        )
    return labels


def _why_unlabelled(story: GenerativeStory, data: FactorDataset) -> str:
    """Explain why a story cannot be given labels of these data."""
    if isinstance(data, CausalDataset):
        reason = f"{type(story).__name__} takes no labels of {list(data.names)}"
    else:
        reason = f"{data.name} has no nodes that could have labels"
    return f"{reason}; leave the fraction of labels out"
