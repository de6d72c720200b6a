"""Every example runs, with few steps, and says something."""

import subprocess
import sys

import pytest

from tests import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_runs(path, tmp_path):
    command = [sys.executable, "-W", "error::UserWarning", str(path), "--steps", "5"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) <= 40
