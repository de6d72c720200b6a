"""Set one coordinate of the code of each image, and see what the encoder reads back from the images that follow."""

import argparse

import torch

from ppl_disentangle import do, encode, reconstruct, traverse
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import digits
from ppl_disentangle.inference import fit
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2000)
torch.manual_seed(0)
data, shape = digits(), {"shape": (1, 8, 8), "hidden": 128}
story = BetaVAE(Gaussian(mlp_encoder(8, **shape)), Bernoulli(mlp_decoder(4, **shape)), 4, beta=1.0, warm_up=500)
story.coordinate_names = {"z": ("a", "b", "c", "d")}
fit(story, data, steps=parser.parse_args().steps)

x = data.to_float(data.observations(torch.arange(100)))
for name in ("a", "b", "c", "d"):
    after = reconstruct(do(story, {name: 2.0}), x)
    shift = (encode(story, after)["mean"] - encode(story, reconstruct(story, x))["mean"]).mean("data")
    print(f"do({name} = 2): mean shift", dict(zip(shift["code"].values, shift.values.round(2), strict=True)))
print(traverse(story, x[:1], {"a": [-2.0, 0.0, 2.0], "b": [-2.0, 0.0, 2.0]}).sizes)
