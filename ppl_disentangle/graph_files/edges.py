"""Edges as they are drawn, with a mark at each end; a causal graph accepts only directed ones."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import networkx as nx

__all__ = ["ARROW", "CIRCLE", "TAIL", "DrawnEdge", "DrawnGraph", "as_digraph"]

TAIL = "-"
ARROW = ">"
CIRCLE = "o"

_MEANING = {
    (ARROW, ARROW): (
        "is bidirected, which stands for a common cause without a name:"
        " write that cause as a node, 'U -> {a}' and 'U -> {b}'"
    ),
    (TAIL, TAIL): "is undirected: give it a direction, '{a} -> {b}' or '{b} -> {a}'",
}
_OPEN = (
    "has a circle at one end, as in a PAG, where the direction is not known:"
    " decide it, '{a} -> {b}' or '{b} -> {a}', or leave the edge out"
)
_ARBITRARY = re.compile(r"(n|node|v)?_?\d+(::n\d+)*", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class DrawnEdge:
    """An edge between two nodes, with the marks at its ends.

    Attributes:
        source: The node at the first end.
        target: The node at the second end.
        tail: Mark at the source: :data:`TAIL`, :data:`ARROW` or :data:`CIRCLE`.
        head: Mark at the target.
        place: Where the edge stands in the file, such as ``"line 3"``.
    """

    source: str
    target: str
    tail: str
    head: str
    place: str

    def directed(self) -> tuple[str, str]:
        """Cause and effect.

        Raises:
            ValueError: The edge is bidirected or undirected, or has a circle.
        """
        marks = (self.tail, self.head)
        if marks == (TAIL, ARROW):
            return self.source, self.target
        if marks == (ARROW, TAIL):
            return self.target, self.source
        meaning = _MEANING.get(marks, _OPEN).format(a=self.source, b=self.target)
        raise ValueError(f"{self.place}: the edge '{self.text}' {meaning}")

    @property
    def text(self) -> str:
        """The edge in text, such as ``a <-> b``."""
        arrow = f"{self.tail}-{self.head}".replace("---", "--")
        if self.tail == ARROW:
            arrow = f"<-{self.head}".replace("--", "-")
        return f"{self.source} {arrow} {self.target}"


@dataclasses.dataclass
class DrawnGraph:
    """Nodes and edges as a file states them.

    Attributes:
        labels: Label of each node, by the node; ``None`` where it has none.
        edges: The edges.
    """

    labels: dict[str, str | None] = dataclasses.field(default_factory=dict)
    edges: list[DrawnEdge] = dataclasses.field(default_factory=list)


def as_digraph(drawn: DrawnGraph, *, by_label: bool = False) -> nx.DiGraph:
    """The directed graph of the drawn nodes and edges.

    The names of the nodes are their labels with ``by_label``, and also if all nodes have different
    labels while their identifiers are mere numbers, such as ``n0`` and ``n1``.

    Raises:
        ValueError: An edge has no direction, or ``by_label`` and a label is missing or occurs twice.
    """
    if by_label:
        _check_labels(drawn.labels)
    names = _names(drawn.labels, by_label)
    graph = nx.DiGraph()
    graph.add_nodes_from(names.values())
    for edge in drawn.edges:
        named = dataclasses.replace(edge, source=names[edge.source], target=names[edge.target])
        graph.add_edge(*named.directed())
    return graph


def _names(labels: Mapping[str, str | None], by_label: bool) -> dict[str, str]:
    """The name of each node."""
    given = [label for label in labels.values() if label]
    are_different = len(set(given)) == len(labels)
    if by_label or (are_different and all(_ARBITRARY.fullmatch(node) for node in labels)):
        return dict(zip(labels, given, strict=True))
    return {node: node for node in labels}


def _check_labels(labels: Mapping[str, str | None]) -> None:
    seen: dict[str, str] = {}
    for node, label in labels.items():
        if not label:
            raise ValueError(f"node {node!r} has no label: write its name on it")
        if label in seen:
            raise ValueError(f"nodes {seen[label]!r} and {node!r} have the same label {label!r}")
        seen[label] = node


def marks_of(arrow: str) -> tuple[str, str]:
    """The marks of an edge in text, such as ``("-", ">")`` of ``-->`` and ``("o", ">")`` of ``o->``."""
    ends: Sequence[str] = (arrow[0], arrow[-1])
    marks = {"<": ARROW, ">": ARROW, "o": CIRCLE, "@": CIRCLE}
    tail, head = (marks.get(end, TAIL) for end in ends)
    return tail, head
