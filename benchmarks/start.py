"""Seconds and memory until the command line answers and the package is imported: ``python -m benchmarks.start``."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys

TRAINING = """
import torch; torch.set_num_threads(1)
from ppl_disentangle.data import Sprites
from ppl_disentangle.inference import fit
from ppl_disentangle.zoo import build
fit(build("beta_vae", Sprites(), seed=0), Sprites(), steps=30, batch_size=64, progress=False)
""".strip().replace("\n", "; ")
PROGRAMS = {
    "python alone": "pass",
    "import ppl_disentangle": "import ppl_disentangle",
    "ppl-disentangle --help": "from ppl_disentangle.cli.main import parser; parser().format_help()",
    "from ppl_disentangle import do": "from ppl_disentangle import do",
    "from ppl_disentangle.inference import fit": "from ppl_disentangle.inference import fit",
    "import pyro": "import pyro",
    "30 steps of the study's network": TRAINING,
}


def cost(program: str) -> tuple[float, float]:
    """CPU seconds, and the most megabytes held, of one fresh process."""
    report = "; import resource as r; print(r.getrusage(r.RUSAGE_SELF).ru_maxrss)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program + report], check=True, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(done.stdout.split()[-1]) / 1024


def main() -> None:
    """Medians of five processes each, after one that fills the caches."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for round_ in range(6):
        for name, program in PROGRAMS.items():
            found = cost(program)
            if round_:
                taken[name].append(found)
    medians = {
        name: [statistics.median(column) for column in zip(*costs, strict=True)]
        for name, costs in taken.items()
    }
    print(
        json.dumps(
            {name: {"cpu_s": s, "megabytes": mb} for name, (s, mb) in medians.items()}, indent=2
        )
    )


if __name__ == "__main__":
    main()
