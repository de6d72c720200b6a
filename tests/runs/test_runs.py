"""Runs: what a command loads and builds, the size of its results, and groups that are files."""

import os

import numpy as np
import pytest
import torch
import xarray as xr

from ppl_disentangle.cli.main import main
from ppl_disentangle.data import digits
from ppl_disentangle.representation import encode
from ppl_disentangle.runs import preparation, recipes
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.runs.scoring import evaluate, observes_bernoulli_pixels
from ppl_disentangle.runs.training import train
from ppl_disentangle.studies.study import study
from ppl_disentangle.zoo import build

WEIGHTS = {"model.safetensors", "checkpoint.safetensors"}
MEGABYTE = 2**20


def counted(function, calls):
    def call(*arguments, **options):
        calls.append(function.__name__)
        return function(*arguments, **options)

    return call


@pytest.fixture
def calls(monkeypatch):
    """The calls of load_data and build, wherever runs import them."""
    calls = []
    for module in (preparation, recipes):
        for name in ("load_data", "build"):
            monkeypatch.setattr(module, name, counted(getattr(module, name), calls))
    return calls


def size(folder):
    """Bytes of all files of a run but its weights."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in WEIGHTS]
    return sum(path.stat().st_size for path in files)


QUICK = ["--steps", "5", "--batch-size", "16", "--held-out", "60", "--quiet"]
RUNS = {
    "digits": (["beta_vae", "--data", "digits"], 1.5),
    "sprites": (["beta_vae", "--data", "sprites"], 3),
    "pendulum": (["causal_vae", "--data", "pendulum"], 8),
}


@pytest.fixture
def few_metrics(monkeypatch):
    """Metrics that take no time."""
    settings = {"metrics": ["mig"], "num_data": 300, "num_test": 100, "resamples": 0}
    monkeypatch.setattr(recipes, "EVALUATION", recipes.EVALUATION | settings)


@pytest.mark.parametrize(("story", "megabytes"), RUNS.values(), ids=list(RUNS))
def test_a_command_loads_data_and_story_once_and_writes_little(
    story, megabytes, tmp_path, calls, few_metrics
):
    out = tmp_path / "run"
    assert main(["train", *story, *QUICK, "--out", str(out)]) == 0
    assert (out / "report.html").is_file()
    assert calls.count("load_data") == 1
    assert calls.count("build") == 2  # the story, and the untrained baseline of another seed
    assert size(out) < megabytes * MEGABYTE
    calls.clear()
    assert main(["intervene", str(out), "--do", f"{first_code(out)}=1"]) == 0
    assert calls == ["load_data", "build"]


def first_code(folder):
    return str(Run.open(folder).read_group("traversals")["code"].values[0])


def test_scores_after_training_are_the_scores_of_the_loaded_run(tmp_path, few_metrics):
    story = {"name": "beta_vae", "options": {}, "latent_dim": 3, "seed": 0}
    plan = recipes.configure(story, "digits", {"steps": 5, "seed": 0}, command="test")
    run = Run.create(tmp_path / "run", plan.config, progress=False)
    fitted = train(run, plan)
    xr.testing.assert_identical(evaluate(fitted), evaluate(run.fitted()))


def test_codes_after_training_are_the_codes_of_the_loaded_run_bit_for_bit(tmp_path):
    story = {"name": "vae", "options": {}, "network": "burgess", "seed": 0}
    training = {"steps": 2, "batch_size": 8, "seed": 0}
    plan = recipes.configure(story, "sprites", training, command="test")
    run = Run.create(tmp_path / "run", plan.config, progress=False)
    fitted = train(run, plan, draws=False)
    x = fitted.held_out.subset(torch.arange(20))
    xr.testing.assert_identical(encode(fitted.story, x), encode(run.fitted().story, x))


def test_a_trial_of_a_study_keeps_less_than_a_megabyte(tmp_path):
    grid = {
        "models": [{"story": "vae", "latent_dim": 10, "network": "burgess"}],
        "data": ["room"],
        "seeds": 1,
        "training": {"steps": 3, "batch_size": 8},
        "evaluation": {"metrics": ["mig"], "num_data": 200, "num_test": 100, "resamples": 0},
    }
    gathered = study(grid, tmp_path, workers=1, progress=False)
    assert gathered["status"].values.ravel().tolist() == ["done"]
    (trial,) = (tmp_path / "trials").iterdir()
    assert size(trial) < 0.5 * MEGABYTE
    assert not (trial / "checkpoint.safetensors").exists()


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", {}, progress=False)


def test_writing_a_group_leaves_the_other_files_alone(run):
    group = xr.Dataset({"x": ("data", np.arange(3.0))}, attrs={"seed": 1})
    run.write_group("first", group)
    before = os.stat(run.folder / "results" / "first.nc")
    run.write_group("second_z[0]=1.5", group + 1)
    run.write_group("second_z[0]=1.5", group + 2)
    after = os.stat(run.folder / "results" / "first.nc")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert run.group_names() == ["first", "second_z[0]=1.5"]
    xr.testing.assert_identical(run.read_group("first"), group)
    xr.testing.assert_identical(run.read_tree()["second_z[0]=1.5"].to_dataset(), group + 2)
    with pytest.raises(FileNotFoundError, match="has no results named 'third'"):
        run.read_group("third")


def test_runs_of_earlier_versions_keep_all_groups_in_one_file(run):
    group = xr.Dataset({"x": ("data", np.arange(3.0))})
    tree = xr.DataTree.from_dict({"fit": group, "metrics": group})
    tree.to_netcdf(run.folder / "results.nc", engine="h5netcdf")
    run.write_group("metrics", group + 1)
    assert run.group_names() == ["fit", "metrics"]
    xr.testing.assert_identical(run.read_tree()["fit"].to_dataset(), group)
    xr.testing.assert_identical(run.read_group("metrics"), group + 1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
def test_references_are_known_for_bernoulli_pixels(likelihood):
    data = digits()
    story = build("vae", data, likelihood=likelihood)
    assert observes_bernoulli_pixels(story, data) == (likelihood == "bernoulli")


def test_a_gaussian_story_has_no_bernoulli_references():
    assert not observes_bernoulli_pixels(build("probabilistic_pca", digits()), digits())
