"""Graphs in GraphML, with the labels and arrows of yEd."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ppl_disentangle.graph_files.edges import ARROW, TAIL, DrawnEdge, DrawnGraph

__all__ = ["read_graphml"]

_NO_ARROWS = ("none", "")
_ARROWS = ("standard", "delta", "white_delta", "plain", "short", "concave", "convex", "skewed_dash")


def read_graphml(text: str) -> tuple[DrawnGraph, bool]:
    """Read the graph of a GraphML document.

    Arrows that yEd draws at the ends of an edge state its direction; without them the attribute
    ``directed`` of the edge does, or ``edgedefault`` of the graph. Groups of yEd are left out, and
    the nodes in them are read.

    Returns:
        The graph, and whether yEd labelled its nodes: the labels are their names then, while the
        identifiers are numbers.

    Raises:
        ValueError: The document is not well formed, declares entities, or holds no graph, several
            graphs or hyperedges.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("expected GraphML without a document type, which may declare entities")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"expected GraphML, got XML that is not well formed: {error}") from None
    graphs = [child for child in root if _tag(child) == "graph"]
    if _tag(root) != "graphml" or len(graphs) != 1:
        raise ValueError(f"expected GraphML with one graph, got {len(graphs)} in <{_tag(root)}>")
    drawn = DrawnGraph()
    label_keys = _label_keys(root)
    for node in _nodes(graphs[0]):
        drawn.labels[_attribute(node, "id")] = _label(node, label_keys)
    _add_edges(drawn, graphs[0])
    return drawn, any(_tag(element) == "NodeLabel" for element in root.iter())


def _label_keys(root: Element) -> set[str | None]:
    """Identifiers of the attributes that are called ``label`` or ``name``."""
    keys = [element for element in root if _tag(element) == "key"]
    return {key.get("id") for key in keys if key.get("attr.name", "").lower() in ("label", "name")}


def _tag(element: Element) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _attribute(element: Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise ValueError(f"expected attribute {name!r} of every <{_tag(element)}>, got none")
    return value


def _nodes(graph: Element) -> Iterator[Element]:
    """Nodes of a graph and of the groups in it, without the groups."""
    for node in graph:
        if _tag(node) == "hyperedge":
            raise ValueError("expected edges between two nodes, got a hyperedge")
        if _tag(node) != "node":
            continue
        groups = [child for child in node if _tag(child) == "graph"]
        if groups:
            for group in groups:
                yield from _nodes(group)
        else:
            yield node


def _label(node: Element, label_keys: set[str | None]) -> str | None:
    """The label that is drawn on a node, or its attribute ``label`` or ``name``."""
    for element in node.iter():
        is_label = _tag(element) == "data" and element.get("key") in label_keys
        if _tag(element) == "NodeLabel" or is_label:
            text = " ".join("".join(element.itertext()).split())
            if text:
                return text
    return None


def _add_edges(drawn: DrawnGraph, graph: Element) -> None:
    """Add the edges of a graph and of the groups in it."""
    for inner in graph.iter():
        if _tag(inner) != "graph":
            continue
        default = inner.get("edgedefault", "undirected")
        for edge in inner:
            if _tag(edge) == "edge":
                drawn.edges.append(_edge(edge, default, drawn))


def _edge(edge: Element, default: str, drawn: DrawnGraph) -> DrawnEdge:
    source, target = _ends(edge, drawn)
    arrows = next((element for element in edge.iter() if _tag(element) == "Arrows"), None)
    place = f"edge {edge.get('id', f'{source}, {target}')}"
    if arrows is not None:
        tail = _mark(arrows.get("source", "none"), place)
        head = _mark(arrows.get("target", "none"), place)
        return DrawnEdge(source, target, tail, head, place)
    is_directed = edge.get("directed", str(default == "directed").lower()) in ("true", "1")
    return DrawnEdge(source, target, TAIL, ARROW if is_directed else TAIL, place)


def _ends(edge: Element, drawn: DrawnGraph) -> tuple[str, str]:
    """The nodes at the ends of an edge."""
    source = _attribute(edge, "source")
    target = _attribute(edge, "target")
    for node in (source, target):
        if node not in drawn.labels:
            raise ValueError(f"expected edges between nodes, got one of {node!r}")
    return source, target


def _mark(arrow: str, place: str) -> str:
    """The mark of an arrow that yEd draws."""
    if arrow in _NO_ARROWS:
        return TAIL
    if arrow in _ARROWS:
        return ARROW
    raise ValueError(
        f"{place}: an arrow of shape {arrow!r} does not say which node is the cause:"
        " expected 'standard', or 'none' for its absence"
    )
