"""Train two plain Pyro functions with an objective of the library, and intervene on their latent."""

import argparse

import pyro
import torch
from pyro.distributions import Normal, constraints

from ppl_disentangle import as_story, encode
from ppl_disentangle.causal import do
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import TCELBO, elbo_per_datum, fit


def model(x):
    weights = pyro.param("weights", lambda: 0.1 * torch.randn(2, 5))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", Normal(torch.zeros(2), 1.0).to_event(1))
        return pyro.sample("x", Normal(z @ weights, scale).to_event(1), obs=x)


def guide(x):
    slope = pyro.param("slope", lambda: 0.1 * torch.randn(5, 2))
    scale = pyro.param("log_scale", torch.zeros(2)).exp()
    with pyro.plate("data", len(x)):
        pyro.sample("z", Normal(x @ slope, scale).to_event(1))


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3000)
steps = parser.parse_args().steps
torch.manual_seed(0)
x = torch.randn(2000, 2) @ torch.randn(2, 5) + 0.2 * torch.randn(2000, 5)
story = as_story(model, guide, example=x)
fit(story, from_arrays(x), steps=steps, batch_size=128, objective=TCELBO(beta=1.0))
print("learned scale", story.lifted["scale"].exp().item(), "(true: 0.2)")
print("bound, nats per datum", elbo_per_datum(story, x)["elbo"].mean().item())
print("mean codes", encode(story, x)["mean"].shape)
print("data under do(z[0] = 1):", do(story, {"z[0]": 1.0}).model(batch_size=2))
