"""Reference values of the acyclicity functions, and weights to compute them for."""

import numpy as np
import torch
from scipy.linalg import expm

DOUBLE = {"dtype": torch.float64}


REFERENCES = {
    "exponential": lambda squares: np.trace(expm(squares)) - len(squares),
    "polynomial": lambda squares: (
        np.trace(
            np.linalg.matrix_power(np.eye(len(squares)) + squares / len(squares), len(squares))
        )
        - len(squares)
    ),
    "determinant": lambda squares: (
        -np.log(np.linalg.eigvals(np.eye(len(squares)) - squares / 30.0)).sum().real
    ),
}


def random_weights(dim, seed=0):
    """Weights of edges between ``dim`` nodes."""
    return torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), **DOUBLE)
