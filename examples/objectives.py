"""Any objective on a pair of your own: two plain functions, and three lines for each."""

import argparse

import pyro
import pyro.distributions as dist
import torch

from ppl_disentangle import as_story, inference
from ppl_disentangle.data import from_arrays


def model(x):
    weights = pyro.param("weights", lambda: 0.1 * torch.randn(3, 6))
    with pyro.plate("data", len(x)):
        shape = pyro.sample("shape", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        colour = pyro.sample("colour", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        return pyro.sample(
            "x", dist.Normal(torch.cat([shape, colour], -1) @ weights, 0.5).to_event(1), obs=x
        )


def guide(x):
    slope, offset = (
        pyro.param("slope", lambda: 0.1 * torch.randn(6, 3)),
        pyro.param("offset", torch.zeros(3)),
    )
    with pyro.plate("data", len(x)):
        pyro.sample("shape", dist.Normal((x @ slope)[:, :2], offset[:2].exp()).to_event(1))
        pyro.sample("colour", dist.Normal((x @ slope)[:, 2:], offset[2:].exp()).to_event(1))


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=1000)
steps = parser.parse_args().steps
torch.manual_seed(0)
x = torch.randn(2000, 3) @ torch.randn(3, 6) + 0.5 * torch.randn(2000, 6)
objectives = {
    "TCELBO": {"beta": 4.0},
    "HFELBO": {},
    "InfoELBO": {},
    "DIPELBO": {},
    "FactorELBO": {"critic": 3},
}
for name, options in objectives.items():
    story = as_story(model, guide, example=x)
    objective = getattr(inference, name)(**options)
    inference.fit(
        story, from_arrays(x), steps=steps, batch_size=128, objective=objective, progress=False
    )
    parts = inference.decompose(story, x)
    print(name, {k: f"{v.item():.2f}" for k, v in parts.items() if not k.endswith("_error")})
