"""A generative story of your own, fitted and encoded, with nothing registered."""

import argparse

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from ppl_disentangle import GenerativeStory, encode
from ppl_disentangle.data import digits
from ppl_disentangle.inference import TCELBO, fit


class StrokesAndSlant(GenerativeStory):
    latents = ("slant", "strokes")

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 8), nn.Linear(4, 64)

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            slant = pyro.sample("slant", dist.Normal(0.0, 1.0))
            strokes = pyro.sample("strokes", dist.Laplace(torch.zeros(3), 1.0).to_event(1))
            logits = self.decoder(torch.cat([slant[:, None], strokes], -1)).unflatten(1, (1, 8, 8))
            return pyro.sample(
                "x", dist.Bernoulli(logits=logits, validate_args=False).to_event(3), obs=x
            )

    def guide(self, x):
        loc, log_scale = self.encoder(x.flatten(1)).chunk(2, -1)
        with self.data_plate(x):
            pyro.sample("slant", dist.Normal(loc[:, 0], log_scale[:, 0].exp()))
            pyro.sample("strokes", dist.Laplace(loc[:, 1:], log_scale[:, 1:].exp()).to_event(1))


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
history = fit(
    story := StrokesAndSlant(),
    digits(),
    steps=parser.parse_args().steps,
    objective=TCELBO(beta=2.0),
)
print(history["loss"].isel(step=[0, -1]).values, "nats per datum")
print(encode(story, digits())["mean"][:4].to_series().unstack().round(2))
