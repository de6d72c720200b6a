"""Does bfloat16 change the learned codes? Over five seeds: ``python -m benchmarks.precision [digits] [sprites]``."""

from __future__ import annotations

import json
import sys

import torch

from ppl_disentangle.data import Sprites, digits
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.zoo import build

SEEDS = range(5)
METRICS = ["mig", "explicitness", "active_units"]


def run(name, seed, precision):
    """The held-out terms in nats per datum, and metrics, of a beta-VAE: an MLP on digits, convolutions on sprites."""
    data = digits() if name == "digits" else Sprites()
    training, held_out = data.split(360)
    story = build("beta_vae", data, seed=seed, options={"beta": 1.0})
    steps, numbers = (2000, (1200, 590)) if name == "digits" else (1500, (2000, 1000))
    fit(
        story,
        training,
        steps=steps,
        batch_size=64,
        lr=1e-3,
        seed=seed,
        precision=precision,
        progress=False,
    )
    bound = elbo_per_datum(story, held_out).sum("code").mean()
    options = {
        "num_data": numbers[0],
        "num_test": numbers[1],
        "resamples": 0,
        "baselines": {},
        "progress": False,
    }
    scores = evaluate(story, data, metrics=METRICS, **options)["estimate"]
    found = {name: float(bound[name]) for name in ("log_likelihood", "kl")}
    return found | {name: float(scores.sel(metric=name)) for name in METRICS}


def main(names):
    """Every seed in either precision."""
    torch.set_num_threads(1)
    precisions = ("float32", "bfloat16")
    found = {
        name: {p: [run(name, seed, p) for seed in SEEDS] for p in precisions} for name in names
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:] or ["digits", "sprites"])
