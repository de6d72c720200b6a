"""What remains of a digit when only the first steps by which it is drawn are kept."""

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

data, held_out = digits().split(400)
story = ConvDRAW(
    data.observation_shape, Bernoulli(nn.Identity(), input_dims=3), steps=4, hidden=16, stride=2
)
fit(story, data, steps=options.steps, batch_size=32, lr=4e-3)
curve = compression_curve(
    story, held_out
)  # xarray: rate and distortion over the number of steps that are kept
print(curve[["rate", "distortion"]].to_dataframe().round(3))
plot_compression(curve, held_out.to_float(held_out.observations(torch.arange(8)))).savefig(
    options.out
)
