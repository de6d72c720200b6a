"""The demonstration: a recipe that disentangles sprites in minutes on two cores, from nothing to a report."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

from ppl_disentangle.data import Sprites
from ppl_disentangle.inference.allocator import keep_freed_memory
from ppl_disentangle.runs import Run, format_scores, free_folder

__all__ = ["EVALUATION", "RECIPE", "finish", "run_demo"]

EVALUATION: dict[str, Any] = {"num_data": 10_000, "num_test": 5_000, "dci_predictor": "lightgbm", "seed": 0}
"""Settings of a run's metrics; boosted trees of scikit-learn, the reference for DCI, would take minutes a code."""

RECIPE: dict[str, Any] = {
    "story": {
        "name": "beta_tcvae",
        "options": {"beta": 8.0, "estimator": "weighted", "warm_up": 3000},
        "latent_dim": 10,
        "network": "study",
        "likelihood": "bernoulli",
    },
    "training": {"steps": 7000, "batch_size": 64, "lr": 1e-3, "precision": "bfloat16"},
}
"""What ``docs/demo.md`` shows to work, and against what."""

SHORT: dict[str, Any] = {
    "training": {"steps": 60, "batch_size": 32},
    "evaluation": {"num_data": 600, "num_test": 300, "factor_vae_votes": (300, 200)},
}


def run_demo(
    out: Path | None = None, *, seed: int = 0, steps: int | None = None, short: bool = False, progress: bool = True
) -> int:
    """Train, measure, traverse and intervene; print the table and the path of the report. Returns 0."""
    start = time.monotonic()
    keep_freed_memory()
    data = Sprites()
    training = RECIPE["training"] | (SHORT["training"] if short else {}) | {"seed": seed}
    config = {
        "story": RECIPE["story"] | {"seed": seed},
        "data": {
            "source": "sprites",
            "name": data.name,
            "num_data": len(data),
            "observation_shape": list(data.observation_shape),
            "factors": dict(zip(data.factor_names, data.factor_sizes, strict=True)),
            "held_out": 1000,
        },
        "training": training | ({"steps": steps} if steps else {}),
        "evaluation": EVALUATION | (SHORT["evaluation"] if short else {}),
        "command": f"ppl-disentangle demo --seed {seed}" + (f" --steps {steps}" if steps else "") + " --short" * short,
    }
    run = Run.create(out or free_folder(Path("runs") / "demo"), config, progress=progress)
    run.train()
    status = finish(run)
    print(f"{time.monotonic() - start:.0f} s in all. Next:")
    print(f'  ppl-disentangle intervene {run.folder} --do "z[0]=2.0"')
    return status


def finish(run: Run) -> int:
    """Measure, draw and report a fitted run; print what a reader looks for first. Returns 0."""
    bound = run.read_tree()["held_out"]
    if run.config["evaluation"]["dci_predictor"] == "lightgbm" and importlib.util.find_spec("lightgbm") is None:
        print('DCI is left out: it needs pip install "ppl-disentangle[fast-metrics]"')
        run.config["evaluation"] |= {"metrics": ["mig", "factor_vae_score", "active_units"]}
        run.config["evaluation"]["dci_predictor"] = "gbt"
    scores = run.evaluate()
    run.draw()
    traversals = run.read_tree()["traversals"].to_dataset()
    first = str(traversals["code"].values[0])
    run.intervene({first: round(float(traversals["value"].sel(code=first)[-1]), 1)})
    parts = ", ".join(f"{name} {bound[name].item():.2f}" for name in ("elbo", "log_likelihood", "kl"))
    print(f"held out, nats per datum: {parts}")
    if scores is None:
        print("no factors are known for these data: no metrics")
    else:
        print("\n".join(format_scores(scores)))
    print(f"report: {run.report()}")
    return 0
