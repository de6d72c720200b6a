"""Fit a beta-TCVAE to sprites, score its code, and save everything as labelled arrays."""

import argparse
from pathlib import Path

from ppl_disentangle import to_datatree
from ppl_disentangle.data import Sprites
from ppl_disentangle.inference import fit
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.representation import encoder
from ppl_disentangle.zoo import build

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=10_000)
parser.add_argument("--out", type=Path, default=Path("sprites.nc"))
options = parser.parse_args()

training, held_out = Sprites().split(1000)
story = build("beta_tcvae", training, latent_dim=10, options={"beta": 6.0, "warm_up": 2000})
checkpoint = options.out.with_suffix(".safetensors")  # the same call continues from here
history = fit(story, training, steps=options.steps, held_out=held_out, checkpoint=checkpoint)
scores = evaluate(encoder(story, training), held_out, metrics=["mig", "active_units"])
print(scores.to_dataframe().round(3))
to_datatree(story, held_out, history, metrics=scores).to_netcdf(options.out, engine="h5netcdf")
