"""Run all benchmarks, or the named ones, and print JSON.

``python -m benchmarks [--write] [step] [fast] [objectives] [data] …``

With ``--write``, which takes about an hour for all of them, figures go to ``docs/`` and the pages of performance and
scaling are written from them.

Benchmarks that write other pages, some of which take long, run only if they are named: graphs (a quarter of an hour),
pendulum (half an hour), thickness, worlds; and peers, where pythae and disent are installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("step", "fast", "sharing", "precision", "objectives", "data", "metrics", "start")
LONG = ("graphs", "pendulum", "thickness", "worlds", "peers")
DOCS = Path(__file__).parents[1] / "docs"
ON_THE_PAGE = ("step", "fast", "sharing", "precision", "start", "peers")


def main() -> None:
    """Run each benchmark in a new process."""
    arguments = sys.argv[1:]
    names = [name for name in arguments if name != "--write"] or NAMES
    for name in names:
        if name not in NAMES + LONG:
            sys.exit(f"no benchmark named {name!r}; there are {', '.join(NAMES + LONG)}")
    with tempfile.TemporaryDirectory() as folder:
        found = {name: Path(folder) / f"{name}.json" for name in names}
        for name, path in found.items():
            done = subprocess.run(
                [sys.executable, "-m", f"benchmarks.{name}"], capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(done.stderr)
            path.write_text(done.stdout)
            print(json.dumps({name: json.loads(done.stdout)}, indent=2), flush=True)
        if "--write" in arguments:
            write(found)


def write(found: dict[str, Path]) -> None:
    """Keep figures in ``docs/``, and write the pages that are made of them."""
    for name in found.keys() & {"objectives", "data"}:
        (DOCS / f"measured/{name}_speed.json").write_text(found[name].read_text())
    kept = [str(path) for name, path in found.items() if name in ON_THE_PAGE]
    subprocess.run(
        [sys.executable, str(DOCS / "templates" / "write_performance.py"), *kept], check=True
    )


if __name__ == "__main__":
    main()
