"""Stories that learn which of their variables cause which."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Sequence
import networkx as nx
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_disentangle.acyclicity import LearnedAdjacency
from ppl_disentangle.graphs import as_dag
from ppl_disentangle.inference.acyclic import AcyclicELBO
from ppl_disentangle.story import GenerativeStory


class GaussianEquations(TorchDistribution):
    arg_constraints = {"scale": constraints.positive}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, predict, scale, validate_args=None):
        self.predict, self.scale = predict, scale
        super().__init__(scale.shape[:-1], scale.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        return GaussianEquations(self.predict, self.scale.expand(*batch_shape, *self.event_shape), validate_args=False)

    def rsample(self, sample_shape=torch.Size()):
        noise = self.scale * torch.randn(self._extended_shape(sample_shape), dtype=self.scale.dtype, device=self.scale.device)
        x = noise
        for _ in range(self.event_shape[0] - 1):
            x = self.predict(x) + noise
        return x

    def log_prob(self, value):
        return dist.Normal(self.predict(value), self.scale).log_prob(value).sum(-1)


class GraphStory(GenerativeStory):
    latents = ()

    def __init__(self, adjacency, equal_scales):
        super().__init__()
        self.adjacency = adjacency
        dim = len(adjacency.names)
        self.intercept = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(1 if equal_scales else dim))

    def equations(self):
        return GaussianEquations(self.predict, self.log_scale.exp().expand(len(self.adjacency.names)))

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            return pyro.sample("x", self.equations(), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pass


class LinearGraphStory(GraphStory):
    def __init__(self, nodes, *, required=(), forbidden=(), equal_scales=True, sparsity=0.1):
        super().__init__(LearnedAdjacency(nodes, required=required, forbidden=forbidden), equal_scales)
        self.sparsity = sparsity

    def predict(self, x):
        return x @ self.adjacency.weights() + self.intercept

    def objective(self):
        return AcyclicELBO(self.adjacency, sparsity=self.sparsity)


class NonlinearGraphStory(GraphStory):
    def __init__(self, nodes, *, hidden=16, activation=torch.relu, required=(), forbidden=(), equal_scales=True, sparsity=0.02, learn_out=False):
        super().__init__(LearnedAdjacency(nodes, required=required, forbidden=forbidden, width=hidden), equal_scales)
        self.sparsity = sparsity; self.activation = activation
        self.bias = nn.Parameter(torch.randn(hidden, len(nodes)))
        sign = torch.ones(hidden, 1); sign[1::2] = -1
        if learn_out: self.sign = nn.Parameter(sign.expand(-1, len(nodes)).clone()/ hidden**.5)
        else: self.register_buffer("sign", sign)

    def predict(self, x):
        hidden = torch.einsum("...i,kij->...kj", x, self.adjacency.weights()) + self.bias
        return (self.sign * self.activation(hidden)).sum(-2) + self.intercept

    def objective(self):
        return AcyclicELBO(self.adjacency, sparsity=self.sparsity)


def learned_dag(story, *, threshold=0.3):
    adjacency = getattr(story, "adjacency", story)
    weights = adjacency.matrix().detach().abs().cpu()
    required = adjacency.required.cpu()
    raised = threshold
    while True:
        edges = ((weights > raised) | required).nonzero().tolist()
        g = nx.DiGraph(); g.add_nodes_from(adjacency.names)
        g.add_edges_from((adjacency.names[i], adjacency.names[j]) for i, j in edges)
        if nx.is_directed_acyclic_graph(g): break
        raised = min(w for i, j in edges if (w := weights[i,j].item()) > raised)
    g.graph["threshold"] = raised
    return g
