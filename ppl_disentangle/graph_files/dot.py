"""Graphs in DOT, the language of Graphviz, and in its relative, the language of DAGitty."""

from __future__ import annotations

import dataclasses
import itertools
import re

from ppl_disentangle.graph_files.edges import (
    ARROW,
    CIRCLE,
    TAIL,
    DrawnEdge,
    DrawnGraph,
    marks_of,
)
from ppl_disentangle.graph_files.tokens import Token, Tokens

__all__ = ["is_dot", "read_dot"]

_KINDS = ("graph", "digraph", "dag", "pdag", "mag", "pag")
_HEADER = re.compile(
    r"(\s|//[^\n]*|/\*.*?\*/|#[^\n]*\n)*(strict\s+)?(graph|digraph|dag|pdag|mag|pag)\b[^{;>-]*\{",
    re.DOTALL | re.IGNORECASE,
)
_ARROW_SHAPE = re.compile(r"o?[lr]?(normal|vee|curve|icurve)|open|halfopen|empty")
_DIRECTIONS = ("forward", "back", "both", "none")
_MAX_DEPTH = 100


def is_dot(text: str) -> bool:
    """Whether a text begins like a graph in DOT or DAGitty, such as ``digraph {`` or ``dag {``."""
    return _HEADER.match(text) is not None


def read_dot(text: str) -> DrawnGraph:
    """Read one graph in DOT or in the language of DAGitty.

    Attributes ``dir``, ``arrowhead`` and ``arrowtail`` say at which ends an edge has arrows. Edges
    with ``style=invis``, which only guide the layout, are left out.

    Raises:
        ValueError: The text is not such a graph, holds a second graph, or an edge has an arrow whose
            shape says nothing about causes.
    """
    tokens = Tokens(text)
    tokens.skip_word("strict")
    header = tokens.take("name")
    kind = header.text.lower()
    if kind not in _KINDS:
        raise ValueError(f"line {header.line}: expected {' or '.join(_KINDS)}, got {header.text!r}")
    if tokens.next.kind != "{":
        tokens.take("name", "quoted", "html", "{")
    reader = _Reader(tokens, kind)
    reader.block(_Scope(), 0)
    if tokens.next.kind != "end":
        line = tokens.next.line
        raise ValueError(f"line {line}: expected one graph, got more text after its end")
    return reader.graph


@dataclasses.dataclass(frozen=True)
class _Scope:
    """Attributes of the edges of a block, as its statements so far state them."""

    edge: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Step:
    """One end of an edge, which may be several nodes, and the arrow before it."""

    names: tuple[str, ...]
    arrow: str = ""
    line: int = 0


