"""Whether bfloat16 changes what is learned, over five seeds: ``python -m benchmarks.precision``."""

from __future__ import annotations

import json

import torch

from ppl_disentangle.data import digits
from ppl_disentangle.inference import evidence, fit
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.zoo import build

SEEDS, STEPS = range(5), 2000
METRICS = ["mig", "explicitness", "active_units"]


def run(seed, precision):
    """The held-out terms in nats per datum, and metrics, of a beta-VAE on digits."""
    data = digits()
    training, held_out = data.split(360)
    story = build("beta_vae", data, seed=seed, options={"beta": 1.0})
    fit(story, training, steps=STEPS, lr=1e-3, seed=seed, precision=precision, progress=False)
    bound = evidence(story, held_out).sum("code").mean()
    options = {"num_data": 1200, "num_test": 590, "resamples": 0, "baselines": {}, "progress": False}
    scores = evaluate(story, data, metrics=METRICS, **options)["estimate"]
    found = {name: float(bound[name]) for name in ("log_likelihood", "kl")}
    return found | {name: float(scores.sel(metric=name)) for name in METRICS}


def main():
    """Every seed in either precision."""
    torch.set_num_threads(1)
    found = {precision: [run(seed, precision) for seed in SEEDS] for precision in ("float32", "bfloat16")}
    print(json.dumps(found | {"steps": STEPS}, indent=2))


if __name__ == "__main__":
    main()
