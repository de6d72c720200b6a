"""bfloat16, channels-last and kept memory, encoding, large batches: ``python -m benchmarks.fast``."""

from __future__ import annotations

import copy
import json
import resource
import subprocess
import sys
import time
from functools import partial

import torch

from benchmarks import handwritten
from benchmarks.interleave import interleave
from benchmarks.step import library_step
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites, from_arrays
from ppl_disentangle.inference import TCELBO
from ppl_disentangle.inference.training.allocator import keep_freed_memory
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder, study_decoder, study_encoder
from ppl_disentangle.representation import encode

BATCHES = (64, 256)
PRECISIONS = ("float32", "bfloat16")


def images(num):
    return Sprites().sample(num, torch.Generator().manual_seed(0))[1]


def steps(batch_size):
    """The hand-written step in float32, and the step of ``fit`` in bfloat16 and channels-last."""
    torch.manual_seed(0)
    stored, pairs = (
        images(2000),
        [copy.deepcopy((study_encoder(20), study_decoder(10))) for _ in range(3)],
    )
    story = BetaVAE(Gaussian(pairs[2][0]), Bernoulli(pairs[2][1]), 10)
    return {
        "hand-written": handwritten.training_step(
            handwritten.beta_vae, *pairs[0], stored, batch_size
        ),
        "hand-written again": handwritten.training_step(
            handwritten.beta_vae, *pairs[1], stored, batch_size
        ),
        "fit, bfloat16": library_step(
            story, from_arrays(stored, maximum=1), batch_size, precision="bfloat16"
        ),
    }


def with_kept_memory(batch_size):
    """The step of ``fit`` when freed memory is kept, as the command ``train`` does; median CPU ms."""
    keep_freed_memory()
    step = steps(batch_size)["fit, bfloat16"]
    return interleave({"fit, bfloat16": step}, rounds=9)["fit, bfloat16"]["cpu_ms"]


def encoding(number):
    """So many images: by the loop that one would write, in float32 and batches of 256, and by ``encode``."""
    torch.manual_seed(0)
    stored = images(number)
    story = BetaVAE(Gaussian(study_encoder(20)), Bernoulli(study_decoder(10)), 10)
    usual, data = copy.deepcopy(story.encoder), from_arrays(stored, maximum=1)
    handwritten.as_usual(usual)

    def eager():
        with torch.no_grad():
            return torch.cat([usual.net(x.float()) for x in stored.split(256)])

    ways = {
        f"encode, {precision}": partial(encode, story, data, precision=precision)
        for precision in PRECISIONS
    }
    return interleave({"hand-written": eager, "hand-written again": eager, **ways}, rounds=7)


def large_batch(size=4096):
    """Seconds and megabytes of one loss with its gradients, the total correlation of so many posteriors."""
    torch.manual_seed(0)
    net, decoder = (
        mlp_encoder(20, shape=(1, 8, 8), hidden=64),
        mlp_decoder(10, shape=(1, 8, 8), hidden=64),
    )
    story, x = BetaVAE(Gaussian(net), Bernoulli(decoder), 10), torch.rand(size, 1, 8, 8)
    loss = TCELBO(num_data=100_000)(story.model, story.guide)
    loss(x[:64]).backward()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    loss(x).backward()
    seconds = time.process_time() - start
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "cpu_s": seconds,
        "megabytes": added,
        "all_pairs_megabytes": size * size * 10 * 4 / 2**20,
    }


def main():
    """All of it, one thread, CPU time."""
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        name, number = sys.argv[1:]
        measured = {"kept": with_kept_memory, "large": large_batch, "encoding": encoding}[name]
        print(json.dumps(measured(int(number))))
        return
    result = {}
    for batch_size in BATCHES:
        result[f"batch {batch_size}"] = found = interleave(steps(batch_size), rounds=7)
        kept = alone("kept", batch_size)
        ratio = found["hand-written"]["cpu_ms"] / kept
        found["fit, bfloat16, memory kept"] = {"cpu_ms": kept, "speed": ratio}
    result |= {"encoding": alone("encoding", 10_000), "large batch": alone("large", 4096)}
    print(json.dumps(result, indent=2))


def alone(name, number):
    """Run this benchmark in a new process and return its result."""
    command = [sys.executable, "-m", "benchmarks.fast", name, str(number)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
