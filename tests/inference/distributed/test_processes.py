"""Processes that share a batch: their gradients are those of one, whatever the objective does with the batch."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from ppl_disentangle.runs.folder import Run
from tests import ROOT
from tests.models.test_stories import PAIRS

ACROSS_DATA = {"two_domain_vae-published"}
"""Whose guide carries attributes from datum to datum, hence within each process's part."""


def run(num_processes, *command, check=True):
    """Run a program alone, or by as many processes as asked for, really started."""
    launcher = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(num_processes),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ended = subprocess.run(
        [sys.executable, *(launcher if num_processes > 1 else []), *map(str, command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=500,
    )
    assert not check or ended.returncode == 0, ended.stderr[-5000:]
    return ended


def gradients(num_processes, folder, *options):
    path = folder / f"gradients-{num_processes}.pt"
    run(num_processes, "-m", "tests.inference.distributed.shared_batch", path, *options)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return gradients(1, tmp_path_factory.mktemp("alone"))


def error(found, expected):
    """The largest difference of a gradient, over the largest gradient."""
    assert found.keys() == expected.keys()
    size = max(gradient.abs().max() for name, gradient in expected.items() if name != "loss")
    return max((found[name] - expected[name]).abs().max() / size for name in expected).item()


@pytest.mark.parametrize("num_processes", [2, 3])
def test_gradients_of_every_story_under_every_objective_are_those_of_one_process(
    num_processes, alone, tmp_path
):
    found = gradients(num_processes, tmp_path)
    assert len(found) == len(PAIRS)
    errors = {pair: error(found[pair], alone[pair]) for pair in alone if alone[pair]}
    assert len(errors) > 180
    assert {pair: e for pair, e in errors.items() if e > 1e-9} == {
        pair: errors[pair] for pair in ACROSS_DATA
    }


def test_terms_of_each_part_alone_would_be_wrong_where_they_are_no_sums_over_data(alone, tmp_path):
    found = gradients(2, tmp_path, "apart")
    for pair in found:
        found[pair]["loss"] = alone[pair]["loss"]  # here of a part alone
    apart = {
        name: error(found[f"hfvae-{name}"], alone[f"hfvae-{name}"])
        for name in ("beta", "tc", "dip", "info")
    }
    assert apart.pop("beta") < 1e-9
    assert min(apart.values()) > 1e-3


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    folders = {n: tmp_path_factory.mktemp(f"fit-{n}") for n in (1, 2)}
    for n, folder in folders.items():
        run(n, "-m", "tests.inference.distributed.shared_fit", folder)
    return {n: torch.load(folder / "found.pt", weights_only=True) for n, folder in folders.items()}


@pytest.mark.parametrize("objective", ["tc", "factor", "pyro"])
def test_steps_taken_together_are_those_of_one_process(fits, objective):
    (weights, history), (others, other_history) = (fits[n][objective] for n in (1, 2))
    torch.testing.assert_close(weights, others, rtol=0, atol=1e-6)
    torch.testing.assert_close(history, other_history, rtol=1e-5, atol=1e-5)


def test_what_was_stopped_goes_on_bit_for_bit(fits):
    (whole, bounds), (resumed, resumed_bounds) = fits[2]["resumed"]
    torch.testing.assert_close(whole, resumed, rtol=0, atol=0)
    assert bounds.tolist() == resumed_bounds.tolist()
    assert len(bounds) == 4


def test_all_stop_at_the_same_step_when_one_is_asked_to(fits):
    first, second = fits[2]["interrupted"]
    assert first == second
    assert 20 <= first < 100


def test_all_say_at_which_site_a_run_diverged(fits):
    first, second = fits[2]["diverged"]
    assert first == second
    assert "step" in first


def test_each_process_draws_latents_of_its_own_and_everything_else_alike(fits):
    first, second = fits[2]["own draws"]
    assert not torch.equal(first, second)
    first, second = fits[2]["common draws"]
    assert torch.equal(first, second)


def test_a_step_of_several_processes_is_not_compiled_and_says_so(fits):
    assert any("several processes take it together" in text for text in fits[2]["warnings"])
    assert fits[2]["store"] == 0


def test_what_processes_cannot_share_is_refused(fits):
    outside, apart = fits[2]["refused"]
    assert (
        outside
        == "latent 'w' is outside of the plate 'data': every process would draw one of its own"
    )
    assert apart == "expected processes with the same random state: seed all of them alike"


def test_the_command_line_trains_in_processes_and_resumes(tmp_path):
    out = tmp_path / "run"
    options = [
        "--steps",
        "30",
        "--batch-size",
        "33",
        "--latent-dim",
        "3",
        "--held-out",
        "100",
        "--quiet",
    ]
    command = [
        "-m",
        "ppl_disentangle",
        "train",
        "beta_tcvae",
        "--data",
        "digits",
        *options,
        "--out",
        out,
    ]
    ended = run(2, *command)
    assert ended.stdout.count("trained:") == 1
    weights = Run.open(out)
    story = weights.fitted().story
    shutil.rmtree(out / "figures")
    shutil.rmtree(out / "results")
    for name in ("model.safetensors", "report.html"):
        (out / name).unlink()
    run(2, "-m", "ppl_disentangle", "train", "--resume", out)
    again = weights.fitted().story
    torch.testing.assert_close(story.state_dict(), again.state_dict(), rtol=0, atol=0)
    assert (out / "report.html").is_file()
    ended = run(2, *command, check=False)
    assert ended.returncode != 0
    assert "exists, and a run is never overwritten" in ended.stderr
    few = run(
        2,
        *command[:4],
        "--data",
        "digits",
        "--batch-size",
        "3",
        "--out",
        tmp_path / "few",
        check=False,
    )
    assert "batch_size=3 is less than two data for each of 2 processes" in few.stderr
