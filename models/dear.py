"""DEAR [Shen et al., 2022]: a linear structural model seen through monotone functions, in a graph that is too large."""

from __future__ import annotations

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
    r"""Nodes that are monotone functions of linear scores, whose weights tell which edges of a super-graph are real.

    .. math:: s = A^\top s + b + \sigma \circ \varepsilon, \quad z_i = f_i(s_i), \quad x \mid z \sim p(x \mid z)

    A has no weight outside of a given super-graph, such as all edges along a known order; an edge of the super-graph
    that is none of the truth comes out with a weight near 0, in :meth:`weights`. The functions f are increasing and
    piecewise linear, as in the public code. The published objective is that of a GAN over (x, z) together with the
    error of the encoder in the labels; here it is the evidence lower bound, and labels are noisy children of the nodes.

    - Story: above, with ``u_i | z_i ~ N(z_i, label_scale)`` where labels are given.
    - Guide: as of :class:`StructuralVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: as for :class:`~ppl_disentangle.models.CausalVAE`; [1] has labels for a part of the data.
    - For: an order of causes that is known, where the graph is not.

    Args:
        graph: the super-graph, what :func:`~ppl_disentangle.graphs.as_dag` takes; or the names of the nodes, causes
            first, for all edges along this order.
        encoder: as in :class:`StructuralVAE`.
        decoder: as in :class:`StructuralVAE`.
        pieces: number of linear pieces of each f; a choice of ours, like the next.
        label_scale: in units of the nodes.
        beta: weight of the divergence.
        posterior: as in :class:`StructuralVAE`.

    References:
        [1] Shen et al., 2022. https://arxiv.org/abs/2010.02637

    Example:
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> story = DEAR(["age", "dose", "health"], Gaussian(nn.Linear(9, 6)), GaussianLearnedScale(nn.Linear(3, 9)))
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
        dag = as_dag(_along(graph) if isinstance(graph, list | tuple) else graph)
        mechanisms: dict[str, PostNonlinear] = {}
        for node in topological_order(dag):
            above = [mechanisms[parent] for parent in parents(dag, node)]
            mechanisms[node] = PostNonlinear(above, pieces=pieces)
        super().__init__(StructuralPrior(dag, mechanisms), encoder, decoder, posterior=posterior)
        self.label_scale, self.beta = label_scale, beta

    def weights(self) -> dict[tuple[str, str], float]:
        """The weight of each edge of the super-graph, between scores in units of their standard noise."""
        mechanisms: dict[str, Any] = dict(self.prior.named_mechanisms())
        scales = {n: m.log_scale.exp().item() for n, m in mechanisms.items()}
        edges = [(p, n, i) for n in mechanisms for i, p in enumerate(self.prior.parents[n])]
        return {(p, n): mechanisms[n].weight[i].item() * scales[p] / scales[n] for p, n, i in edges}

    def observe_labels(self, values: Mapping[str, Tensor], labels: Tensor | None) -> None:
        """A normal around each node, where its label is known."""
        if labels is not None:
            noisy_labels(self.columns, self.prior.side_by_side(values), labels, self.label_scale)

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, graph: Any = None, **hyper: Any
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with a graph of their own, or without.
            networks: what encoder and decoder are made by.
            graph: a super-graph, or a list of nodes in causal order; by default the graph of the data.
            **hyper: of the story.
        """
        graph = graph_of(cls.__name__, data, graph)
        size = len(graph if isinstance(graph, list) else as_dag(graph))
        return cls(graph, Gaussian(networks.encoder(2 * size)), networks.decoder(size), **hyper)

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(self.beta)


class PostNonlinear(InvertibleMechanism):
    r"""A node of one coordinate, :math:`z = f(\sum_j w_j f_j^{-1}(z_j) + b + \sigma \varepsilon)`.

    Args:
        above: the mechanisms of its parents, by name, whose functions :math:`f_j` it undoes.
        pieces: number of linear pieces of f, between -3 and 3 and beyond; all of slope 1 at first.
    """

    knots: Tensor

    def __init__(self, above: Sequence[PostNonlinear] = (), *, pieces: int = 10) -> None:
        super().__init__(1, len(above))
        if pieces < 2:
            raise ValueError(f"expected at least 2 pieces, got {pieces}")
        self.above = tuple(above)  # a tuple: each mechanism is registered with its own node
        self.register_buffer("knots", torch.linspace(-3.0, 3.0, pieces - 1), persistent=False)
        self.log_slopes = nn.Parameter(torch.zeros(pieces))
        self.weight = nn.Parameter(0.1 * torch.randn(len(above))) if above else None
        self.bias, self.log_scale = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def function(self) -> PiecewiseLinear:
        """f, from the score to the node."""
        return PiecewiseLinear(self.knots, self.log_slopes.exp())

    def transform(self, parents: Tensor) -> Transform:
        """From noise to value."""
        loc: Tensor = self.bias
        if self.weight is not None:
            scores = [
                m.function().inv(z) for m, z in zip(self.above, parents.unbind(-1), strict=True)
            ]
            loc = loc + (torch.stack(scores, -1) * self.weight).sum(-1, keepdim=True)
        return ComposeTransform(
            [AffineTransform(loc, self.log_scale.exp(), event_dim=1), self.function()]
        )


class PiecewiseLinear(Transform):
    """An increasing function of each coordinate, linear between knots.

    Args:
        knots: where the slope changes, ascending, of shape ``(pieces - 1,)``; the middle one of them is a fixed point.
        slopes: positive, of shape ``(pieces,)``.

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
        self.knots, self.slopes = knots, slopes
        heights = nn.functional.pad((slopes[1:-1] * knots.diff()).cumsum(0), (1, 0))
        middle = len(knots) // 2
        self.heights = heights - heights[middle] + knots[middle]

    def __eq__(self, other: object) -> bool:
        return self is other

    def _call(self, x: Tensor) -> Tensor:
        piece = torch.bucketize(x.detach().contiguous(), self.knots)
        knot = (piece - 1).clamp(min=0)
        return self.heights[knot] + self.slopes[piece] * (x - self.knots[knot])

    def _inverse(self, y: Tensor) -> Tensor:
        piece = torch.bucketize(y.detach().contiguous(), self.heights.detach())
        knot = (piece - 1).clamp(min=0)
        return self.knots[knot] + (y - self.heights[knot]) / self.slopes[piece]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The logarithm of the slope at x."""
        return self.slopes[torch.bucketize(x.detach().contiguous(), self.knots)].log()


def _along(names: Sequence[str]) -> nx.DiGraph:
    """All edges along an order."""
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    return graph
