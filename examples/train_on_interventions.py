"""The shadow of a pendulum set by hand: learned from what is seen alone, and from interventions on some units too."""

import argparse

import torch

from ppl_disentangle import StructuralPrior, counterfactual
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Pendulum, from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import CausalVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
steps = parser.parse_args().steps
data, shape, node = Pendulum(4000, size=32), (3, 32, 32), "shadow_position"
labels, column, units = (
    data.labels(),
    data.names.index(node),
    torch.arange(len(data)),
)  # standard deviations from mean
where = labels.mean[column] + labels.scale[column]  # one standard deviation to the right
held_out = Pendulum(200, size=32, seed=1)
x = held_out.to_float(held_out.observations(torch.arange(200)))
truth = held_out.to_float(held_out.counterfactual(torch.arange(200), {node: where.item()})[1])
print("squared error of do nothing:", (x - truth).square().mean().item())

for share in (0.0, 0.2):
    torch.manual_seed(0)
    settings = torch.full_like(
        data.values, torch.nan
    )  # of each unit and node, NaN where it is left alone
    set_by_hand = units < share * len(data)
    settings[set_by_hand, column] = 3 + 14 * torch.rand(int(set_by_hand.sum()))
    values, images = data.counterfactual(units, {node: settings[:, column]})
    known, interventions = ((v - labels.mean) / labels.scale for v in (values, settings))
    encoder = mlp_encoder(8, shape=shape, hidden=256)
    decoder = mlp_decoder(4, shape=shape, hidden=256, activation=torch.nn.SiLU)
    story = CausalVAE(
        StructuralPrior(data.dag), Gaussian(encoder), Bernoulli(decoder), label_scale=0.03
    )
    told = with_conditions(
        from_arrays(images, maximum=255), labels=known, interventions=interventions
    )
    fit(story, told, steps=steps, lr=2e-3, progress=False)
    found = counterfactual(story, x, {node: 1.0}, num_samples=None, noise="mean")["x"].values[0, 0]
    print(
        f"with {share:.0%} interventional units:",
        (torch.tensor(found) - truth).square().mean().item(),
    )
