"""Pairs that differ in one factor only: a story that takes them, and other ways to draw data from data."""

import argparse

from pyro import distributions as dist
from pyro import sample
from torch.distributions import kl_divergence

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import (
    Sprites,
    correlated,
    groups,
    pairs,
    sharing,
    split_combinations,
    walks,
)
from ppl_disentangle.inference import BetaELBO, fit
from ppl_disentangle.models import NormalCode
from ppl_disentangle.networks import mlp_decoder, mlp_encoder


class AdaptivePairs(
    NormalCode
):  # what differs least is shared: Ada-GVAE, https://arxiv.org/abs/2002.02886
    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            z = sample("z", dist.Normal(self.zeros, 1.0).expand([2, self.latent_dim]).to_event(2))
            return sample("x", self.decoder(z).to_event(1), obs=x)

    def guide(self, x):
        q = self.encoder(x).base_dist  # of shape (batch, 2, latent_dim)
        gap = kl_divergence(*(dist.Normal(q.loc[:, i], q.scale[:, i]) for i in (0, 1)))
        shared = (gap < (gap.amin(-1, True) + gap.amax(-1, True)) / 2)[:, None]
        loc, variance = (p.mean(1, True).where(shared, p) for p in (q.loc, q.variance))
        with self.data_plate(x):
            sample("z", dist.Normal(loc, variance.sqrt()).to_event(2))

    def objective(self):
        return BetaELBO(1.0)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=500)
training, unseen = split_combinations(
    Sprites(), ["shape", "scale"]
)  # some shapes have sizes that are never seen
story = AdaptivePairs(Gaussian(mlp_encoder(12), input_dims=3), Bernoulli(mlp_decoder(6)), 6)
fit(story, pairs(training, k=1, num=50_000), steps=parser.parse_args().steps)
others = (
    groups(training, 8),
    sharing(training, "shape"),
    walks(Sprites(), 5),
    correlated(Sprites(), {("x", "y"): 0.2}),
)
print(*((data.name, len(data), data.observation_shape) for data in (*others, unseen)), sep="\n")
