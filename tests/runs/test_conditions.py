"""A run of a story whose model and guide need a condition: all of its results use the condition."""

import numpy as np
import pytest
import torch

from ppl_disentangle.cli.main import main
from ppl_disentangle.representation import encode
from ppl_disentangle.runs import Run

SOURCE = """
import pyro, torch
import pyro.distributions as dist
from torch import nn
from ppl_disentangle import GenerativeStory
from ppl_disentangle.data import with_conditions


class CVAE(GenerativeStory):
    latents = ("z",)

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(65, 4), nn.Linear(3, 64)

    def model(self, x=None, *, batch_size=1, c):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = self.decoder(torch.cat([z, c], -1)).unflatten(-1, (1, 8, 8))
            pixels = dist.Bernoulli(logits=logits, validate_args=False).to_event(3)
            return pyro.sample("x", pixels, obs=x)

    def guide(self, x, *, c):
        with self.data_plate(x):
            loc, log_scale = self.encoder(torch.cat([x.flatten(1), 10 * c], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Labelled(CVAE):
    def training_data(self, data):
        return with_conditions(data, c=data.factors(torch.arange(len(data)))[:, :1].float())

    held_out_data = training_data


def untold(data):
    return CVAE()


def labelled(data):
    return Labelled()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 3, (120, 2))
    np.savez("mine.npz", x=rng.integers(0, 256, (120, 1, 8, 8)).astype(np.uint8), factors=factors)
    (tmp_path / "my.py").write_text(SOURCE)
    return tmp_path


def train(story, *options):
    return main(["train", story, "--data", "mine.npz", "--steps", "4", "--quiet", *options])


def test_a_run_uses_the_condition_throughout(folder):
    assert train("my.py:labelled", "--out", "run", "--no-evaluate") == 0
    assert main(["evaluate", "run", "--metrics", "mig"]) == 0
    assert main(["intervene", "run", "--do", "z[0]=0.1"]) == 0
    fitted = Run.open(folder / "run").fitted()
    group = fitted.run.read_group("intervention_z[0]=0.1")
    shown = fitted.held_out_with_conditions.subset(torch.arange(group.sizes["data"]))
    c = shown.conditions(torch.arange(len(shown)))["c"]
    before = torch.tensor(group["before"].values)
    right = encode(fitted.story, before, c=c)["mean"]
    np.testing.assert_allclose(group["codes_before"], right, atol=1e-5)
    without = encode(fitted.story, before, c=0 * c)["mean"].values
    assert np.abs(group["codes_before"].values - without).max() > 0.1


def test_a_run_without_the_condition_ends_in_one_line(folder, capsys):
    assert train("my.py:untold", "--out", "other", "--no-evaluate") != 0
    message = capsys.readouterr().err.strip()
    assert "the model of CVAE needs the condition 'c' for each datum" in message
    assert len(message.splitlines()) == 1
