"""How an image of a digit gains detail when more of the steps by which it is drawn are kept."""

import argparse

import torch
from torch import nn

from ppl_disentangle.conditionals import Bernoulli
from ppl_disentangle.data import digits
from ppl_disentangle.inference import compression_curve, fit
from ppl_disentangle.models import ConvDRAW
from ppl_disentangle.plots import plot_compression

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--out", default="compression.png")
options = parser.parse_args()

training, held_out = digits().split(400)
likelihood = Bernoulli(nn.Identity(), input_dims=3)
story = ConvDRAW(training.observation_shape, likelihood, steps=4, hidden=16, stride=2)
fit(story, training, steps=options.steps, batch_size=32, lr=4e-3)

curve = compression_curve(story, held_out)  # an xarray data set over the number of steps kept
print(curve[["rate", "distortion"]].to_dataframe().round(3))
images = held_out.to_float(held_out.observations(torch.arange(8)))
plot_compression(curve, images).savefig(options.out)
