"""Your own arrays, with or without factors: train, hold out, score."""

import argparse

import numpy as np
import torch

from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.models import BetaTCVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder
from ppl_disentangle.representation import encoder

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=4000)
rng = np.random.default_rng(0)
grades, size = rng.integers(0, 5, (4000, 2)), rng.normal(size=(2, 12))
signals = (np.tanh((grades - 2) @ size) + 0.05 * rng.normal(size=(4000, 12))).astype(np.float32)

data = from_arrays(signals, grades, factor_names=("pitch", "volume"), name="signals")
training, held_out = data.split(1000)
torch.manual_seed(0)
networks = mlp_encoder(8, shape=(12,), hidden=64), mlp_decoder(4, shape=(12,), hidden=64)
story = BetaTCVAE(
    Gaussian(networks[0]), GaussianLearnedScale(networks[1]), 4, beta=4.0, warm_up=500
)
fit(story, training, steps=parser.parse_args().steps, held_out=held_out)

print("held-out bound, nats per datum:", elbo_per_datum(story, held_out)["elbo"].mean().item())
print("learned scale of the noise:", story.decoder.log_scale.exp().item(), "(true: 0.05)")
print(
    evaluate(encoder(story, data), held_out, metrics=["mig", "active_units"])
    .to_dataframe()
    .round(3)
)
