"""Train a story of the library with ``pyro.infer.SVI``, or with a torch optimiser in your own loop."""

import argparse

import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim

from ppl_disentangle.data import digits
from ppl_disentangle.inference import TCELBO, BetaELBO
from ppl_disentangle.zoo import build

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
steps = parser.parse_args().steps

torch.manual_seed(0)
data = digits()
x = data.to_float(data.observations(torch.arange(512)))
story = build("beta_vae", data, latent_dim=4)

optimizer = PyroOptim(torch.optim.Adam, {"lr": 1e-3})
svi = SVI(story.model, story.guide, optimizer, BetaELBO(beta=2.0))
losses = [svi.step(x) / len(x) for _ in range(steps)]
print(f"SVI: {losses[0]:.2f} -> {losses[-1]:.2f} nats per datum")

# an objective makes a torch module, whose parameters are the parameters of the story
loss = TCELBO(beta=2.0, num_data=len(data))(story.model, story.guide)
optimizer = torch.optim.AdamW(loss.parameters(), lr=1e-3)
for _ in range(steps):
    optimizer.zero_grad()
    loss(x).div(len(x)).backward()
    optimizer.step()
print({name: round(term.item() / len(x), 2) for name, term in loss.elbo.last_terms.items()})
