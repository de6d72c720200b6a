"""Training steps on a GPU beside the hand-written ones: ``python -m benchmarks.gpu``, or on a device that is named."""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time

import torch

from benchmarks import handwritten
from benchmarks.step import floor, library_step, networks
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites, digits, from_arrays
from ppl_disentangle.models import BetaVAE

SETTINGS = {"mlp": ("small MLP, batch 128", 128), "study": ("study network, batch 64", 64)}
ROUNDS, CALLS = 9, 100


def steps_of(kind, batch_size, device):
    """The hand-written step, and the steps of ``fit``, on the device."""
    stored = Sprites().sample(4000, torch.Generator().manual_seed(0))[1]
    if kind == "mlp":
        stored = (digits().observations(torch.arange(1797)) > 7).to(torch.uint8)
    data, stored = from_arrays(stored, maximum=1), stored.to(device)
    pairs = [[net.to(device) for net in copy.deepcopy(networks(kind))] for _ in range(5)]
    steps = {
        "hand-written": handwritten.training_step(
            handwritten.beta_vae, *pairs[0], stored, batch_size
        ),
        "hand-written again": handwritten.training_step(
            handwritten.beta_vae, *pairs[1], stored, batch_size
        ),
    }
    for number, taken_by in enumerate((None, "graph", "compiled"), 2):
        story = BetaVAE(Gaussian(pairs[number][0]), Bernoulli(pairs[number][1]), 10)
        name = "fit" if taken_by is None else f"fit, {taken_by}"
        steps[name] = library_step(story, data, batch_size, taken_by=taken_by, device=device)
    return steps


def interleave(steps, device, calls):
    """Median wall milliseconds a step, the device waited for, and the first one's time over each one's."""
    taken = {name: [] for name in steps}
    for number in range(ROUNDS + 1):
        for name in list(steps) if number % 2 else list(steps)[::-1]:
            start = time.perf_counter()
            for _ in range(calls):
                steps[name]()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:  # the first round warms up
                taken[name].append(1e3 * (time.perf_counter() - start) / calls)
    first = taken[next(iter(steps))]
    return {
        name: {
            "ms": statistics.median(times),
            "steps_per_s": 1e3 / statistics.median(times),
            "speed": statistics.median(a / b for a, b in zip(first, times, strict=True)),
        }
        for name, times in taken.items()
    }


def main():
    """Both networks; says so if there is no GPU."""
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"skipped": "no CUDA device"}))
        return
    calls = int(sys.argv[2]) if len(sys.argv) > 2 else CALLS
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    found = {}
    for kind, (title, size) in SETTINGS.items():
        found[title] = interleave(steps_of(kind, size, device), device, calls)
        least = floor(
            kind, size, lambda steps: interleave(steps, device, max(1, calls // 10)), device
        )
        for row in found[title].values():
            row["share_of_floor"] = least["ms"] / row["ms"]
        found[title]["floor"] = least
    print(json.dumps({"device": name, **found}, indent=2))


if __name__ == "__main__":
    main()
