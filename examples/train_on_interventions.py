"""Learn what sets the shadow of a pendulum: from observations, and from interventions as well."""

import argparse

import torch

from ppl_disentangle.causal import StructuralPrior, counterfactual
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Pendulum, from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import CausalVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
data, held_out = Pendulum(4000, size=32), Pendulum(200, size=32, seed=1)
everyone, shadow = torch.arange(len(data)), data.names.index("shadow_position")
labels = data.labels()  # in standard deviations from the mean
right = {"shadow_position": (labels.mean[shadow] + labels.scale[shadow]).item()}
x = held_out.to_float(held_out.observations(torch.arange(200)))
truth = held_out.to_float(held_out.counterfactual(torch.arange(200), right)[1])
print("squared error of unchanged images:", (x - truth).square().mean().item())

for share in (0.0, 0.2):
    torch.manual_seed(0)
    moved = 3 + 14 * torch.rand(int(share * len(data)))  # shadows that were moved by hand
    settings = torch.full_like(data.values, torch.nan)  # (data, nodes): NaN without intervention
    settings[: len(moved), shadow] = moved
    values, images = data.counterfactual(everyone, {"shadow_position": settings[:, shadow]})
    nodes, actions = ((v - labels.mean) / labels.scale for v in (values, settings))
    prior = StructuralPrior(data.dag)
    encoder = mlp_encoder(8, shape=(3, 32, 32), hidden=256)
    decoder = mlp_decoder(4, shape=(3, 32, 32), hidden=256, activation=torch.nn.SiLU)
    story = CausalVAE(prior, Gaussian(encoder), Bernoulli(decoder), label_scale=0.03)
    conditions = {"labels": nodes, "interventions": actions}
    known = with_conditions(from_arrays(images, maximum=255), columns=data.names, **conditions)
    fit(story, known, steps=parser.parse_args().steps, lr=2e-3, progress=False)
    answer = counterfactual(story, x, {"shadow_position": 1.0}, num_samples=None, noise="mean")
    error = (torch.tensor(answer["x"].values[0, 0]) - truth).square().mean().item()
    print(f"squared error with interventions on {share:.0%} of the data:", error)
