"""The demonstration's recipe: try other recipes, run its seeds, and write ``docs/demo.md``.

python -m benchmarks.recipes try network=burgess beta=[50,8,7000] seed=1 steps=8000
python -m benchmarks.recipes seeds 0 1 2
python -m benchmarks.recipes write
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ppl_disentangle.data import Sprites
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.training.allocator import keep_freed_memory
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.representation import encoder
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.runs.recipes import RECIPES
from ppl_disentangle.runs.training import processor
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.zoo import build

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "measured/demo.json"


def read() -> dict[str, list[dict[str, Any]]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"tries": [], "seeds": []}


def keep(kind: str, record: dict[str, Any]) -> None:
    results = read()
    results[kind].append(record)
    with atomic_path(RESULTS) as path:
        path.write_text(json.dumps(results, indent=1) + "\n")


def try_recipe(settings: dict[str, Any]) -> None:
    """Train β-TCVAE on sprites with other settings; keep its scores every 2,000 steps."""
    keep_freed_memory()
    defaults = {
        "network": "burgess",
        "beta": 6.0,
        "estimator": "weighted",
        "warm_up": 2000,
        "seed": 0,
        "lr": 1e-3,
    }
    settings = defaults | {"batch_size": 64, "steps": 6000} | settings
    data, seed = Sprites(), settings["seed"]
    options = {k: settings[k] for k in ("beta", "estimator", "warm_up")}
    story = build("beta_tcvae", data, network=settings["network"], seed=seed, options=options)
    scores = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in range(2000, settings["steps"] + 1, 2000):
            fit(
                story,
                data,
                steps=steps,
                batch_size=settings["batch_size"],
                lr=settings["lr"],
                precision="bfloat16",
                seed=seed,
                checkpoint=Path(folder) / "checkpoint.safetensors",
                resume=True,
            )
            measured = evaluate(
                encoder(story, data, precision="bfloat16"),
                data,
                metrics=["mig", "factor_vae_score"],
            )
            scores[str(steps)] = [round(v, 4) for v in measured["estimate"].values.tolist()]
            print(steps, scores[str(steps)], flush=True)
    keep("tries", settings | {"scores": scores})


def run_seeds(seeds: list[int]) -> None:
    """Run the demonstration as a user does, for each seed."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            out, start = Path(folder) / "demo", time.monotonic()
            command = [
                sys.executable,
                "-m",
                "ppl_disentangle",
                "demo",
                "--seed",
                str(seed),
                "--out",
                str(out),
            ]
            subprocess.run([*command, "--quiet"], check=True)
            seconds = time.monotonic() - start
            run = Run.open(out)
            tree = run.read_tree()
            scores = tree["metrics"].to_dataset()
            record = {
                "seed": seed,
                "seconds": round(seconds),
                "training_seconds": int(
                    json.loads((out / "environment.json").read_text())["seconds"]
                ),
                "machine": f"{processor()}, {torch.get_num_threads()} thread(s)",
                "held_out": {k: round(v.item(), 2) for k, v in tree["held_out"].data_vars.items()},
                "scores": {
                    "this model": numbers(scores["estimate"]),
                    **{
                        str(b): numbers(scores["baseline_estimate"].sel(baseline=b))
                        for b in scores["baseline"].values
                    },
                    "chance": numbers(scores["chance"]),
                    "ceiling": numbers(scores["ceiling"]),
                },
            }
            keep("seeds", record)
            if seed == seeds[0]:
                (DOCS / "images").mkdir(exist_ok=True)
                for name in ("traversals", "factor_map"):
                    shutil.copy(
                        out / "figures" / f"{name}.png", DOCS / "images" / f"demo_{name}.png"
                    )


def numbers(row: Any) -> dict[str, float]:
    return {str(m): round(row.sel(metric=m).item(), 4) for m in row["metric"].values}


def write() -> None:
    """``docs/demo.md`` from ``docs/measured/demo.json``."""
    results = read()
    seeds = results["seeds"]
    metrics = [
        "mig",
        "factor_vae_score",
        "dci_disentanglement",
        "dci_completeness",
        "dci_informativeness",
    ]
    table = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for name in seeds[0]["scores"]:
        cells = []
        for metric in metrics:
            values = [s["scores"][name][metric] for s in seeds]
            cells.append(f"{statistics.median(values):.3f} ({min(values):.3f} – {max(values):.3f})")
        table.append(f"| {name} | " + " | ".join(cells) + " |")
    tries = [
        "| network | beta | estimator | warm-up | batch | seed | after steps: MIG, FactorVAE score |",
        "|---" * 7 + "|",
    ]
    for t in results["tries"]:
        course = "; ".join(
            f"{steps}: {mig:.3f}, {score:.3f}" for steps, (mig, score) in t["scores"].items()
        )
        row = [
            t["network"],
            t["beta"],
            t["estimator"],
            t["warm_up"],
            t["batch_size"],
            t["seed"],
            course,
        ]
        tries.append("| " + " | ".join(map(str, row)) + " |")
    text = (DOCS / "templates/demo.md.in").read_text()
    recipe = RECIPES["beta_tcvae", "sprites"]
    fields = {
        "SEEDS": "\n".join(table),
        "TRIES": "\n".join(tries),
        "RECIPE": json.dumps(recipe),
        "SECONDS": ", ".join(str(s["seconds"]) for s in seeds),
        "TRAINING": ", ".join(str(s["training_seconds"]) for s in seeds),
        "MACHINE": seeds[0]["machine"],
        "NUM_SEEDS": str(len(seeds)),
    }
    for name, value in fields.items():
        text = text.replace(f"@{name}@", value)
    with atomic_path(DOCS / "demo.md") as path:
        path.write_text(text)


def main() -> None:
    match sys.argv[1:]:
        case ["try", *pairs]:
            settings = dict(p.split("=", 1) for p in pairs)
            try_recipe(
                {k: json.loads(v) if v[0] in "[0123456789" else v for k, v in settings.items()}
            )
        case ["seeds", *seeds]:
            run_seeds([int(s) for s in seeds])
        case ["write"]:
            write()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
