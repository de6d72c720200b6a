"""Studies: every trial is a function of its configuration, and one that fails loses only itself."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future

import numpy as np
import pytest
import xarray as xr

from ppl_disentangle.cli.main import main
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.studies.grid import read_grid, trials
from ppl_disentangle.studies.study import results, study
from tests import ROOT

GRID = {
    "models": [
        {"story": "beta_vae", "sweep": {"beta": [1, 16]}, "latent_dim": 3},
        {"story": "vae", "name": "plain", "latent_dim": 2},
    ],
    "data": ["digits"],
    "seeds": 2,
    "held_out": 100,
    "training": {"steps": 15, "batch_size": 32},
    "evaluation": {"metrics": ["mig", "active_units"], "resamples": 0},
}


class Here(Executor):
    """Runs tasks at once, in this process."""

    def __init__(self):
        self.tasks = []

    def submit(self, fn, /, *args, **kwargs):
        self.tasks.append(args)
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder, executor = tmp_path_factory.mktemp("study"), Here()
    return folder, study(GRID, folder, executor=executor, progress=False), executor


def test_results_have_the_axes_of_the_grid(done):
    folder, gathered, executor = done
    assert len(executor.tasks) == 6
    assert dict(gathered.sizes) | {"baseline": 0} == {
        **{"model": 2, "setting": 2, "data": 1, "seed": 2},
        **{"metric": 4, "baseline": 0},
    }
    assert gathered["value"].sel(model="beta_vae").values.tolist() == ["beta=1", "beta=16"]
    assert (gathered["status"].sel(model="beta_vae") == "done").all()
    assert gathered["status"].sel(model="plain").values[:, 0, 0].tolist() == ["done", "not planned"]
    known = gathered["score"].sel(metric="mig").notnull()
    assert known.values.sum() == 6
    assert (gathered["ceiling"].sel(metric="mig").where(known) > 0.5).sum() == 6
    assert (gathered["seconds"].notnull() == known).all()
    with xr.open_dataset(folder / "study.nc", engine="h5netcdf") as saved:
        xr.testing.assert_equal(saved.load(), gathered)
    assert len((folder / "study.csv").read_text().splitlines()) == 1 + 6 * 4


def test_a_score_is_that_of_the_run_in_the_folder_of_its_configuration(done):
    folder, gathered, _ = done
    for trial in trials(GRID):
        run = Run.open(folder / "trials" / trial.key)
        assert run.config["story"]["seed"] == run.config["training"]["seed"] == trial.seed
        own = run.read_tree()["metrics"].to_dataset()["estimate"].sel(metric="mig").item()
        place = {
            "model": trial.model,
            "setting": trial.setting,
            "data": trial.data,
            "seed": trial.seed,
        }
        assert gathered["score"].sel(metric="mig", **place).item() == own


def test_a_finished_trial_keeps_scores_and_codes_and_little_else(done):
    """126 such trials are to take less than 100 MB."""
    folder, _, _ = done
    for trial in trials(GRID):
        files = {p for p in (folder / "trials" / trial.key).rglob("*") if p.is_file()}
        assert not [p for p in files if p.suffix == ".safetensors"]
        assert sum(p.stat().st_size for p in files) < 400_000
        codes = Run.open(folder / "trials" / trial.key).read_tree()["codes"]
        assert codes["mean"].shape == (1000, 2 if trial.model == "plain" else 3)


def test_a_trial_keeps_its_weights_if_asked_and_can_be_trained_again(done, tmp_path):
    folder, _, _ = done
    one = GRID | {"models": GRID["models"][1:], "seeds": [1]}
    study(one, tmp_path, executor=Here(), keep_weights=True, progress=False)
    (trial,) = trials(one)
    weights = (tmp_path / "trials" / trial.key / "model.safetensors").read_bytes()
    again = folder / "trials" / trial.key
    assert main(["train", "--resume", str(again), "--no-evaluate", "--quiet"]) == 0
    assert (again / "model.safetensors").read_bytes() == weights
    for name in ("model", "checkpoint"):
        (again / f"{name}.safetensors").unlink()


def test_the_same_study_again_runs_nothing_and_a_larger_one_what_is_new(done):
    folder, gathered, _ = done
    executor = Here()
    xr.testing.assert_equal(study(GRID, folder, executor=executor, progress=False), gathered)
    assert not executor.tasks
    larger = study(GRID | {"seeds": 3}, folder, executor=executor, progress=False)
    assert len(executor.tasks) == 3
    xr.testing.assert_equal(larger["score"].sel(seed=[0, 1]), gathered["score"])


def test_a_trial_is_the_same_wherever_and_whenever_it_runs(done, tmp_path):
    _, gathered, _ = done
    one = GRID | {"models": GRID["models"][1:], "seeds": [1]}
    again = study(one, tmp_path, executor=Here(), progress=False)
    assert (
        again["score"].values.ravel().tolist()
        == gathered["score"].sel(model="plain", setting=0, seed=1).values.ravel().tolist()
    )


MINE = """
import os, signal
from pathlib import Path
from ppl_disentangle.zoo import build

