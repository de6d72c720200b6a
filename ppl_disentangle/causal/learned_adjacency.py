"""The weights of a learned graph, and the graph that they are turned into."""

from __future__ import annotations

import bisect
import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import networkx as nx
import torch
from torch import Tensor, nn

from ppl_disentangle.graphs import as_dag

__all__ = ["Edges", "LearnedAdjacency", "learned_dag"]

Edges: TypeAlias = Iterable[tuple[str, str]]


class LearnedAdjacency(nn.Module):
    """Weights of the edges among named nodes, which may be observed nodes or latents.

    Required edges count as present whatever their weight is, so that no other edge can close a
    cycle with them. The weight is zero for forbidden edges, for the reverse of required edges, and
    for edges from a node to itself.

    Args:
        nodes: Names of the nodes, in the order of rows and columns.
        required: Edges ``(cause, effect)`` that are known to exist.
        forbidden: Edges that are known not to exist.
        width: Number of weights of each edge, such as one for each hidden unit that reads the
            cause. By default, ``None``, an edge has one weight.

    Raises:
        ValueError: A node is named twice, an edge has an unknown node, the required edges have a
            cycle, or an edge is both required and forbidden.

    Attributes:
        names: Names of the nodes.
        candidates: Edges that may exist.
        weight: The parameter, of shape ``(d, d)``, initially zero, or ``(width, d, d)``, initially
            small random numbers.
        allowed: 1 where an edge may exist, else 0, of shape ``(d, d)``.
        required: Whether an edge is required, of shape ``(d, d)``.

    Example:
        >>> adjacency = LearnedAdjacency(["age", "dose", "health"], required=[("dose", "health")])
        >>> adjacency.allowed
        tensor([[0., 1., 1.],
                [1., 0., 1.],
                [1., 0., 0.]])
    """

    allowed: Tensor
    required: Tensor

    def __init__(
        self,
        nodes: Sequence[str],
        *,
        required: Edges = (),
        forbidden: Edges = (),
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(nodes)
        required_edges = as_dag(nx.DiGraph(list(required)), nodes=self.names).edges
        self.candidates = self._candidates(required_edges, forbidden)
        self.register_buffer("required", self._indicator(required_edges) > 0)
        self.register_buffer("allowed", self._indicator(self.candidates))
        self.weight = nn.Parameter(self._initial_weight(width))

    def _candidates(self, required: Edges, forbidden: Edges) -> tuple[tuple[str, str], ...]:
        required = set(required)
        forbidden = set(forbidden)
        for name in sorted(itertools.chain(*forbidden)):
            if name not in self.names:
                raise ValueError(f"no node named {name!r}; the nodes are {list(self.names)}")
        for cause, effect in sorted(required & forbidden):
            raise ValueError(f"the edge {cause} -> {effect} is both required and forbidden")
        reverse_of_required = {(effect, cause) for cause, effect in required}
        excluded = forbidden | reverse_of_required
        return tuple(e for e in itertools.permutations(self.names, 2) if e not in excluded)

    def _initial_weight(self, width: int | None) -> Tensor:
        num_nodes = len(self.names)
        if width is None:
            return torch.zeros(num_nodes, num_nodes)
        return 0.1 * torch.randn(width, num_nodes, num_nodes) / width**0.5

    def _indicator(self, edges: Edges) -> Tensor:
        """1 at ``[cause, effect]`` for each of the edges, else 0, of shape ``(d, d)``."""
        indicator = torch.zeros(len(self.names), len(self.names))
        for cause, effect in edges:
            indicator[self.names.index(cause), self.names.index(effect)] = 1.0
        return indicator

    def weights(self) -> Tensor:
        """The weights, zero where no edge may exist, of the shape of :attr:`weight`."""
        return self.weight * self.allowed

    def matrix(self) -> Tensor:
        """One number for each edge, ``(d, d)``: its weight, or the norm of its weights."""
        weights = self.weights()
        return weights if weights.dim() == 2 else torch.linalg.vector_norm(weights, dim=0)

    def cycles(self, acyclicity: Callable[[Tensor], Tensor]) -> Tensor:
        """The value of an acyclicity function of the weights, where required edges count as 1."""
        return acyclicity(torch.where(self.required, 1.0, self.matrix()))

    def size(self) -> Tensor:
        """The sum of the absolute weights of the edges that are not required."""
        return self.matrix().abs().masked_fill(self.required, 0.0).sum()

    def restrict(self, dag: nx.DiGraph) -> None:
        """Allow only the edges of ``dag`` from now on, and require them; their weights stay.

        Raises:
            ValueError: ``dag`` has other nodes, or an edge that was not allowed.
        """
        edges = as_dag(dag, nodes=self.names).edges
        for cause, effect in edges:
            if (cause, effect) not in self.candidates:
                raise ValueError(f"the edge {cause} -> {effect} was forbidden")
        present = self._indicator(edges)
        self.allowed.copy_(present)
        self.required.copy_(present > 0)


def learned_dag(story: nn.Module, threshold: float = 0.3) -> nx.DiGraph:
    """Turn learned weights into a graph: the edges whose absolute weight exceeds a threshold.

    If this graph has a cycle, the threshold is raised until it has none, with a warning. Required
    edges are always included. The result can be passed to every argument called ``graph``.

    Args:
        story: A story with a :class:`LearnedAdjacency` as its ``adjacency``, or a
            :class:`LearnedAdjacency` itself.
        threshold: Smallest absolute weight, in units of the effect per unit of the cause. The
            default of 0.3 comes from
            [1], whose noise has scale 1.

    Returns:
        An acyclic graph over all nodes. Its edges have the attribute ``weight``; the graph has the
        attribute ``threshold``, which was used.

    Raises:
        TypeError: ``story`` has no learned adjacency.
        ValueError: The threshold is negative, or a weight is not finite.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> adjacency = LearnedAdjacency(["age", "dose", "health"])
        >>> weights = torch.tensor([[0.0, -0.8, 0.0], [0.0, 0.0, 1.5], [0.1, 0.0, 0.0]])
        >>> adjacency.weight = nn.Parameter(weights)
        >>> learned_dag(adjacency).edges
        OutEdgeView([('age', 'dose'), ('dose', 'health')])
    """
    adjacency = _adjacency_of(story)
    if threshold < 0:
        raise ValueError(f"expected threshold >= 0, got {threshold}")
    names = adjacency.names
    weights = adjacency.matrix().detach().cpu()
    if not torch.isfinite(weights).all():
        raise ValueError("the weights of the edges are not finite")
    # A required edge is larger than any threshold.
    sizes = weights.abs().masked_fill(adjacency.required.cpu(), torch.inf)
    used = _smallest_acyclic_threshold(names, sizes, threshold)
    if used > threshold:
        warnings.warn(
            f"the edges above {threshold} have a cycle: the threshold was raised to {used:.3g}",
            stacklevel=2,
        )
    dag = as_dag(_edges_above(names, sizes, used), nodes=names)
    for cause, effect in dag.edges:
        dag.edges[cause, effect]["weight"] = weights[names.index(cause), names.index(effect)].item()
    dag.graph["threshold"] = used
    return dag


def _adjacency_of(story: nn.Module) -> LearnedAdjacency:
    adjacency = story if isinstance(story, LearnedAdjacency) else getattr(story, "adjacency", None)
    if not isinstance(adjacency, LearnedAdjacency):
        raise TypeError(
            f"expected a story with a LearnedAdjacency as its adjacency, got {type(story).__name__}"
        )
    return adjacency


def _smallest_acyclic_threshold(names: Sequence[str], sizes: Tensor, threshold: float) -> float:
    """``threshold``, or the smallest larger weight above which the edges have no cycle."""
    larger_sizes = sizes[(sizes > threshold) & sizes.isfinite()].unique().tolist()  # sorted
    thresholds = [threshold, *larger_sizes]

    def is_acyclic(size: float) -> bool:
        return nx.is_directed_acyclic_graph(_edges_above(names, sizes, size))

    # Edges only go away as the threshold grows, so that bisection finds the first acyclic graph.
    return thresholds[bisect.bisect_left(thresholds, True, key=is_acyclic)]


def _edges_above(names: Sequence[str], sizes: Tensor, threshold: float) -> nx.DiGraph:
    return nx.DiGraph((names[i], names[j]) for i, j in (sizes > threshold).nonzero().tolist())
