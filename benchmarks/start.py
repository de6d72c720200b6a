"""Seconds until the command line answers and the package is there: ``python -m benchmarks.start``."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys

PROGRAMS = {
    "python alone": "pass",
    "import ppl_disentangle": "import ppl_disentangle",
    "ppl-disentangle --help": "from ppl_disentangle.cli import parser; parser().format_help()",
    "from ppl_disentangle import do": "from ppl_disentangle import do",
    "from ppl_disentangle.inference import fit": "from ppl_disentangle.inference import fit",
}


def cpu_seconds(program: str) -> float:
    """CPU seconds of one fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Medians of five processes each, after one that fills the caches."""
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for round_ in range(6):
        for name, program in PROGRAMS.items():
            seconds = cpu_seconds(program)
            if round_:
                taken[name].append(seconds)
    print(json.dumps({name: {"cpu_s": statistics.median(times)} for name, times in taken.items()}, indent=2))


if __name__ == "__main__":
    main()
