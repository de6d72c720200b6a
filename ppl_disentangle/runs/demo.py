"""Recipes that are known to work, and the demonstration: from nothing to a report in minutes on two cores."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx

from ppl_disentangle.causal.interventions import takes_numbers
from ppl_disentangle.causal.labels import label_columns
from ppl_disentangle.data import CausalDataset, FactorDataset, load_data
from ppl_disentangle.data.load import NAMES
from ppl_disentangle.graphs import topological_order
from ppl_disentangle.inference.training.allocator import keep_freed_memory
from ppl_disentangle.runs.folder import NothingToMeasureError, Run, format_scores, free_folder
from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.zoo import build

__all__ = [
    "DEFAULTS",
    "EVALUATION",
    "RECIPES",
    "configure",
    "finish",
    "run_demo",
    "show_interventions",
]

DEFAULTS: dict[str, Any] = {"steps": 20_000, "batch_size": 64, "lr": 1e-3, "precision": "float32"}
"""Training settings where no recipe has others."""

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
"""Hyper-parameters by story and data; what was tried for them, and measured, is in ``docs/demo.md``."""

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
"""Settings of a run's metrics; boosted trees of scikit-learn, the reference for DCI, would take minutes a code."""

FAR = 1.5
"""What a measured node is set to in figures, in standard deviations."""

SHORT: dict[str, Any] = {
    "training": {"steps": 60, "batch_size": 32},
    "evaluation": {"num_data": 600, "num_test": 300, "factor_vae_votes": (300, 200)},
}


def configure(
    story: Mapping[str, Any],
    source: str,
    training: Mapping[str, Any],
    *,
    command: str,
    held_out: int = 1000,
    labels: float | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], FactorDataset]:
    """The configuration of a new run, and its data: what is asked for, else the recipe's, else the defaults.

    Args:
        story: ``name``, ``options`` and what else :func:`~ppl_disentangle.zoo.build` takes.
        source: what :func:`~ppl_disentangle.data.load_data` takes.
        training: options of :func:`~ppl_disentangle.inference.fit`; ``None`` leaves one open.
        command: the command that asks for it.
        held_out: data kept out of training.
        labels: fraction of the training data whose nodes have labels; ``None``: of all, where the story takes labels
            and the data have nodes.
        evaluation: options of :func:`~ppl_disentangle.metrics.evaluate` besides :data:`EVALUATION`.

    Raises:
        ValueError: the story cannot be built for the data, or takes no labels of theirs.
    """
    data = load_data(source)
    recipe = RECIPES.get((story["name"], data.name), {"options": {}, "training": {}})
    network = story.get("network") or recipe.get("network")
    story = dict(story) | {"options": recipe["options"] | story["options"], "network": network}
    built = build(data=data, **story)  # says what is wrong before there is a folder
    if training.get("patience") is not None and not built.has_bound:
        raise ValueError(
            f"{type(built).__name__} has no bound that patience could judge by; leave the patience out"
        )
    path, fraction = Path(source), _fraction(built, data, labels)
    config = {
        "story": story,
        "data": {
            "source": source if source in NAMES else str(path.resolve()),
            "name": data.name,
            "num_data": len(data),
            "observation_shape": list(data.observation_shape),
            "factors": dict(zip(data.factor_names, data.factor_sizes, strict=True)),
            "held_out": held_out,
            **({} if fraction is None else {"labels": fraction}),
        },
        **(
            {}
            if built.dag is None
            else {
                "graph": {
                    "nodes": topological_order(built.dag),
                    "edges": list(map(list, built.dag.edges)),
                }
            }
        ),
        "training": DEFAULTS
        | recipe["training"]
        | {k: v for k, v in training.items() if v is not None},
        "evaluation": EVALUATION | dict(evaluation or {}),
        "command": command,
    }
    return config, data


def _fraction(story: GenerativeStory, data: FactorDataset, labels: float | None) -> float | None:
    """The fraction of the data that have labels; ``None`` where none can have."""
    columns = label_columns(story, data)
    if labels is None or columns:
        if labels is not None and not 0 <= labels <= 1:
            raise ValueError(f"expected a fraction of labels between 0 and 1, got {labels:g}")
        if labels is not None and labels < 1 and story.needs_labels:
            raise ValueError(
                f"{type(story).__name__} needs the labels of all data; leave the fraction of labels out"
            )
        return (1.0 if labels is None else labels) if columns else None
    if not isinstance(data, CausalDataset):
        raise ValueError(
            f"{data.name} has no nodes that could have labels; leave the fraction of labels out"
        )
    raise ValueError(
        f"{type(story).__name__} takes no labels of {list(data.names)}; leave the fraction of labels out"
    )


def run_demo(
    out: Path | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    short: bool = False,
    progress: bool = True,
) -> int:
    """Train, measure, traverse and intervene; print the table and the path of the report. Returns 0."""
    start = time.monotonic()
    keep_freed_memory()
    training = (
        (SHORT["training"] if short else {}) | {"seed": seed} | ({"steps": steps} if steps else {})
    )
    command = (
        f"ppl-disentangle demo --seed {seed}"
        + (f" --steps {steps}" if steps else "")
        + " --short" * short
    )
    story = {"name": "beta_tcvae", "options": {}, "latent_dim": 10, "seed": seed}
    evaluation = SHORT["evaluation"] if short else {}
    config, _ = configure(story, "sprites", training, command=command, evaluation=evaluation)
    run = Run.create(out or free_folder(Path("runs") / "demo"), config, progress=progress)
    run.train()
    finish(run)
    print(f"{time.monotonic() - start:.0f} s in all. Next:")
    print(f'  ppl-disentangle intervene {run.folder} --do "z[0]=2.0"')
    return 0


def show_interventions(run: Run) -> None:
    """Set the node that most others follow from, on both rungs; without a graph, the code of the largest divergence."""
    tree = run.read_tree()
    if "traversals" not in tree.children:
        return  # nodes of classes alone
    traversals = tree["traversals"].to_dataset()
    largest = {
        str(code): round(float(traversals["value"].sel(code=code)[-1]), 1)
        for code in traversals["code"].values
    }
    if "graph" not in run.config:
        first = next(iter(largest))
        run.intervene({first: largest[first]})
        return
    graph = nx.DiGraph(run.config["graph"]["edges"])
    graph.add_nodes_from(run.config["graph"]["nodes"])
    story, by_node = (
        run.story(run.data()),
        {code.partition("[")[0]: value for code, value in largest.items()},
    )
    numbers = [name for name in graph if takes_numbers(story, name)]
    node = max(numbers, key=lambda n: len(nx.descendants(graph, n)), default=None)
    if node is not None:
        for counterfactual in (False, True):
            run.intervene({node: by_node.get(node, FAR)}, counterfactual=counterfactual)


def finish(run: Run) -> int:
    """Measure, draw and report a fitted run; print what a reader looks for first. Returns 0."""
    evaluation = run.config["evaluation"]
    if evaluation["dci_predictor"] == "lightgbm" and importlib.util.find_spec("lightgbm") is None:
        print('DCI is left out: it needs pip install "ppl-disentangle[fast-metrics]"')
        evaluation |= {
            "metrics": ["mig", "factor_vae_score", "active_units"],
            "dci_predictor": "gbt",
        }
    try:
        lines = format_scores(run.evaluate())
    except NothingToMeasureError as error:
        lines = [str(error)]
    run.draw()
    show_interventions(run)
    print("\n".join(lines))
    print(f"report: {run.report()}")
    return 0
