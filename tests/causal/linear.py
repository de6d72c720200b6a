"""A linear story over five nodes, whose effects have closed forms."""

import numpy as np
import torch
from torch import nn

from ppl_disentangle.causal.mechanisms import LinearGaussian
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.models import CausalVAE

#     a
#   / | \
#  v  |  v
#  b  |  c    e
#   \ v /
#    vd
NODES = ("a", "b", "c", "d", "e")
PATHS = {("a", "b"): 0.9, ("a", "c"): -0.5, ("b", "d"): 0.7, ("c", "d"): 1.1, ("a", "d"): 0.3}
FEATURES = 6
BATCH = 4


def total_effects():
    """The matrix of total effects, ``[effect, cause]``: sums over paths of the products of their weights."""
    weights = np.zeros((5, 5))
    for (cause, effect), weight in PATHS.items():
        weights[NODES.index(effect), NODES.index(cause)] = weight
    return np.linalg.inv(np.eye(5) - weights)


def linear_story(decoder=None):
    """A story whose nodes are linear functions of their parents with the weights of ``PATHS``."""
    torch.manual_seed(0)
    prior = StructuralPrior("; ".join(f"{a} -> {b}" for a, b in PATHS) + "; e", LinearGaussian)
    for node in prior.names:
        if prior.parents[node]:
            prior.mechanisms[node].weight.data = torch.tensor(
                [[PATHS[p, node] for p in prior.parents[node]]]
            )
    encoder = Gaussian(nn.Linear(FEATURES, 10))
    return CausalVAE(prior, encoder, decoder or GaussianLearnedScale(nn.Linear(5, FEATURES)))


def some_units():
    """Observations of a few units."""
    return torch.rand(BATCH, FEATURES, generator=torch.Generator().manual_seed(1))
