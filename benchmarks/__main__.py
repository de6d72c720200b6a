"""All benchmarks, or those named, as JSON: ``python -m benchmarks [step] [data] [metrics] [start]``."""

from __future__ import annotations

import json
import subprocess
import sys

NAMES = ("step", "data", "metrics", "start")


def main() -> None:
    """Run each benchmark in a process of its own."""
    names = sys.argv[1:] or NAMES
    for name in names:
        if name not in NAMES:
            sys.exit(f"no benchmark named {name!r}; there are {', '.join(NAMES)}")
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        print(json.dumps({name: json.loads(done.stdout)}, indent=2), flush=True)


if __name__ == "__main__":
    main()
