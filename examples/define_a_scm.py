"""A structural model with a mechanism of its own for each node: what a drug does, beside what it seems to do."""

import argparse

import torch
from torch import nn
from torch.distributions import Categorical as Draw

from ppl_disentangle import StructuralPrior, do
from ppl_disentangle.causal.effects import average_effect
from ppl_disentangle.causal.mechanisms import (
    AdditiveNoise,
    Categorical,
    LinearGaussian,
    MonotoneSpline,
)
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.graphs import effect_report
from ppl_disentangle.inference import fit
from ppl_disentangle.models import DeepSCM

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3000)
torch.manual_seed(0)
age = torch.randn(5000, 1)  # the old are in worse health, and take drug 2 more often
drug = nn.functional.one_hot(Draw(logits=age * torch.tensor([-1.0, 0.0, 1.0])).sample(), 3).float()
health = drug @ torch.tensor([[0.0], [0.5], [1.0]]) - age + 0.3 * torch.randn(5000, 1)
pressure = torch.exp(0.3 * torch.randn(5000, 1) - 0.5 * health)
scans = torch.cat([health, pressure], -1) @ torch.randn(2, 8) + 0.1 * torch.randn(5000, 8)

mechanisms = {
    "age": LinearGaussian,
    "drug": Categorical,
    "health": AdditiveNoise,
    "pressure": MonotoneSpline,
}
prior = StructuralPrior(
    "age -> drug; age, drug -> health; health -> pressure", mechanisms, dims={"drug": 3}
)
story = DeepSCM(prior, Gaussian(nn.Linear(8, 4)), GaussianLearnedScale(nn.Linear(8, 8)), 2)
records = prior.side_by_side({"age": age, "drug": drug, "health": health, "pressure": pressure})
fit(
    story,
    with_conditions(from_arrays(scans), labels=records),
    steps=parser.parse_args().steps,
    progress=False,
)

print(
    "to know the effect, adjust for:", effect_report(prior.dag, "drug", "health")["adjustment_set"]
)
print("health of those who took drug 2 less that of those who took none:", end=" ")
print(round((health[drug[:, 2] == 1].mean() - health[drug[:, 0] == 1].mean()).item(), 2))
effect = average_effect(story, "drug", "health", values=(torch.eye(3)[0], torch.eye(3)[2]))
print(
    "effect of drug 2 (true: 1.0):",
    *(round(effect[name].item(), 2) for name in ("mean", "lower", "upper")),
)
print(
    "a scan under do(drug = 1):",
    do(story, {"drug": torch.eye(3)[1]}).model(batch_size=1).detach().numpy().round(1),
)
