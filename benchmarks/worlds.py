"""Fifty different interventions in one pass against fifty single ones: ``python -m benchmarks.worlds``.

Writes ``docs/measured/worlds.json`` and ``docs/measured/worlds.table.md``, and prints the former.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyro
import torch
from torch import nn

from benchmarks.interleave import interleave
from ppl_disentangle import do
from ppl_disentangle.causal.actions import shift
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.causal.worlds import worlds
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.inference.training.allocator import keep_freed_memory
from ppl_disentangle.models import CausalVAE
from ppl_disentangle.runs.training import processor
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.story import parameters_stay_local

DOCS = Path(__file__).parents[1] / "docs"
UNITS = 64


def pendulum(pixels: int, hidden: int) -> CausalVAE:
    """Four nodes and images by an MLP of one hidden layer."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, pixels))
    prior = StructuralPrior("angle, light -> length, position")
    return CausalVAE(prior, Gaussian(nn.Linear(pixels, 8)), GaussianLearnedScale(decoder))


def fifty() -> list[dict[str, object]]:
    """The factual world, numbers, shifts, functions, values by unit, and several nodes at once."""
    grid = torch.linspace(-2, 2, 10).tolist()
    kinds = [
        lambda v: {"light": v},
        lambda v: {"angle": shift(v), "light": v},
        lambda v: {"length": torch.full((UNITS,), v)},
        lambda v: {"angle": lambda natural: v * natural},
        lambda v: {"position": v, "length": -v, "light": 0.0},
    ]
    return [{}, *(kind(v) for kind in kinds for v in grid)][:50]


def measure(pixels: int, hidden: int) -> dict[str, object]:
    """CPU milliseconds of both, and by how much the one pass is faster; building and running, and running alone."""
    story, actions = pendulum(pixels, hidden), fifty()
    together, single = worlds(story, actions), [do(story, action) for action in actions]

    def quietly(call):
        def step() -> None:
            with torch.no_grad(), parameters_stay_local():
                call()

        return step

    def furthest() -> float:
        pyro.set_rng_seed(0)
        values, distances = together.values(batch_size=UNITS)["x"], []
        for world, intervened in zip(values, single, strict=True):
            pyro.set_rng_seed(0)
            distances.append((world - intervened.model(batch_size=UNITS)).abs().max().item())
        return max(distances)

    steps = {
        "fifty do, built and run": lambda: [
            do(story, action).model(batch_size=UNITS) for action in actions
        ],
        "one pass, built and run": lambda: worlds(story, actions).values(batch_size=UNITS),
        "fifty do, run": lambda: [intervened.model(batch_size=UNITS) for intervened in single],
        "one pass, run": lambda: together.values(batch_size=UNITS),
    }
    speeds = interleave({name: quietly(step) for name, step in steps.items()}, rounds=7, warm_up=2)
    built, run = (
        speeds[f"fifty do, {kind}"]["cpu_ms"] / speeds[f"one pass, {kind}"]["cpu_ms"]
        for kind in ("built and run", "run")
    )
    return {
        "speeds": speeds,
        "faster_built_and_run": built,
        "faster_run": run,
        "largest_difference": furthest(),
    }


def table(measured: dict[str, dict[str, object]]) -> str:
    """CPU milliseconds, and how many times as fast the one pass is."""
    kinds = ("built and run", "run")
    head = " | ".join(f"fifty `do`, {kind}, ms | one pass, ms | times as fast" for kind in kinds)
    lines = [
        f"| {UNITS} units, fifty interventions | {head} | largest difference |",
        "|---" * 8 + "|",
    ]
    for name, row in measured.items():
        cells = []
        for kind in kinds:
            many, one = (
                row["speeds"][f"{way}, {kind}"]["cpu_ms"] for way in ("fifty do", "one pass")
            )
            cells.append(f"{many:.0f} | {one:.1f} | {many / one:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {row['largest_difference']:.1g} |")
    note = (
        "Fifty separate runs repeat Pyro's bookkeeping and the validation of distributions. The arithmetic grows with"
        " the images and the networks, and one pass needs it too."
    )
    lines += ["", note]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Story by story from Pyro's own work, which one pass does once, to arithmetic, which it does fifty times.

    Memory that is freed is kept, as by the command line, so that neither way waits for fresh pages.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    sizes = ((64, 16), (784, 16), (784, 256))
    measured = {
        f"{pixels} pixels, {hidden} hidden units": measure(pixels, hidden)
        for pixels, hidden in sizes
    }
    setting = {"units": UNITS, "threads": 1, "torch": torch.__version__, "machine": processor()}
    text = json.dumps({"setting": setting, "stories": measured}, indent=1)
    for path, content in (
        (DOCS / "measured/worlds.json", text + "\n"),
        (DOCS / "measured/worlds.table.md", table(measured)),
    ):
        with atomic_path(path) as temporary:
            temporary.write_text(content)
    print(text)


if __name__ == "__main__":
    main()
