"""The demonstration: from nothing to a report in minutes on two cores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ppl_disentangle.inference.training.allocator import keep_freed_memory
from ppl_disentangle.runs.after_training import finish
from ppl_disentangle.runs.folder import Run, free_folder
from ppl_disentangle.runs.recipes import configure
from ppl_disentangle.runs.training import train

__all__ = ["run_demo"]

SHORT_TRAINING: dict[str, Any] = {"steps": 60, "batch_size": 32}
SHORT_EVALUATION: dict[str, Any] = {
    "num_data": 600,
    "num_test": 300,
    "factor_vae_votes": (300, 200),
}


def run_demo(
    out: Path | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    short: bool = False,
    progress: bool = True,
) -> int:
    """Train a beta-TCVAE on sprites, measure it, draw it, intervene on it and report.

    Args:
        out: Folder of the run; by default the first free ``runs/demo-N``.
        seed: Seed of the weights and of the random draws.
        steps: Number of training steps; by default the recipe's.
        short: Whether the run takes seconds only, to show that everything works.
        progress: Whether progress bars are shown.

    Returns:
        0, the exit status of the command.
    """
    start = time.monotonic()
    keep_freed_memory()
    training = dict(SHORT_TRAINING) if short else {}
    training["seed"] = seed
    if steps:
        training["steps"] = steps
    plan = configure(
        {"name": "beta_tcvae", "options": {}, "latent_dim": 10, "seed": seed},
        "sprites",
        training,
        command=_command(seed, steps, short),
        evaluation=SHORT_EVALUATION if short else None,
    )
    run = Run.create(out or free_folder(Path("runs") / "demo"), plan.config, progress=progress)
    with run.kept_if_started():
        fitted = train(run, plan)
    finish(fitted)
    print(f"{time.monotonic() - start:.0f} s in all. Next:")
    print(f'  ppl-disentangle intervene {run.folder} --do "z[0]=2.0"')
    return 0


def _command(seed: int, steps: int | None, short: bool) -> str:
    """Write the command line of a demonstration."""
    words = ["ppl-disentangle demo", f"--seed {seed}"]
    if steps:
        words.append(f"--steps {steps}")
    if short:
        words.append("--short")
    return " ".join(words)
