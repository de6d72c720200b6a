"""Write your own generative story, fit it and encode data with it. Nothing has to be registered."""

import argparse

import pyro
import torch
from pyro.distributions import Laplace, Normal
from torch import nn

from ppl_disentangle import GenerativeStory, data, encode
from ppl_disentangle.conditionals import Bernoulli
from ppl_disentangle.inference import TCELBO, fit


class StrokesAndSlant(GenerativeStory):
    latents = ("slant", "strokes")

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        self.decoder = Bernoulli(nn.Sequential(nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8))))

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            slant = pyro.sample("slant", Normal(0.0, 1.0))
            strokes = pyro.sample("strokes", Laplace(torch.zeros(3), 1.0).to_event(1))
            return pyro.sample("x", self.decoder(torch.cat([slant[:, None], strokes], -1)), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with self.data_plate(x):
            pyro.sample("slant", Normal(loc[:, 0], log_scale[:, 0].exp()))
            pyro.sample("strokes", Laplace(loc[:, 1:], log_scale[:, 1:].exp()).to_event(1))


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
story = StrokesAndSlant()
fit(story, data.digits(), steps=parser.parse_args().steps, objective=TCELBO(beta=2.0))
print(encode(story, data.digits())["mean"][:4].to_series().unstack().round(2))
