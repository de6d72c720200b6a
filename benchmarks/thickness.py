"""DeepSCM's densities of thickness and intensity beside the exact ones: ``python -m benchmarks.thickness``.

Writes ``docs/measured/thickness.json`` and ``docs/measured/thickness.table.md``, and prints the former.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    SigmoidTransform,
)

from ppl_disentangle import StructuralPrior
from ppl_disentangle.causal.mechanisms import LocationScale, MonotoneSpline
from ppl_disentangle.causal.mechanisms.base import InvertibleMechanism
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import ThicknessIntensity, from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import DeepSCM
from ppl_disentangle.models.deep_scm import RescaledMechanism
from ppl_disentangle.runs.training import processor
from ppl_disentangle.storage import atomic_path

DOCS = Path(__file__).parents[1] / "docs"
KINDS = {"location and scale": LocationScale, "spline": MonotoneSpline}
SEEDS, NUM_DATA, NUM_HELD_OUT, BATCH_SIZE, LATENT_DIM = (0, 1, 2), 60_000, 10_000, 500, 4
SCHEDULE = ((1500, 5e-3), (1000, 5e-4))
"""Steps, and their learning rate."""


def build(kind: Callable[..., InvertibleMechanism]) -> DeepSCM:
    """Build the story. Thickness is positive, intensity between 64 and 255; networks are small."""
    grey = ComposeTransform([SigmoidTransform(), AffineTransform(64.0, 191.0)])
    mechanisms = {
        "thickness": RescaledMechanism(kind(1, 0), ExpTransform()),
        "intensity": RescaledMechanism(kind(1, 1), grey),
    }
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 2 * LATENT_DIM)
    )
    inputs = 2 + LATENT_DIM
    decoder = [nn.BatchNorm1d(inputs), nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 784)]
    image = nn.Sequential(*decoder, nn.Unflatten(1, (1, 28, 28)))
    prior = StructuralPrior("thickness -> intensity", mechanisms)
    return DeepSCM(prior, Gaussian(encoder), Bernoulli(image), LATENT_DIM)


def run(kind: str, seed: int) -> dict[str, Any]:
    """Train on one draw of the pair; by node, mean log density of held-out pairs, the exact one, and their difference.

    The standard error belongs to the mean difference; it is far smaller than either mean's.
    """
    start, strokes = time.process_time(), ThicknessIntensity(NUM_DATA, seed=seed)
    held_out = ThicknessIntensity(NUM_HELD_OUT, seed=1000 + seed)
    images = from_arrays(strokes.observations(torch.arange(NUM_DATA)), maximum=strokes.maximum)
    torch.manual_seed(seed)
    story = build(KINDS[kind])
    for steps, lr in SCHEDULE:
        data = with_conditions(images, labels=strokes.values, columns=strokes.names)
        fit(story, data, steps=steps, lr=lr, batch_size=BATCH_SIZE, seed=seed, progress=False)
    seconds = time.process_time() - start
    with torch.no_grad():
        found, exact = (
            story.log_prob(held_out.values).double(),
            held_out.log_prob(held_out.values).double(),
        )
    rows = {
        "log_prob": found.mean(0),
        "exact": exact.mean(0),
        "expected": held_out.expected_log_prob(),
        "difference": (found - exact).mean(0),
        "standard_error": (found - exact).std(0) / NUM_HELD_OUT**0.5,
    }
    by_node = {
        node: {k: v[i].item() for k, v in rows.items()} for i, node in enumerate(strokes.names)
    }
    return {"mechanism": kind, "seed": seed, "training_cpu_s": round(seconds), "nodes": by_node}


def table(runs: list[dict[str, Any]]) -> str:
    """Medians over seeds, with the least and the greatest."""
    head = "mechanisms | log p(thickness) | less the exact one | log p(intensity given thickness) | less the exact one"
    lines = [f"| {head} | CPU seconds |", "|---" * 6 + "|"]
    for kind in KINDS:
        of_kind = [r for r in runs if r["mechanism"] == kind]
        cells = [
            spread([r["nodes"][node][key] for r in of_kind])
            for node in ("thickness", "intensity")
            for key in ("log_prob", "difference")
        ]
        seconds = statistics.median(r["training_cpu_s"] for r in of_kind)
        lines.append(f"| {kind} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def main() -> None:
    torch.set_num_threads(1)
    runs = [run(kind, seed) for kind in KINDS for seed in SEEDS]
    setting = {
        "num_data": NUM_DATA,
        "num_held_out": NUM_HELD_OUT,
        "batch_size": BATCH_SIZE,
        "schedule": SCHEDULE,
    }
    setting |= {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": processor(),
    }
    text = json.dumps({"setting": setting, "runs": runs}, indent=1)
    for path, content in (
        (DOCS / "measured/thickness.json", text + "\n"),
        (DOCS / "measured/thickness.table.md", table(runs)),
    ):
        with atomic_path(path) as temporary:
            temporary.write_text(content)
    print(text)


if __name__ == "__main__":
    main()