def make(data, kind, flag):
    first = not Path(flag).exists()
    Path(flag).touch()
    if kind == "dies" or (kind == "dies once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raises":
        raise ValueError("a story that cannot be built")
    return build("vae", data, latent_dim=2)
"""


def test_trials_that_die_or_raise_lose_only_themselves(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    kinds = ["well", "dies", "dies once", "raises"]
    models = [
        {
            "story": f"{tmp_path}/mine.py:make",
            "name": k,
            "options": {"kind": k, "flag": str(tmp_path / k)},
        }
        for k in kinds
    ]
    gathered = study(GRID | {"models": models, "seeds": 1}, tmp_path / "out", workers=1)
    status = dict(zip(kinds, gathered["status"].values.ravel().tolist(), strict=True))
    assert status["well"] == status["dies once"] == "done"
    assert status["dies"].startswith("failed: the process of the task ended with signal SIGKILL")
    assert status["raises"].startswith("failed: ValueError: a story that cannot be built")
    assert "dies digits seed 0: failed" in capsys.readouterr().out


def test_ctrl_c_leaves_a_study_that_the_same_command_goes_on_with(tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(
        'data = ["digits"]\nseeds = 1\nheld_out = 100\n[[models]]\nstory = "vae"\n[training]\nsteps = 4000\n'
        'batch_size = 32\n[evaluation]\nmetrics = ["mig"]\n'
    )
    command = [
        sys.executable,
        "-m",
        "ppl_disentangle",
        "study",
        str(grid),
        "--out",
        str(tmp_path / "out"),
        "--workers",
    ]
    running = subprocess.Popen(
        [*command, "1", "--quiet"], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    try:
        while not list(tmp_path.glob("out/trials/*/checkpoint.safetensors")):
            time.sleep(0.1)
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
    with xr.open_dataset(tmp_path / "out" / "study.nc", engine="h5netcdf") as saved:
        assert saved["status"].values.ravel().tolist() == ["not run"]
    assert (
        main(["study", str(grid), "--out", str(tmp_path / "out"), "--workers", "1", "--quiet"]) == 0
    )
    with xr.open_dataset(tmp_path / "out" / "study.nc", engine="h5netcdf") as saved:
        assert saved["status"].values.ravel().tolist() == ["done"]


BAD = {
    "no models": ({"models": []}, "a grid needs 'models'"),
    "an unknown key": (
        {"seed": 3},
        "no key of a grid named 'seed'; there are .*; did you mean 'seeds'",
    ),
    "a model without a story": ({"models": [{"name": "mine"}]}, "a model needs 'story'"),
    "an unknown key of a model": (
        {"models": [{"story": "vae", "option": {}}]},
        "no key of a model named 'option'; .*; did you mean 'options'",
    ),
    "two models of one name": (
        {"models": [{"story": "vae"}, {"story": "vae"}]},
        r"different names, got \['vae', 'vae'\]",
    ),
    "data that are no list": (
        {"data": "digits"},
        "'data' of a grid: expected .*list.*, got 'digits'",
    ),
    "a sweep of two": (
        {"models": [{"story": "beta_vae", "sweep": {"beta": [1], "warm_up": [1]}}]},
        "expected a sweep of one option",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=list(BAD))
def test_a_grid_that_is_none_says_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        trials(GRID | change)


def test_a_file_that_is_no_grid_says_so(tmp_path):
    (tmp_path / "grid.toml").write_text("models = [")
    with pytest.raises(ValueError, match=r"grid.toml: "):
        read_grid(tmp_path / "grid.toml")


def test_nothing_run_is_no_error(tmp_path):
    empty = results(trials(GRID), tmp_path)
    assert set(np.unique(empty["status"])) == {"not run", "not planned"}
    assert "score" not in empty


def test_keys_depend_on_all_of_the_configuration():
    keys = [trial.key for trial in trials(GRID)]
    longer = [trial.key for trial in trials(GRID | {"training": {"steps": 16, "batch_size": 32}})]
    assert len(set(keys + longer)) == 12
    assert keys == [trial.key for trial in trials(json.loads(json.dumps(GRID)))]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
@pytest.mark.skipif(
    not shutil.which("unshare") or os.getuid() != 0, reason="no network namespace without root"
)
def test_a_cluster_of_two_nodes_loses_nothing_when_one_dies(tmp_path):
    command = ["unshare", "-n", sys.executable, "-m", "tests.studies.ray_cluster", str(tmp_path)]
    subprocess.run(command, check=True, timeout=300, cwd=ROOT)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["nodes"] == ["127.0.0.1", "127.0.0.2"]
    assert told["alive"] == ["127.0.0.1"]
    assert json.loads((tmp_path / "killed.json").read_text()) < 12
    assert told["status"].count("done") == 12


def test_without_ray_a_study_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'needs pip install "ppl-disentangle\[ray\]"'):
        study(GRID, tmp_path, executor="ray", progress=False)
    with pytest.raises(
        ValueError, match="no executor named 'rays'; there are local, ray; did you mean 'ray'"
    ):
        study(GRID, tmp_path, executor="rays", progress=False)
