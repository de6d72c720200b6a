"""Set a coordinate of a code; set, shift or randomise a node of a graph; compare many worlds."""

import argparse

import pyro.distributions as dist
import torch

from ppl_disentangle import encode, reconstruct
from ppl_disentangle.causal import do, shift, worlds
from ppl_disentangle.data import Pendulum, digits, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.zoo import build

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
steps = parser.parse_args().steps

data = digits()
story = build("beta_vae", data, latent_dim=4, options={"beta": 1.0})
fit(story, data, steps=steps, progress=False)
x = data.to_float(data.observations(torch.arange(100)))
before = encode(story, reconstruct(story, x))["mean"]
for name in before["code"].values:
    after = encode(story, reconstruct(do(story, {name: 2.0}), x))["mean"]
    shifts = (after - before).mean("data").values.round(2)
    print(f"do({name} = 2) moves the codes of the reconstructions by", shifts)

data = Pendulum(4000, size=16)
pendulum = build("causal_vae", data)  # light, angle -> shadow_length, shadow_position
labelled = with_conditions(data, labels=data.labels().values)
fit(pendulum, labelled, steps=steps, progress=False)
print("images under do(light = 1):", do(pendulum, {"light": 1.0}).model(batch_size=5).shape)
actions = [{}, {"light": 1.0}, {"light": shift(0.5)}, {"light": dist.Normal(0.0, 0.5)}]
together = worlds(pendulum, actions)  # all worlds in one pass, with the same noise
values = together.values(batch_size=200)
for world, name in enumerate(together.names):
    means = {node: round(values[node][world].mean().item(), 2) for node in pendulum.columns}
    print(f"{name:<24}", means)
