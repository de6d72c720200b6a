"""Models and guides with known answers, and settings in which every objective is tested."""

import json

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from tests import GOLDEN

BATCH, DIM, NUM_DATA = 8, 3, 1000


class Pair:
    """z ~ N(0, I), x ~ N(z, I) with a learned guide; z is one vector site, two sites or scalars.

    Args:
        split: Number of coordinates of each site.
        scale: Scale of the latents in Pyro.
        mask: Which data count; all by default.
        num_data: Number of data that the plate stands for; ``None`` for the batch itself.
        dtype: Type of the parameters and the data.
    """

    def __init__(self, split=(DIM,), scale=1.0, mask=None, num_data=NUM_DATA, dtype=torch.float32):
        generator = torch.Generator().manual_seed(1)
        self.loc = torch.randn(BATCH, DIM, generator=generator, dtype=dtype)
        self.log_scale = torch.randn(BATCH, DIM, generator=generator, dtype=dtype)
        self.shift = torch.zeros(DIM, dtype=dtype)
        self.x = torch.randn(BATCH, DIM, generator=generator, dtype=dtype)
        self.split = split
        self.scale = scale
        self.mask = mask
        self.num_data = num_data
        self.parameters = [p.requires_grad_() for p in (self.loc, self.log_scale, self.shift)]

    def plate(self):
        return pyro.plate("data", self.num_data or BATCH, subsample=range(BATCH))

    def scaled_and_masked(self):
        """The contexts that scale and mask the latents."""
        mask = True if self.mask is None else self.mask
        return poutine.scale(scale=self.scale), poutine.mask(mask=mask)

    def model(self):
        scale, mask = self.scaled_and_masked()
        with self.plate():
            with scale, mask:
                latents = [pyro.sample(f"z{i}", self.prior(n)) for i, n in enumerate(self.split)]
            z = torch.cat(
                [self.as_vector(z, n) for z, n in zip(latents, self.split, strict=True)], -1
            )
            pyro.sample("x", dist.Normal(z + self.shift, 1.0).to_event(1), obs=self.x)

    def as_vector(self, z, size):
        """A latent with an event dimension, which scalars lack."""
        return z if size > 1 else z.unsqueeze(-1)

    def prior(self, size):
        if size > 1:
            return dist.Normal(self.x.new_zeros(size), 1.0).to_event(1)
        return dist.Normal(self.x.new_zeros(()), 1.0)

    def guide(self):
        scale, mask = self.scaled_and_masked()
        locs = self.loc.split(self.split, -1)
        scales = self.log_scale.exp().split(self.split, -1)
        with self.plate(), scale, mask:
            for i, size in enumerate(self.split):
                q = dist.Normal(locs[i], scales[i]).to_event(1)
                if size == 1:
                    q = dist.Normal(locs[i][:, 0], scales[i][:, 0])
                pyro.sample(f"z{i}", q)


def loss_and_gradients(elbo, pair):
    pyro.set_rng_seed(0)
    loss = elbo(pair.model, pair.guide)()
    return [loss.detach(), *torch.autograd.grad(loss, pair.parameters)]


def terms(elbo, pair):
    pyro.set_rng_seed(0)
    elbo.loss(pair.model, pair.guide)
    return elbo.last_terms


SETTINGS = {
    "plain": {},
    "two sites": {"split": (2, 1)},
    "scalars": {"split": (1, 1, 1)},
    "scaled": {"scale": 0.3},
    "masked": {"mask": torch.arange(BATCH) % 3 > 0},
    "float64": {"dtype": torch.float64},
}
PARTICLES = {
    "one": {},
    "three": {"num_particles": 3},
    "three at once": {"num_particles": 3, "vectorize_particles": True, "max_plate_nesting": 1},
}


def linear_gaussian(case):
    """A pair with a closed-form bound: x = Wz + b + noise."""
    reference = json.loads((GOLDEN / "linear_gaussian_vae.json").read_text())[case]
    p = {k: torch.tensor(v, dtype=torch.float64) for k, v in reference["params"].items()}

    def plate(x):
        return pyro.plate("data", len(p["X"]), subsample=range(len(x)))

    def model(x):
        with plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(p["s"]), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ p["W"].T + p["b"], p["sigma"]).to_event(1), obs=x)

    def guide(x):
        with plate(x):
            pyro.sample(
                "z", dist.Normal(x @ p["M"].T + p["c"], p["s"].expand(len(x), -1)).to_event(1)
            )

    return model, guide, p["X"], {k: torch.tensor(v) for k, v in reference["exact"].items()}
