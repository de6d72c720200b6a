"""Train your own pair of Pyro functions with several objectives of the library."""

import argparse

import pyro
import torch
from pyro.distributions import Normal

from ppl_disentangle import as_story, inference
from ppl_disentangle.data import from_arrays


def model(x):
    weights = pyro.param("weights", lambda: 0.1 * torch.randn(3, 6))
    with pyro.plate("data", len(x)):
        shape = pyro.sample("shape", Normal(torch.zeros(2), 1.0).to_event(1))
        colour = pyro.sample("colour", Normal(torch.zeros(1), 1.0).to_event(1))
        code = torch.cat([shape, colour], -1)
        return pyro.sample("x", Normal(code @ weights, 0.5).to_event(1), obs=x)


def guide(x):
    loc = x @ pyro.param("slope", lambda: 0.1 * torch.randn(6, 3))
    scale = pyro.param("log_scale", torch.zeros(3)).exp()
    with pyro.plate("data", len(x)):
        pyro.sample("shape", Normal(loc[:, :2], scale[:2]).to_event(1))
        pyro.sample("colour", Normal(loc[:, 2:], scale[2:]).to_event(1))


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=1000)
x = torch.randn(2000, 3) @ torch.randn(3, 6) + 0.5 * torch.randn(2000, 6)
steps = parser.parse_args().steps
options = {"TCELBO": {"beta": 4.0}, "HFELBO": {}, "DIPELBO": {}, "FactorELBO": {"critic": 3}}
for name, settings in options.items():
    story = as_story(model, guide, example=x)
    objective = getattr(inference, name)(**settings)
    inference.fit(story, from_arrays(x), steps=steps, objective=objective, progress=False)
    terms = inference.decompose(story, x).items()
    print(name, {k: f"{v.item():.2f}" for k, v in terms if not k.endswith("_error")})
