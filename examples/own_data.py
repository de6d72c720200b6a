"""Train on your own arrays, hold some of them out, and score the code by known factors."""

import argparse

import numpy as np

from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.representation import encoder
from ppl_disentangle.zoo import build

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=4000)
rng = np.random.default_rng(0)
grades = rng.integers(0, 5, (4000, 2))  # the factors; leave them out if yours are unknown
signals = np.tanh((grades - 2) @ rng.normal(size=(2, 12))) + 0.05 * rng.normal(size=(4000, 12))

factor_names = ("pitch", "volume")
data = from_arrays(signals.astype(np.float32), grades, factor_names=factor_names, name="signals")
training, held_out = data.split(1000)
options = {"beta": 4.0, "warm_up": 500}
story = build("beta_tcvae", data, latent_dim=4, likelihood="gaussian", options=options)
fit(story, training, steps=parser.parse_args().steps, held_out=held_out)

print("held-out bound, nats per datum:", elbo_per_datum(story, held_out)["elbo"].mean().item())
print("learned scale of the noise:", story.decoder.log_scale.exp().item(), "(true: 0.05)")
scores = evaluate(encoder(story, data), held_out, metrics=["mig", "active_units"])
print(scores.to_dataframe().round(3))
