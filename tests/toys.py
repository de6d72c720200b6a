"""Toy data with known factors, observed through a fixed smooth map."""

import itertools

import torch
from torch import nn

from ppl_disentangle.data import from_arrays


def mixed(factors, num_features=16, *, seed=9, scale=1.0, noise=0.0):
    """Features ``(num, num_features)`` of factors ``(num, k)``, by two random layers of tanh."""
    generator = torch.Generator().manual_seed(seed)
    first = (
        torch.randn(factors.shape[1], 2 * num_features, generator=generator)
        / factors.shape[1] ** 0.5
    )
    second = (
        torch.randn(2 * num_features, num_features, generator=generator) / (2 * num_features) ** 0.5
    )
    x = (2 * torch.tanh(scale * factors @ first)) @ second
    return x + noise * torch.randn(x.shape, generator=generator)


def grid(sizes=(6, 6, 6, 6), num_features=16, **options):
    """Every combination of the classes of some factors once, and its features."""
    classes = torch.tensor(list(itertools.product(*map(range, sizes))))
    spread = torch.tensor([((n * n - 1) / 12) ** 0.5 for n in sizes])
    standard = (classes - (torch.tensor(sizes) - 1) / 2) / spread
    return from_arrays(mixed(standard, num_features, **options), classes, name="toy")


def network(inputs, outputs, *, hidden=64):
    """Two hidden layers of tanh."""
    sizes = (inputs, hidden, hidden, outputs)
    layers = []
    for width_in, width_out in itertools.pairwise(sizes):
        layers += [nn.Linear(width_in, width_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
