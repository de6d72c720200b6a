"""DEAR [Shen et al., 2022]: a linear structural model in a super-graph, seen through functions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import networkx as nx
import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.distributions.transforms import AffineTransform, ComposeTransform

from ppl_disentangle.causal.mechanisms import InvertibleMechanism
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import as_dag, graph_of, parents, topological_order
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.structural import Posterior, StructuralVAE, noisy_labels
from ppl_disentangle.networks import Networks

__all__ = ["DEAR", "PostNonlinear"]


class DEAR(StructuralVAE):
    r"""Learns causal concepts and their graph from labels, if only an order of the causes is known.

    .. math:: s = A^\top s + b + \sigma \circ \varepsilon, \quad z_i = f_i(s_i), \quad
       x \mid z \sim p(x \mid z)

    Scores s follow a linear structural model, and nodes z are monotone functions of their scores.
    A has weights only on the edges of a given super-graph, such as all edges along a known order.
    An edge of the super-graph that is not in the true graph gets a weight near 0 in
    :meth:`weights`. The functions f are increasing and piecewise linear, as in the public code. The
    published objective is a GAN over (x, z) with a loss of the encoder on the labels. Here it is
    the evidence lower bound, and labels are noisy children of the nodes.

    - Story: Above, with ``u_i | z_i ~ N(z_i, label_scale)`` where labels are given.
    - Guide: As in :class:`~ppl_disentangle.models.StructuralVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: labels of the nodes of a causal order for at least some observations, as for
      :class:`~ppl_disentangle.models.CausalVAE`; [1] has labels for a part of the data.
    - For: concepts whose causal order is known while their graph is not.

    Args:
        graph: The super-graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` takes; or
            a list of the nodes, causes first, for all edges along this order.
        encoder: ``encoder(x)`` is a normal over all nodes, or over their noise.
        decoder: ``decoder(z)`` is p(x | z), for z all nodes.
        pieces: Number of linear pieces of each function f. This default and the next are not from
            [1].
        label_scale: Standard deviation of a label, on the scale of the nodes.
        beta: Weight of the divergence.
        posterior: ``"nodes"`` or ``"noise"``; see :class:`~ppl_disentangle.models.StructuralVAE`.

    References:
        [1] Shen et al., 2022. https://arxiv.org/abs/2010.02637

    Example:
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> networks = Gaussian(nn.Linear(9, 6)), GaussianLearnedScale(nn.Linear(3, 9))
        >>> story = DEAR(["age", "dose", "health"], *networks)
        >>> list(story.weights())
        [('age', 'dose'), ('age', 'health'), ('dose', 'health')]
    """

    def __init__(
        self,
        graph: Any,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        pieces: int = 10,
        label_scale: float = 0.1,
        beta: Weight = 1.0,
        posterior: Posterior = "nodes",
    ) -> None:
        if label_scale <= 0:
            raise ValueError(f"expected label_scale > 0, got {label_scale}")
        dag = as_dag(_complete_dag(graph) if isinstance(graph, list | tuple) else graph)
        mechanisms: dict[str, PostNonlinear] = {}
        for node in topological_order(dag):
            of_parents = [mechanisms[parent] for parent in parents(dag, node)]
            mechanisms[node] = PostNonlinear(of_parents, pieces=pieces)
        super().__init__(StructuralPrior(dag, mechanisms), encoder, decoder, posterior=posterior)
        self.label_scale = label_scale
        self.beta = beta

    def weights(self) -> dict[tuple[str, str], float]:
        """The weight of each edge ``(cause, effect)`` of the super-graph.

        Weights are between scores in units of the standard deviation of their noise.
        """
        mechanisms: dict[str, Any] = dict(self.prior.named_mechanisms())
        scales = {node: mechanism.log_scale.exp().item() for node, mechanism in mechanisms.items()}
        weights = {}
        for effect, mechanism in mechanisms.items():
            for i, cause in enumerate(self.prior.parents[effect]):
                weight = mechanism.weight[i].item()
                weights[cause, effect] = weight * scales[cause] / scales[effect]
        return weights

    def observe_labels(self, values: Mapping[str, Tensor], labels: Tensor | None) -> None:
        """Observe each known label as a normal around its node."""
        if labels is not None:
            noisy_labels(self.columns, self.prior.side_by_side(values), labels, self.label_scale)

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, graph: Any = None, **hyper: Any
    ) -> Self:
        """Build the story for ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations, with or without a graph.
            networks: Makes the encoder and the decoder.
            graph: The super-graph, or a list of nodes in causal order; by default the graph of the
                data.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: There is neither ``graph`` nor a graph of the data.
        """
        graph = graph_of(cls.__name__, data, graph)
        size = len(graph if isinstance(graph, list) else as_dag(graph))
        return cls(graph, Gaussian(networks.encoder(2 * size)), networks.decoder(size), **hyper)

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta)


class PostNonlinear(InvertibleMechanism):
    r"""A node of one coordinate, :math:`z = f(\sum_j w_j f_j^{-1}(z_j) + b + \sigma \varepsilon)`.

    Args:
        of_parents: Mechanisms of the parents, sorted by name; this mechanism inverts their
            functions :math:`f_j`.
        pieces: Number of linear pieces of f. Their knots are evenly spaced from -3 to 3, and all
            slopes are 1 at first.

    Raises:
        ValueError: ``pieces`` is below 2.
    """

    knots: Tensor

    def __init__(self, of_parents: Sequence[PostNonlinear] = (), *, pieces: int = 10) -> None:
        super().__init__(1, len(of_parents))
        if pieces < 2:
            raise ValueError(f"expected at least 2 pieces, got {pieces}")
        # a tuple, not a module list: each mechanism is registered with its own node
        self.of_parents = tuple(of_parents)
        self.register_buffer("knots", torch.linspace(-3.0, 3.0, pieces - 1), persistent=False)
        self.log_slopes = nn.Parameter(torch.zeros(pieces))
        self.weight = nn.Parameter(0.1 * torch.randn(len(of_parents))) if of_parents else None
        self.bias = nn.Parameter(torch.zeros(1))
        self.log_scale = nn.Parameter(torch.zeros(1))

    def function(self) -> PiecewiseLinear:
        """The function f, from the score to the value of the node."""
        return PiecewiseLinear(self.knots, self.log_slopes.exp())

    def transform(self, parents: Tensor) -> Transform:
        """The transform from noise to value, given the values of the parents."""
        loc: Tensor = self.bias
        if self.weight is not None:
            scores = [
                mechanism.function().inv(value)
                for mechanism, value in zip(self.of_parents, parents.unbind(-1), strict=True)
            ]
            loc = loc + (torch.stack(scores, -1) * self.weight).sum(-1, keepdim=True)
        score = AffineTransform(loc, self.log_scale.exp(), event_dim=1)
        return ComposeTransform([score, self.function()])


class PiecewiseLinear(Transform):
    """An increasing function of each coordinate, linear between knots.

    Args:
        knots: Positions where the slope changes, ascending, of shape ``(pieces - 1,)``. The middle
            knot is a fixed point of the function.
        slopes: Positive slopes of the pieces, of shape ``(pieces,)``.

    Example:
        >>> function = PiecewiseLinear(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0, 4.0]))
        >>> function(torch.tensor([-1.0, 0.5, 2.0]))
        tensor([-2., 0., 5.])
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, knots: Tensor, slopes: Tensor) -> None:
        super().__init__()
        self.knots = knots
        self.slopes = slopes
        # (pieces - 1,): values at the knots, first from 0 at the first knot
        heights = nn.functional.pad((slopes[1:-1] * knots.diff()).cumsum(0), (1, 0))
        middle = len(knots) // 2
        self.heights = heights - heights[middle] + knots[middle]

    def __eq__(self, other: object) -> bool:
        return self is other

    def _call(self, x: Tensor) -> Tensor:
        # piece p lies between the knots p - 1 and p; the first piece starts from the first knot too
        piece = torch.bucketize(x.detach().contiguous(), self.knots)
        knot = (piece - 1).clamp(min=0)
        return self.heights[knot] + self.slopes[piece] * (x - self.knots[knot])

    def _inverse(self, y: Tensor) -> Tensor:
        piece = torch.bucketize(y.detach().contiguous(), self.heights.detach())
        knot = (piece - 1).clamp(min=0)
        return self.knots[knot] + (y - self.heights[knot]) / self.slopes[piece]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The log of the slope at x."""
        return self.slopes[torch.bucketize(x.detach().contiguous(), self.knots)].log()


def _complete_dag(order: Sequence[str]) -> nx.DiGraph:
    """The graph with an edge from every node to every later one."""
    graph = nx.DiGraph()
    graph.add_nodes_from(order)
    graph.add_edges_from(itertools.combinations(order, 2))
    return graph
