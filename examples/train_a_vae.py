"""beta-TCVAE on sprites from a script: fit, score, save as labelled arrays."""

import argparse
from pathlib import Path

import torch

from ppl_disentangle import to_datatree
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites
from ppl_disentangle.inference import fit
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.models import BetaTCVAE
from ppl_disentangle.networks import study_decoder, study_encoder
from ppl_disentangle.representation import encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=10_000)
parser.add_argument("--out", type=Path, default=Path("sprites.nc"))
options = parser.parse_args()

torch.manual_seed(0)
data, held_out = Sprites().split(1000)
story = BetaTCVAE(
    Gaussian(study_encoder(20)), Bernoulli(study_decoder(10)), latent_dim=10, beta=6.0, warm_up=2000
)
history = fit(
    story,
    data,
    steps=options.steps,
    held_out=held_out,
    checkpoint=options.out.with_suffix(".safetensors"),
)
scores = evaluate(encoder(story, data), held_out, metrics=["mig", "active_units"])
print(scores.to_dataframe().round(3))
to_datatree(story, held_out, history, metrics=scores).to_netcdf(options.out, engine="h5netcdf")
