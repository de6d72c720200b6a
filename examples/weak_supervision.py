"""Learn from pairs that differ in one factor, with your own version of Ada-GVAE."""

import argparse

from pyro import sample
from pyro.distributions import Normal
from torch.distributions import kl_divergence

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites, groups, pairs, split_combinations, walks
from ppl_disentangle.inference import BetaELBO, fit
from ppl_disentangle.models import NormalCode
from ppl_disentangle.networks import mlp_decoder, mlp_encoder


class AdaptivePairs(NormalCode):  # after https://arxiv.org/abs/2002.02886
    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            z = sample("z", Normal(self.zeros, 1.0).expand([2, self.latent_dim]).to_event(2))
            return sample("x", self.decoder(z).to_event(1), obs=x)

    def guide(self, x):
        q = self.encoder(x).base_dist  # of shape (batch, 2, latent_dim)
        gap = kl_divergence(*(Normal(q.loc[:, i], q.scale[:, i]) for i in (0, 1)))
        shared = (gap < (gap.amin(-1, True) + gap.amax(-1, True)) / 2)[:, None]  # small gaps
        loc, variance = (p.mean(1, True).where(shared, p) for p in (q.loc, q.variance))
        with self.data_plate(x):
            sample("z", Normal(loc, variance.sqrt()).to_event(2))

    def objective(self):
        return BetaELBO(1.0)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=500)
training, unseen = split_combinations(Sprites(), ["shape", "scale"])  # unseen sizes of some shapes
story = AdaptivePairs(Gaussian(mlp_encoder(12), input_dims=3), Bernoulli(mlp_decoder(6)), 6)
fit(story, pairs(training, k=1, num=50_000), steps=parser.parse_args().steps)
for data in (groups(training, 8), walks(Sprites(), 5), unseen):  # other ways to draw data
    print(data.name, len(data), data.observation_shape)
