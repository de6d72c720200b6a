"""Bias of the estimators of the total correlation, as a table in Markdown: ``python -m benchmarks.estimators``.

The aggregate posterior is a mixture of N = 10,000 Gaussians of one width, their means drawn from N(0, I). Its total
correlation is not zero: the narrower the posteriors, the more one coordinate of a code says about the others.
"""

from __future__ import annotations

import itertools
from typing import get_args

import torch
from pyro.distributions import Normal

from ppl_disentangle.inference.elbo.aggregate import (
    Estimator,
    joint_and_factored,
    log_mixture,
    minibatch_log_weights,
    normal_pairs,
)
from ppl_disentangle.sites import Plate, Site

NUM_DATA, DIMS, BATCH_SIZES, SIGMAS = 10_000, (5, 10), (64, 256), (0.1, 0.3, 0.8)
NUM_DRAWS, SEEDS = 6_400, range(5)


def draw(dim, sigma, generator):
    """Means of all posteriors, and a code of each datum."""
    loc = torch.randn(NUM_DATA, dim, generator=generator)
    return loc, loc + sigma * torch.randn(NUM_DATA, dim, generator=generator)


def exact(loc, z, sigma, *, block=100):
    """E log q(z) - sum_d log q(z_d) with the sum over all N posteriors, at the codes ``z``."""
    weight = -torch.tensor(float(len(loc))).log()
    values = []
    for draws in z.split(block):
        pairs = normal_pairs(draws, loc, torch.full_like(loc, sigma))
        joint = log_mixture(pairs.sum(-1, keepdim=True), weight).squeeze(-1)
        values.append(joint - log_mixture(pairs, weight).sum(-1))
    return torch.cat(values).mean()


def estimate(loc, z, sigma, batch_size, estimator, generator):
    """The mean of the estimates of random batches, of ``NUM_DRAWS`` codes in all."""
    plate = Plate("data", -1, batch_size, NUM_DATA)
    log_weights = minibatch_log_weights(batch_size, NUM_DATA, estimator, like=z)
    values = []
    for _ in range(NUM_DRAWS // batch_size):
        batch = torch.randperm(NUM_DATA, generator=generator)[:batch_size]
        posteriors = Normal(loc[batch], torch.tensor(sigma), validate_args=False).to_event(1)
        site = Site("z", posteriors, z[batch], 1.0, None, (plate,))
        joint, factored = joint_and_factored(site, plate, log_weights)
        values.append((log_mixture(joint.unsqueeze(-1), log_weights).squeeze(-1) - factored).mean())
    return torch.stack(values).mean()


def bias_table():
    """Rows ``{dim, sigma, batch_size, exact, weighted, …}``, each value a mean over the seeds with its error, nats."""
    values = {}
    for seed, dim, sigma in itertools.product(SEEDS, DIMS, SIGMAS):
        generator = torch.Generator().manual_seed(seed)
        loc, z = draw(dim, sigma, generator)
        truth = exact(loc, z[: NUM_DATA // 8], sigma)
        for batch_size in BATCH_SIZES:
            row = values.setdefault((dim, sigma, batch_size), {})
            row.setdefault("exact", []).append(truth)
            for name in get_args(Estimator):
                row.setdefault(name, []).append(
                    estimate(loc, z, sigma, batch_size, name, generator)
                )
    return [
        {"dim": dim, "sigma": sigma, "batch_size": batch_size}
        | {
            name: (torch.stack(v).mean().item(), torch.stack(v).std().item() / len(v) ** 0.5)
            for name, v in row.items()
        }
        for (dim, sigma, batch_size), row in values.items()
    ]


def main():
    torch.set_num_threads(1)
    names = ["exact", *get_args(Estimator)]
    print("| D | sigma | B |", " | ".join(names), "|")
    print("|---" * (3 + len(names)), "|", sep="")
    for row in bias_table():
        cells = [str(row["dim"]), str(row["sigma"]), str(row["batch_size"])]
        print(
            "|", " | ".join(cells + ["{:.2f} ± {:.2f}".format(*row[name]) for name in names]), "|"
        )


if __name__ == "__main__":
    main()
