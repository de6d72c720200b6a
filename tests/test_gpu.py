"""What holds on a GPU as on the processor; ``pytest -m gpu`` where there is one."""

import json
import subprocess
import sys

import pytest
import torch
import xarray as xr

from ppl_disentangle import encode
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.training.replay import Replay
from tests import ROOT
from tests.inference.training.test_capture import fitted
from tests.models.test_stories import PAIRS, STORIES, data_for, observations, refused

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize(("make", "objective"), PAIRS)
def test_every_story_trains_under_every_objective_on_a_gpu(make, objective):
    torch.manual_seed(0)
    story = make()
    chosen = objective(story)
    if refused(story, chosen):
        pytest.skip("the objective refuses the story")
    history = fit(
        story,
        data_for(story),
        objective=chosen,
        steps=5,
        batch_size=16,
        device="cuda",
        progress=False,
    )
    assert {p.device.type for p in story.parameters()} == {"cuda"}
    assert bool(history.to_array().notnull().all())


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("name", ["beta_vae", "hfvae"])
def test_a_graph_on_a_gpu_takes_the_eager_steps(name, monkeypatch):
    monkeypatch.setattr("ppl_disentangle.inference.training.loop.MIN_GRAPH_STEPS", 0)
    (eager, weights), (graph, others) = (
        fitted(STORIES[name], compile=how, device="cuda") for how in (False, "auto")
    )
    assert graph.attrs["captured"] == "graph"
    torch.testing.assert_close(weights, others, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@on_gpu
def test_a_graph_on_a_gpu_is_replayed_from_its_third_step_on(monkeypatch):
    monkeypatch.setattr("ppl_disentangle.inference.training.loop.MIN_GRAPH_STEPS", 0)
    replays, replay = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(
        torch.cuda.CUDAGraph, "replay", lambda graph: replays.append(1) or replay(graph)
    )
    fitted(STORIES["beta_tcvae"], device="cuda", steps=30)
    assert (
        len(replays) == 1 + 26
    )  # one beside an eager step; of 30 the first three are validated, and one runs as it is


@pytest.mark.gpu
@on_gpu
def test_what_cannot_be_recorded_runs_as_it_is_with_a_warning():
    weights = torch.zeros(3, device="cuda")

    def reads(weights, x):
        weights.add_(float(x.sum()))
        return [weights.clone()]

    step = Replay(reads, [weights])
    with pytest.warns(UserWarning, match="not replayed as a CUDA graph"):
        found = [step([torch.full((2,), float(i), device="cuda")])[0].tolist() for i in range(4)]
    assert found == [[0.0] * 3, [2.0] * 3, [6.0] * 3, [12.0] * 3]


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("name", STORIES)
def test_codes_on_a_gpu_are_those_on_the_processor(name):
    torch.manual_seed(0)
    story = STORIES[name]()
    here = encode(story, observations(story=story))
    there = encode(story.to("cuda"), observations(story=story))
    xr.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_benchmark_of_gpus_says_that_there_is_none():
    command = [sys.executable, "-m", "benchmarks.gpu"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(ended.stdout) == {"skipped": "no CUDA device"}


@pytest.mark.slow
def test_the_benchmark_of_gpus_runs_on_the_processor_too():
    command = [sys.executable, "-m", "benchmarks.gpu", "cpu", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(ended.stdout)["small MLP, batch 128"]
    assert set(found) == {
        "hand-written",
        "hand-written again",
        "fit",
        "fit, graph",
        "fit, compiled",
    }
