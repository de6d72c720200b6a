"""How well pixels are predicted, in nats per datum, and what no code and a perfect one would get."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_disentangle.metrics.evaluation.baselines import LinearCode

__all__ = ["best_log_likelihood", "linear_log_likelihood", "marginal_log_likelihood"]

FLOOR = 1e-3


def bernoulli_log_likelihood(x: Tensor, probability: Tensor) -> Tensor:
    """Sum over pixels of x log p + (1 - x) log (1 - p) of each datum, shape ``(num_data,)``; 0 log 0 is 0."""
    return (torch.xlogy(x, probability) + torch.xlogy(1 - x, 1 - probability)).flatten(1).sum(1)


def best_log_likelihood(x: Tensor) -> Tensor:
    """The ceiling: each pixel predicted by itself. Zero for binary images; minus the pixels' entropy for grey ones."""
    return bernoulli_log_likelihood(x, x)


def marginal_log_likelihood(x: Tensor, training: Tensor) -> Tensor:
    """Without any code: each pixel by its mean over ``training``, kept within [0.001, 0.999]."""
    return bernoulli_log_likelihood(x, training.mean(0, keepdim=True).clamp(FLOOR, 1 - FLOOR))


def linear_log_likelihood(stored: Tensor, code: LinearCode, maximum: float) -> Tensor:
    """By the least-squares reconstruction from a linear code, kept within [0.001, 0.999].

    Args:
        stored: observations as the code takes them, ``(num_data, *observation_shape)``.
        code: what :func:`pca` or :func:`ica` returned.
        maximum: the stored value that means 1.
    """
    flat = code.mean + code(stored) @ torch.linalg.pinv(code.weights)
    probability = (flat / maximum).clamp(FLOOR, 1 - FLOOR).reshape(stored.shape)
    return bernoulli_log_likelihood(stored.float() / maximum, probability)
