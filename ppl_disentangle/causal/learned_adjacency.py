"""The weights of a graph that is learned, of observed nodes or latents, and the graph that they become."""

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
    """Weights of the edges among named nodes, for observed nodes or latents alike.

    Edges that are required count as present whatever their weight, so that nothing may close a cycle with them; edges
    that are forbidden, those against a required one and those from a node to itself have weight zero.

    Args:
        nodes: names of the nodes, in the order of rows and columns.
        required: edges ``(cause, effect)`` that are known to be there.
        forbidden: edges that are known not to be.
        width: how many weights an edge has, such as one for each hidden unit that reads the cause; ``None``: one.

    Raises:
        ValueError: a node twice, an edge with another node, a cycle of required edges, or an edge both required and
            forbidden.

    Attributes:
        names: names of the nodes.
        candidates: edges that there may be.
        weight: the parameter, of shape ``(d, d)`` or ``(width, d, d)``: zeros, or small random numbers.
        allowed: 1 where there may be an edge, else 0, of shape ``(d, d)``.
        required: whether an edge is required, of shape ``(d, d)``.

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
        known = as_dag(nx.DiGraph(list(required)), nodes=self.names)
        against = self._among_nodes(forbidden)
        for cause, effect in known.edges:
            if (cause, effect) in against:
                raise ValueError(f"the edge {cause} -> {effect} is both required and forbidden")
        pairs = itertools.permutations(self.names, 2)
        self.candidates = tuple(p for p in pairs if p not in against and p[::-1] not in known.edges)
        self.register_buffer("required", self._indicator(known.edges) > 0)
        self.register_buffer("allowed", self._indicator(self.candidates))
        shape = self.allowed.shape if width is None else (width, *self.allowed.shape)
        self.weight = nn.Parameter(
            torch.zeros(shape) if width is None else 0.1 * torch.randn(shape) / width**0.5
        )

    def _among_nodes(self, edges: Edges) -> set[tuple[str, str]]:
        edges = set(edges)
        for name in sorted(itertools.chain(*edges)):
            if name not in self.names:
                raise ValueError(f"no node named {name!r}; the nodes are {list(self.names)}")
        return edges

    def _indicator(self, edges: Iterable[tuple[str, str]]) -> Tensor:
        present = set(edges)
        return torch.tensor(
            [[float((cause, effect) in present) for effect in self.names] for cause in self.names]
        )

    def weights(self) -> Tensor:
        """The weights, zero where there may be no edge, of the shape of :attr:`weight`."""
        return self.weight * self.allowed

    def matrix(self) -> Tensor:
        """One weight an edge, of shape ``(d, d)``: as it is, or the Euclidean norm of the edge's ``width`` weights."""
        weights = self.weights()
        return weights if weights.dim() == 2 else torch.linalg.vector_norm(weights, dim=0)

    def cycles(self, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """The acyclicity ``measure`` of the weights; required edges count as 1."""
        return measure(torch.where(self.required, 1.0, self.matrix()))

    def size(self) -> Tensor:
        """The sum of the absolute weights of edges that are not required."""
        return self.matrix().abs().masked_fill(self.required, 0.0).sum()

    def restrict(self, dag: nx.DiGraph) -> None:
        """From now on allow and require the edges of ``dag`` alone, whose nodes are these; their weights stay.

        Raises:
            ValueError: other nodes, or an edge that was not allowed.
        """
        edges = as_dag(dag, nodes=self.names).edges
        for cause, effect in edges:
            if (cause, effect) not in self.candidates:
                raise ValueError(f"the edge {cause} -> {effect} was forbidden")
        present = self._indicator(edges)
        self.allowed.copy_(present)
        self.required.copy_(present > 0)


def learned_dag(story: nn.Module, threshold: float = 0.3) -> nx.DiGraph:
    """The graph of the weights above a threshold.

    Where it has a cycle, the threshold is raised until it has none, with a warning. Required edges are there whatever
    their weight. What takes a ``graph`` elsewhere takes the result.

    Args:
        story: a story with an ``adjacency``, or a :class:`LearnedAdjacency` itself.
        threshold: in units of the effect per unit of the cause. 0.3 in [1], whose columns have noise of scale 1.

    Returns:
        An acyclic graph over all nodes. Its edges have the attribute ``weight``, itself ``threshold``, the one used.

    Raises:
        TypeError: nothing here has a learned adjacency.
        ValueError: a negative threshold, or weights that are not finite.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> adjacency = LearnedAdjacency(["age", "dose", "health"])
        >>> weights = torch.tensor([[0.0, -0.8, 0.0], [0.0, 0.0, 1.5], [0.1, 0.0, 0.0]])
        >>> adjacency.weight = nn.Parameter(weights)
        >>> learned_dag(adjacency).edges
        OutEdgeView([('age', 'dose'), ('dose', 'health')])
    """
    adjacency = story if isinstance(story, LearnedAdjacency) else getattr(story, "adjacency", None)
    if not isinstance(adjacency, LearnedAdjacency):
        raise TypeError(
            f"expected a story with a LearnedAdjacency as its adjacency, got {type(story).__name__}"
        )
    if threshold < 0:
        raise ValueError(f"expected threshold >= 0, got {threshold}")
    weights, names = adjacency.matrix().detach().cpu(), adjacency.names
    if not torch.isfinite(weights).all():
        raise ValueError("the weights of the edges are not finite")
    sizes = weights.abs().masked_fill(adjacency.required.cpu(), torch.inf)

    def above(size: float) -> nx.DiGraph:
        return nx.DiGraph([(names[i], names[j]) for i, j in (sizes > size).nonzero().tolist()])

    candidates = [threshold, *sizes[(sizes > threshold) & sizes.isfinite()].unique().tolist()]
    first = bisect.bisect_left(
        candidates, True, key=lambda size: nx.is_directed_acyclic_graph(above(size))
    )
    used = candidates[first]
    if first:
        warnings.warn(
            f"the edges above {threshold} have a cycle: the threshold was raised to {used:.3g}",
            stacklevel=2,
        )
    dag = as_dag(above(used), nodes=names)
    for cause, effect in dag.edges:
        dag.edges[cause, effect]["weight"] = weights[names.index(cause), names.index(effect)].item()
    dag.graph["threshold"] = used
    return dag
