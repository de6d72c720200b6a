"""Write ``docs/your_data.md`` from its template.

python docs/templates/write_your_data.py run    # runs the programs of the page, and keeps their output
python docs/templates/write_your_data.py        # writes the page from the kept output
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ppl_disentangle.runs.training import processor
from ppl_disentangle.storage import atomic_path

DOCS = Path(__file__).parents[1]
TEMPLATE = DOCS / "templates" / "your_data.md.in"
PAGE = DOCS / "your_data.md"
RESULTS = DOCS / "measured" / "your_data.json"
PROGRAM = r"```(python|sh)\n(.*?)```"


def programs() -> list[tuple[str, str]]:
    """The language and the source of each program of the page, in order."""
    return re.findall(PROGRAM, TEMPLATE.read_text(), re.DOTALL)


def outputs(folder: Path) -> list[str]:
    """The output of each program; all run in ``folder``, the Python programs in one namespace."""
    names: dict[str, Any] = {"__name__": "your_data"}
    with contextlib.chdir(folder):
        return [output_of(language, source, names) for language, source in programs()]


def output_of(language: str, source: str, names: dict[str, Any]) -> str:
    """What a program prints."""
    if language == "sh":
        return output_of_command(source)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(source, names)
    return printed.getvalue().rstrip()


def output_of_command(line: str) -> str:
    """What ``ppl-disentangle …`` prints.

    Raises:
        RuntimeError: The command failed.
    """
    arguments = [
        sys.executable,
        "-m",
        *shlex.split(line.replace("ppl-disentangle", "ppl_disentangle", 1)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{line}: {done.stderr}")
    return done.stdout.rstrip()


def run() -> None:
    """Run the programs and keep their output."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        printed = outputs(Path(folder))
    seconds = round(time.monotonic() - start)
    results = {"machine": f"{processor()}, one thread", "seconds": seconds, "outputs": printed}
    with atomic_path(RESULTS) as path:
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def page() -> str:
    """The page as it should be."""
    results = json.loads(RESULTS.read_text())
    kept = iter(results["outputs"])

    def with_output(match: re.Match[str]) -> str:
        printed = next(kept)
        return match[0] + (f"\n\n```text\n{printed}\n```" if printed else "")

    text = re.sub(PROGRAM, with_output, TEMPLATE.read_text(), flags=re.DOTALL)
    return text.replace("@SECONDS@", str(results["seconds"])).replace(
        "@MACHINE@", results["machine"]
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        run()
    with atomic_path(PAGE) as target:
        target.write_text(page())
