"""All benchmarks, or those named, as JSON: ``python -m benchmarks [step] [fast] [objectives] [data] [metrics] …``.

``docs/write_performance.py`` makes a page of what step, fast, sharing, precision and start print.

Those that write pages, some of which take long, are run only where they are named: graphs (a quarter of an hour),
pendulum (half an hour), thickness, worlds.
"""

from __future__ import annotations

import json
import subprocess
import sys

NAMES = ("step", "fast", "sharing", "precision", "objectives", "data", "metrics", "start")
LONG = ("graphs", "pendulum", "thickness", "worlds")


def main() -> None:
    """Run each benchmark in a process of its own."""
    names = sys.argv[1:] or NAMES
    for name in names:
        if name not in NAMES + LONG:
            sys.exit(f"no benchmark named {name!r}; there are {', '.join(NAMES + LONG)}")
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        print(json.dumps({name: json.loads(done.stdout)}, indent=2), flush=True)


if __name__ == "__main__":
    main()