class _Reader:
    """Reads the statements of a graph.

    Args:
        tokens: The tokens behind the header.
        kind: The kind of the graph, such as ``"digraph"``.
    """

    def __init__(self, tokens: Tokens, kind: str) -> None:
        self.tokens = tokens
        self.kind = kind
        self.graph = DrawnGraph()
        self._subgraphs: dict[str, tuple[str, ...]] = {}

    def block(self, scope: _Scope, depth: int) -> tuple[str, ...]:
        """Read statements in braces; returns the nodes that they name."""
        opening = self.tokens.take("{")
        if depth > _MAX_DEPTH:
            raise ValueError(f"line {opening.line}: blocks are nested more than {_MAX_DEPTH} deep")
        inner = _Scope(dict(scope.edge))
        nodes: dict[str, None] = {}
        while not self.tokens.skip("}"):
            nodes |= dict.fromkeys(self._statement(inner, depth))
            while self.tokens.skip(";", ","):
                pass
        return tuple(nodes)

    def _statement(self, scope: _Scope, depth: int) -> tuple[str, ...]:
        """Read one statement; returns the nodes that it names."""
        token = self.tokens.next
        word = token.text.lower() if token.kind == "name" else ""
        if token.kind in ("{",) or word == "subgraph":
            return self._edges([_Step(self._subgraph(scope, depth))], scope, depth)
        self.tokens.take("name", "quoted", "html")
        if self.tokens.skip("="):
            self._value()
            return ()
        if word in ("graph", "node", "edge") and self.tokens.next.kind == "[":
            attributes = self._attributes()
            scope.edge.update(attributes if word == "edge" else {})
            return ()
        return self._node_or_edges(token, scope, depth)

    def _node_or_edges(self, token: Token, scope: _Scope, depth: int) -> tuple[str, ...]:
        """Read the attributes of a node, or the edges that begin at it."""
        node = self._node(token)
        if self.tokens.next.kind == "arrow":
            return self._edges([_Step((node,))], scope, depth)
        attributes = self._attributes()
        if "selected" in attributes and self.kind not in ("graph", "digraph"):
            raise ValueError(
                f"line {token.line}: node {node!r} is [selected], but data are not conditioned on"
                " their selection here: remove the attribute"
            )
        label = attributes.get("label", "\\N")
        if label != "\\N" and not label.startswith("<"):
            self.graph.labels[node] = label
        return (node,)

    def _node(self, token: Token) -> str:
        """Add a node; its port, behind a colon, says only where an edge touches its picture."""
        name = token.text
        while token.kind == "quoted" and self.tokens.skip("+"):
            name += self.tokens.take("quoted").text
        while self.tokens.skip(":"):
            self._value()
        self.graph.labels.setdefault(name, None)
        return name

    def _subgraph(self, scope: _Scope, depth: int) -> tuple[str, ...]:
        """Read a subgraph; a name alone stands for the nodes of the subgraph of this name."""
        name = ""
        if self.tokens.skip_word("subgraph") and self.tokens.next.kind != "{":
            name = self._value()
            if self.tokens.next.kind != "{":
                return self._subgraphs.get(name, ())
        nodes = self.block(scope, depth + 1)
        self._subgraphs[name] = nodes
        return nodes

    def _edges(self, steps: list[_Step], scope: _Scope, depth: int) -> tuple[str, ...]:
        """Read the rest of a chain of edges and add them."""
        while self.tokens.next.kind == "arrow":
            arrow = self.tokens.take()
            self._check_arrow(arrow)
            steps.append(_Step(self._end(scope, depth), arrow.text, arrow.line))
        attributes = scope.edge | self._attributes()
        if attributes.get("style") != "invis":
            for before, after in itertools.pairwise(steps):
                self._add_edges(before, after, attributes)
        return tuple(itertools.chain(*(step.names for step in steps)))

    def _end(self, scope: _Scope, depth: int) -> tuple[str, ...]:
        """Read the node, or the nodes of the subgraph, behind an arrow."""
        token = self.tokens.next
        is_block = token.kind == "{" or (token.kind == "name" and token.text.lower() == "subgraph")
        if is_block:
            return self._subgraph(scope, depth)
        return (self._node(self.tokens.take("name", "quoted", "html", "{")),)

    def _check_arrow(self, arrow: Token) -> None:
        """Raise an error for an arrow that is not one of this kind of graph in Graphviz."""
        expected = {"graph": "--", "digraph": "->"}.get(self.kind, arrow.text)
        if arrow.text != expected:
            raise ValueError(
                f"line {arrow.line}: expected the edges of a {self.kind} as {expected!r},"
                f" got {arrow.text!r}"
            )

    def _add_edges(self, before: _Step, after: _Step, attributes: dict[str, str]) -> None:
        """Add edges from every node of a step to every node of the next."""
        place = f"line {after.line}"
        if self.kind in ("graph", "digraph"):
            tail, head = _drawn_marks(self.kind, attributes, place)
        else:
            tail, head = marks_of(after.arrow)
        for source, target in itertools.product(before.names, after.names):
            self.graph.edges.append(DrawnEdge(source, target, tail, head, place))

    def _attributes(self) -> dict[str, str]:
        """Read lists of attributes in brackets; an attribute without a value is ``"true"``."""
        attributes: dict[str, str] = {}
        while self.tokens.skip("["):
            while not self.tokens.skip("]"):
                name = self._value()
                attributes[name] = self._value() if self.tokens.skip("=") else "true"
                self.tokens.skip(",", ";")
        return attributes

    def _value(self) -> str:
        """Read a name or a text; texts in quotes may be joined by a plus."""
        token = self.tokens.take("name", "quoted", "html")
        value = token.text
        while token.kind == "quoted" and self.tokens.skip("+"):
            value += self.tokens.take("quoted").text
        return value


def _drawn_marks(kind: str, attributes: dict[str, str], place: str) -> tuple[str, str]:
    """The marks that Graphviz draws at the tail and at the head of an edge."""
    direction = attributes.get("dir", "forward" if kind == "digraph" else "none")
    if direction not in _DIRECTIONS:
        expected = ", ".join(_DIRECTIONS)
        raise ValueError(f"{place}: expected dir among {expected}, got {direction!r}")
    tail = TAIL
    head = TAIL
    if direction in ("back", "both"):
        tail = _mark("arrowtail", attributes, place)
    if direction in ("forward", "both"):
        head = _mark("arrowhead", attributes, place)
    return tail, head


def _mark(end: str, attributes: dict[str, str], place: str) -> str:
    """The mark of an arrow's shape."""
    shape = attributes.get(end, "normal")
    if shape == "none":
        return TAIL
    if shape == "odot":
        return CIRCLE
    if _ARROW_SHAPE.fullmatch(shape):
        return ARROW
    raise ValueError(
        f"{place}: {end}={shape} does not say which node is the cause:"
        " expected normal, vee, open or empty for an arrow, and none for its absence"
    )
