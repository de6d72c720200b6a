"""What the same pendulums would look like, had the light stood elsewhere: beside the truth, which is known here."""

import argparse

import torch

from ppl_disentangle import StructuralPrior, counterfactual
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Pendulum, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import CausalVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3000)
steps = parser.parse_args().steps
torch.manual_seed(0)
data, shape = Pendulum(4000, size=32), (3, 32, 32)
labels = data.labels(fraction=0.5)  # of half of the units, in standard deviations from the mean
prior = StructuralPrior(data.dag)  # light, angle -> shadow_length, shadow_position
encoder, decoder = mlp_encoder(8, shape=shape, hidden=256), mlp_decoder(4, shape=shape, hidden=256)
story = CausalVAE(prior, Gaussian(encoder), Bernoulli(decoder))
order = [data.names.index(node) for node in prior.columns]
fit(
    story,
    with_conditions(data, labels=labels.values[:, order]),
    steps=steps,
    lr=1e-3,
    progress=False,
)

index = torch.arange(200)
x = data.to_float(data.observations(index))
worlds = counterfactual(story, x, [{}, {"light": 1.0}], num_samples=10, noise="mean")
light = data.names.index("light")
value = (labels.mean[light] + labels.scale[light]).item()
truth = data.to_float(data.counterfactual(index, {"light": value})[1])
images = torch.tensor(worlds["x"].sel(world=worlds["world"][1]).mean("draw").values)
print(
    worlds["shadow_position"].mean(("draw", "data")).values,
    "mean shadow position, factual and counterfactual",
)
print("squared error of the counterfactual image", (images - truth).square().mean().item())
print("of the image left as it is              ", (x - truth).square().mean().item())
