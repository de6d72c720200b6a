"""How given images of a pendulum would look if the light stood elsewhere, compared with the truth."""

import argparse

import torch

from ppl_disentangle.causal import StructuralPrior, counterfactual
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Pendulum, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import CausalVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3000)
steps = parser.parse_args().steps
torch.manual_seed(0)
data = Pendulum(4000, size=32)
labels = data.labels(fraction=0.5)  # half of the data are labelled, in standard deviations
prior = StructuralPrior(data.dag)  # light, angle -> shadow_length, shadow_position
encoder = mlp_encoder(8, shape=(3, 32, 32), hidden=256)
decoder = mlp_decoder(4, shape=(3, 32, 32), hidden=256)
story = CausalVAE(prior, Gaussian(encoder), Bernoulli(decoder))
labelled = with_conditions(data, labels=labels.values, columns=data.names)
fit(story, labelled, steps=steps, lr=1e-3, progress=False)

index = torch.arange(200)
x = data.to_float(data.observations(index))
worlds = counterfactual(story, x, [{}, {"light": 1.0}], num_samples=10, noise="mean")
shadow = worlds["shadow_position"].mean(("draw", "data")).values
print("mean position of the shadow, factual and counterfactual:", shadow)

light = data.names.index("light")
light_value = (labels.mean[light] + labels.scale[light]).item()  # one standard deviation
truth = data.to_float(data.counterfactual(index, {"light": light_value})[1])
images = torch.tensor(worlds["x"].isel(world=1).mean("draw").values)
print("squared error of the counterfactual image", (images - truth).square().mean().item())
print("squared error of the unchanged image     ", (x - truth).square().mean().item())
