"""Steps that processes share, and runs that workers divide among them: ``python -m benchmarks.sharing``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import torch

from benchmarks.fast import images
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.distributed.processes import group_of_processes, rank
from ppl_disentangle.models import BetaTCVAE
from ppl_disentangle.networks import study_decoder, study_encoder
from ppl_disentangle.studies.study import study

STEPS, BATCH = 60, 64
GRID = {
    "models": [{"story": "beta_vae", "latent_dim": 4, "sweep": {"beta": [1, 2, 4, 8]}}],
    "data": ["digits"],
    "seeds": 3,
    "training": {"steps": 1500, "batch_size": 64},
    "evaluation": {"metrics": ["mig"], "resamples": 0},
}


def shared_steps():
    """Wall milliseconds a step of one batch, by as many processes as run this, a thread each."""
    torch.set_num_threads(1)
    with group_of_processes():
        torch.manual_seed(0)
        story, data = (
            BetaTCVAE(Gaussian(study_encoder(20)), Bernoulli(study_decoder(10)), 10),
            images(2000),
        )
        options = {"batch_size": BATCH, "progress": False, "compile": False}
        fit(story, from_arrays(data, maximum=1), steps=5, **options)
        start = time.perf_counter()
        fit(story, from_arrays(data, maximum=1), steps=STEPS, **options)
        if rank() == 0:
            print(json.dumps(1e3 * (time.perf_counter() - start) / STEPS))


def alone(command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], check=True, capture_output=True, text=True, env=environment
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    """Wall time: of steps in turn, three times each; of a study of 12 runs by workers of one thread."""
    if len(sys.argv) > 1:
        shared_steps()
        return
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    commands = {
        "1": ["-m", "benchmarks.sharing", "steps"],
        "2": [*launch, "-m", "benchmarks.sharing", "steps"],
    }
    taken = {count: [] for count in commands}
    for _ in range(3):
        for count, command in commands.items():
            taken[count].append(alone(command))
    os.environ["OMP_NUM_THREADS"] = "1"
    workers = {}
    for count in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            found = study(GRID, folder, workers=count, progress=False)
            wall = time.perf_counter() - start
            workers[count] = {"wall_s": wall, "runs": int((found["status"] == "done").sum())}
    steps = {count: sorted(times)[1] for count, times in taken.items()}
    print(
        json.dumps(
            {"ms_per_shared_step": steps, "study": workers, "cores": os.cpu_count()}, indent=2
        )
    )


if __name__ == "__main__":
    main()
