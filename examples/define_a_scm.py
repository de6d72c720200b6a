"""The effect of a drug, from a structural model with a different mechanism for each node."""

import argparse

import torch
from torch import nn
from torch.distributions import Categorical as Draw

from ppl_disentangle.causal import StructuralPrior, average_effect, do, mechanisms
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.graphs import effect_report
from ppl_disentangle.inference import fit
from ppl_disentangle.models import DeepSCM

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3000)
torch.manual_seed(0)
age = torch.randn(5000, 1)  # older people have worse health, and take drug 2 more often
drug = nn.functional.one_hot(Draw(logits=age * torch.tensor([-1.0, 0.0, 1.0])).sample(), 3).float()
health = drug @ torch.tensor([[0.0], [0.5], [1.0]]) - age + 0.3 * torch.randn(5000, 1)
scans = health @ torch.randn(1, 8) + 0.1 * torch.randn(5000, 8)

nodes = {"age": mechanisms.LinearGaussian, "drug": mechanisms.Categorical}
nodes["health"] = mechanisms.AdditiveNoise
prior = StructuralPrior("age -> drug; age, drug -> health", nodes, dims={"drug": 3})
story = DeepSCM(prior, Gaussian(nn.Linear(8, 4)), GaussianLearnedScale(nn.Linear(7, 8)), 2)
labels = prior.side_by_side({"age": age, "drug": drug, "health": health})
data = with_conditions(from_arrays(scans), labels=labels, columns=prior.columns)
fit(story, data, steps=parser.parse_args().steps, progress=False)

no_drug, drug_1, drug_2 = torch.eye(3)
difference = health[drug[:, 2] == 1].mean() - health[drug[:, 0] == 1].mean()
print("confounders:", effect_report(prior.dag, "drug", "health")["confounders"])
print(f"difference in health between takers of drug 2 and of no drug: {difference:.2f}")
effect = average_effect(story, "drug", "health", values=(no_drug, drug_2))
print("effect of drug 2 (true: 1.0):", [effect[n].item() for n in ("mean", "lower", "upper")])
print("a scan under do(drug = 1):", do(story, {"drug": drug_1}).model(batch_size=1).detach())
