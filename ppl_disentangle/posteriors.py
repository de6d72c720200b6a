"""Posteriors whose mean has no closed form, described by draws."""

from __future__ import annotations

import torch
from pyro.distributions import Empirical, TorchDistribution, TransformedDistribution
from torch import Tensor

__all__ = ["draws_of", "from_draws"]

NUM_DRAWS = 1000
"""Number of draws that describe a posterior; its mean is then right to 3 % of its deviation."""


def from_draws(draws: Tensor, num_batch_dims: int) -> TorchDistribution:
    """Draws, all of the same weight, as a distribution.

    Args:
        draws: Draws of shape ``(draw, *batch, *event)``.
        num_batch_dims: Number of dimensions of the batch.
    """
    weights = draws.new_zeros((*draws.shape[1 : 1 + num_batch_dims], len(draws)))
    return Empirical(draws.movedim(0, num_batch_dims), weights)


def draws_of(distribution: TorchDistribution) -> Tensor:
    """Draws from a distribution, of shape ``(NUM_DRAWS, *batch, *event)``.

    Where the distribution has moments, the draws have exactly these. The draws of a transformed
    distribution are transformed from such draws. An affine transformation of a normal distribution
    has thus exactly the moments of its distribution.
    """
    if isinstance(distribution, TransformedDistribution):
        value = draws_of(distribution.base_dist)
        for transform in distribution.transforms:
            value = transform(value)
        return value
    draws = distribution.sample(torch.Size([NUM_DRAWS]))
    if not draws.is_floating_point() or not _has_moments(distribution):
        return draws
    deviations = draws - draws.mean(0)
    scale = draws.std(0, correction=0).clamp(min=torch.finfo(draws.dtype).tiny)
    return distribution.mean + distribution.stddev * deviations / scale


def _has_moments(distribution: TorchDistribution) -> bool:
    """Whether a distribution computes its mean and its deviation."""
    try:
        return bool(distribution.mean.shape == distribution.stddev.shape)
    except (NotImplementedError, AttributeError):
        return False
