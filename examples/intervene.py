"""Interventions: on a coordinate of a code, on a node of a graph by value, shift and distribution, and many at once."""

import argparse

import pyro.distributions as dist
import torch

from ppl_disentangle import StructuralPrior, do, encode, reconstruct, shift
from ppl_disentangle.causal.worlds import worlds
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Pendulum, digits, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import BetaVAE, CausalVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
steps = parser.parse_args().steps
torch.manual_seed(0)
data, shape = digits(), {"shape": (1, 8, 8), "hidden": 128}
story = BetaVAE(
    Gaussian(mlp_encoder(8, **shape)), Bernoulli(mlp_decoder(4, **shape)), 4, beta=1.0, warm_up=500
)
fit(story, data, steps=steps, progress=False)
x = data.to_float(data.observations(torch.arange(100)))
before = encode(story, reconstruct(story, x))["mean"]
for name in before["code"].values:
    moved = encode(story, reconstruct(do(story, {name: 2.0}), x))["mean"] - before
    print(
        f"do({name} = 2) moves what the encoder reads back by", moved.mean("data").values.round(2)
    )

data, shape = Pendulum(4000, size=32), {"shape": (3, 32, 32), "hidden": 256}
prior = StructuralPrior(data.dag)  # light, angle -> shadow_length, shadow_position
pendulum = CausalVAE(prior, Gaussian(mlp_encoder(8, **shape)), Bernoulli(mlp_decoder(4, **shape)))
fit(pendulum, with_conditions(data, labels=data.labels().values), steps=steps, progress=False)
print("images under do(light = 1):", do(pendulum, {"light": 1.0}).model(batch_size=5).shape)
several = [
    {},
    {"light": 1.0},
    {"light": shift(0.5)},
    {"light": dist.Normal(0.0, 0.5)},
    {"shadow_position": 2.0},
]
together = worlds(pendulum, several)  # one pass, one noise
values = together.values(batch_size=200)
for world, name in enumerate(together.names):
    print(
        f"{name:<22}", {node: round(values[node][world].mean().item(), 2) for node in prior.names}
    )
