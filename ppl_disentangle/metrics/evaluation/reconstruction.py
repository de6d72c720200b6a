"""Log likelihood of Bernoulli pixels, and its floor and ceiling: no code, and a perfect code."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_disentangle.metrics.evaluation.baselines import LinearCode

__all__ = ["best_log_likelihood", "linear_log_likelihood", "marginal_log_likelihood"]

SMALLEST_PROBABILITY = 1e-3


def bernoulli_log_likelihood(x: Tensor, probability: Tensor) -> Tensor:
    """Log likelihood of each datum in nats, ``(num_data,)``.

    It is the sum over the pixels of x log p + (1 - x) log (1 - p), where 0 log 0 is 0.
    """
    ones = torch.xlogy(x, probability)
    zeros = torch.xlogy(1 - x, 1 - probability)
    return (ones + zeros).flatten(1).sum(1)


def best_log_likelihood(x: Tensor) -> Tensor:
    """The largest log likelihood of each datum: every pixel is predicted by its own value.

    It is 0 for binary images, and minus the entropy of the pixels for grey images.
    """
    return bernoulli_log_likelihood(x, x)


def marginal_log_likelihood(x: Tensor, training: Tensor) -> Tensor:
    """Log likelihood of each datum without any code.

    Every pixel is predicted by its mean over ``training``, limited to [0.001, 0.999].
    """
    return bernoulli_log_likelihood(x, _limited(training.mean(0, keepdim=True)))


def linear_log_likelihood(stored: Tensor, code: LinearCode, maximum: float) -> Tensor:
    """Log likelihood of each datum under its least-squares reconstruction from a linear code.

    Probabilities are limited to [0.001, 0.999].

    Args:
        stored: Observations in the form that the code takes, ``(num_data, *observation_shape)``.
        code: Linear code from :func:`pca` or :func:`ica`.
        maximum: Stored value that stands for probability 1.
    """
    flat = code.mean + code(stored) @ torch.linalg.pinv(code.weights)
    probability = _limited(flat / maximum).reshape(stored.shape)
    return bernoulli_log_likelihood(stored.float() / maximum, probability)


def _limited(probability: Tensor) -> Tensor:
    return probability.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
