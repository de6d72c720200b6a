"""The same story and objective under plain ``pyro.infer.SVI``, and under a torch optimiser."""

import argparse

import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import digits
from ppl_disentangle.inference import TCELBO, BetaELBO
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
steps = parser.parse_args().steps

torch.manual_seed(0)
x = digits().to_float(digits().observations(torch.arange(512)))
shape = {"shape": (1, 8, 8), "hidden": 64}
story = BetaVAE(Gaussian(mlp_encoder(8, **shape)), Bernoulli(mlp_decoder(4, **shape)), latent_dim=4)

svi = SVI(story.model, story.guide, PyroOptim(torch.optim.Adam, {"lr": 1e-3}), BetaELBO(beta=2.0))
losses = [svi.step(x) / len(x) for _ in range(steps)]
print(f"SVI: {losses[0]:.2f} -> {losses[-1]:.2f} nats per datum")

loss = TCELBO(beta=2.0, num_data=1797)(
    story.model, story.guide
)  # a module; its parameters are the story's
optimizer = torch.optim.AdamW(loss.parameters(), lr=1e-3)
for _ in range(steps):
    optimizer.zero_grad()
    loss(x).div(len(x)).backward()
    optimizer.step()
print({name: round(term.item() / len(x), 2) for name, term in loss.elbo.last_terms.items()})
