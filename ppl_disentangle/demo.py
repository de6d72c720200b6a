"""Recipes that are known to work, and the demonstration: from nothing to a report in minutes on two cores."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl_disentangle.data import FactorDataset, load_data
from ppl_disentangle.data.load import NAMES
from ppl_disentangle.inference.allocator import keep_freed_memory
from ppl_disentangle.runs import Run, format_scores, free_folder
from ppl_disentangle.zoo import build

__all__ = ["DEFAULTS", "EVALUATION", "RECIPES", "configure", "finish", "run_demo"]

DEFAULTS: dict[str, Any] = {"steps": 20_000, "batch_size": 64, "lr": 1e-3, "precision": "float32"}
"""Training settings where no recipe has others."""

RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("beta_tcvae", "sprites"): {
        "network": "burgess",
        "options": {"beta": 8.0, "estimator": "weighted", "warm_up": 3000},
        "training": {"steps": 7000, "precision": "bfloat16"},
    },
    ("beta_tcvae", "digits"): {"options": {"beta": 2.0, "warm_up": 1000}, "training": {"steps": 3000}},
    ("beta_vae", "digits"): {"options": {"beta": 1.0, "warm_up": 1000}, "training": {"steps": 3000}},
}
"""Hyper-parameters by story and data; what was tried for them, and measured, is in ``docs/demo.md``."""

METRICS = ["mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "factor_vae_score", "active_units"]
EVALUATION: dict[str, Any] = {
    "metrics": METRICS,
    "num_data": 10_000,
    "num_test": 5_000,
    "dci_predictor": "lightgbm",
    "seed": 0,
}
"""Settings of a run's metrics; boosted trees of scikit-learn, the reference for DCI, would take minutes a code."""

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
    evaluation: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], FactorDataset]:
    """The configuration of a new run, and its data: what is asked for, else the recipe's, else the defaults.

    Args:
        story: ``name``, ``options`` and what else :func:`~ppl_disentangle.zoo.build` takes.
        source: what :func:`~ppl_disentangle.data.load_data` takes.
        training: options of :func:`~ppl_disentangle.inference.fit`; ``None`` leaves one open.
        command: the command that asks for it.
        held_out: data kept out of training.
        evaluation: options of :func:`~ppl_disentangle.metrics.evaluate` besides :data:`EVALUATION`.

    Raises:
        ValueError: the story cannot be built for the data.
    """
    data = load_data(source)
    recipe = RECIPES.get((story["name"], data.name), {"options": {}, "training": {}})
    network = story.get("network") or recipe.get("network")
    story = dict(story) | {"options": recipe["options"] | story["options"], "network": network}
    build(data=data, **story)  # says what is wrong before there is a folder
    path = Path(source)
    config = {
        "story": story,
        "data": {
            "source": source if source in NAMES else str(path.resolve()),
            "name": data.name,
            "num_data": len(data),
            "observation_shape": list(data.observation_shape),
            "factors": dict(zip(data.factor_names, data.factor_sizes, strict=True)),
            "held_out": held_out,
        },
        "training": DEFAULTS | recipe["training"] | {k: v for k, v in training.items() if v is not None},
        "evaluation": EVALUATION | dict(evaluation or {}),
        "command": command,
    }
    return config, data


def run_demo(
    out: Path | None = None, *, seed: int = 0, steps: int | None = None, short: bool = False, progress: bool = True
) -> int:
    """Train, measure, traverse and intervene; print the table and the path of the report. Returns 0."""
    start = time.monotonic()
    keep_freed_memory()
    training = (SHORT["training"] if short else {}) | {"seed": seed} | ({"steps": steps} if steps else {})
    command = f"ppl-disentangle demo --seed {seed}" + (f" --steps {steps}" if steps else "") + " --short" * short
    story = {"name": "beta_tcvae", "options": {}, "latent_dim": 10, "seed": seed}
    evaluation = SHORT["evaluation"] if short else {}
    config, _ = configure(story, "sprites", training, command=command, evaluation=evaluation)
    run = Run.create(out or free_folder(Path("runs") / "demo"), config, progress=progress)
    run.train()
    finish(run)
    print(f"{time.monotonic() - start:.0f} s in all. Next:")
    print(f'  ppl-disentangle intervene {run.folder} --do "z[0]=2.0"')
    return 0


def finish(run: Run) -> int:
    """Measure, draw and report a fitted run; print what a reader looks for first. Returns 0."""
    evaluation = run.config["evaluation"]
    if evaluation["dci_predictor"] == "lightgbm" and importlib.util.find_spec("lightgbm") is None:
        print('DCI is left out: it needs pip install "ppl-disentangle[fast-metrics]"')
        evaluation |= {"metrics": ["mig", "factor_vae_score", "active_units"], "dci_predictor": "gbt"}
    scores = run.evaluate()
    run.draw()
    traversals = run.read_tree()["traversals"].to_dataset()
    first = str(traversals["code"].values[0])
    run.intervene({first: round(float(traversals["value"].sel(code=first)[-1]), 1)})
    print("\n".join(format_scores(scores)))
    print(f"report: {run.report()}")
    return 0
