"""A study on a Ray cluster of two nodes, one of which dies in the middle; run inside a network namespace of its own.

``unshare -n python -m tests.studies.ray_cluster FOLDER`` leaves the study there.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import ray

from ppl_disentangle.studies.study import study
from tests.studies.test_study import GRID

HEAD, OTHER = "127.0.0.1", "127.0.0.2"


def start(*options):
    """Start a node; returns the processes that it runs."""
    before = raylets()
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--num-cpus=1",
        "--disable-usage-stats",
        *options,
    ]
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"},
    )
    return raylets() - before


def raylets():
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().split(b"\0")[0].endswith(b"raylet/raylet"):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def kill_when_half_is_done(pids, folder, planned):
    while len(list(folder.glob("trials/*/done.json"))) < planned // 2:
        time.sleep(0.2)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    (folder / "killed.json").write_text(json.dumps(len(list(folder.glob("trials/*/done.json")))))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for command in ("ip link set lo up", f"ip addr add {OTHER}/8 dev lo"):
        subprocess.run(command.split(), check=True)
    try:
        start("--head", f"--node-ip-address={HEAD}", "--port=6399", "--include-dashboard=false")
        other = start(f"--address={HEAD}:6399", f"--node-ip-address={OTHER}")
        ray.init(address=f"{HEAD}:6399", log_to_driver=False)
        nodes = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        grid = GRID | {"seeds": 4, "training": {"steps": 200, "batch_size": 32}}
        threading.Thread(
            target=kill_when_half_is_done, args=(other, folder, 12), daemon=True
        ).start()
        status = (
            study(grid, folder, executor="ray", progress=False)["status"].values.ravel().tolist()
        )
        for _ in range(120):
            alive = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
            if alive == {HEAD}:
                break
            time.sleep(0.5)
        told = {"nodes": sorted(nodes), "alive": sorted(alive), "status": status}
        (folder / "told.json").write_text(json.dumps(told))
    finally:
        subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "stop", "--force"],
            stdout=subprocess.DEVNULL,
        )
