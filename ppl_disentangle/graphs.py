"""Causal graphs: networkx graphs of named nodes, read from text, files and matrices, in one order."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from ppl_disentangle.graph_files.dot import is_dot, read_dot
from ppl_disentangle.graph_files.edges import as_digraph
from ppl_disentangle.graph_files.graphml import read_graphml
from ppl_disentangle.graph_files.text import read_text
from ppl_disentangle.names import check_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_dag", "effect_report", "parents", "topological_order"]


def as_dag(
    graph: nx.DiGraph | str | Path | np.ndarray | pd.DataFrame,
    *,
    nodes: Sequence[str] | None = None,
) -> nx.DiGraph:
    """Read a directed acyclic graph of named nodes.

    Args:
        graph: A ``networkx.DiGraph``; edges as text; the path of a ``.dot``, ``.gv``, ``.graphml``,
            ``.csv`` or ``.txt`` file; or an adjacency matrix, as an array or a data frame. In text
            such as ``"light -> shadow; angle -> shadow"``, semicolons or line ends separate
            statements: ``a -> b <- c`` is a chain, ``a, b -> c`` stands for two edges, and a single
            name adds a node. Names that hold one of ``; , < > [ ] { } =`` stand in quotes. A text
            may also be a graph of DOT or DAGitty, such as ``"dag { a -> b }"``, or the text
            that Tetrad and causal-learn print. Entry (i, j) of an adjacency matrix is nonzero if there is an edge
            from i to j.
        nodes: Names of all nodes. An adjacency array needs them. For other graphs they add nodes
            without edges, and a node of the graph that is missing here is an error.

    In DOT, the names are the identifiers, or the labels if all nodes have different labels while
    their identifiers are mere numbers. In GraphML of yEd, the names are the labels. Whole numbers
    as names become text.

    Raises:
        ValueError: The graph has a cycle, a node twice, a node that ``nodes`` lacks, or no nodes; the
            name of a node is reserved, see :data:`~ppl_disentangle.names.RESERVED`; an edge is
            undirected, bidirected, or of unknown direction; the matrix is not square; or the file
            does not hold a directed graph.
        TypeError: The name of a node is neither a string nor a whole number, or ``graph`` has another
            type.
        FileNotFoundError: The file does not exist.

    Example:
        >>> as_dag("light -> shadow; angle -> shadow").edges
        OutEdgeView([('angle', 'shadow'), ('light', 'shadow')])
    """
    names = None if nodes is None else _unique(map(_name, nodes))
    read_graph = _read(graph, names)
    read_graph = nx.relabel_nodes(read_graph, {node: _name(node) for node in read_graph.nodes})
    _check_nodes(read_graph, names)
    dag = nx.DiGraph()
    dag.add_nodes_from(sorted({*read_graph.nodes, *(names or ())}))
    dag.add_edges_from(sorted(read_graph.edges))
    if not dag:
        raise ValueError("the graph has no nodes")
    check_names(dag)
    try:
        cycle = nx.find_cycle(dag)
    except nx.NetworkXNoCycle:
        return dag
    path = [cause for cause, _ in cycle]
    raise ValueError(f"the graph has a cycle: {' -> '.join([*path, path[0]])}")


def _check_nodes(graph: nx.DiGraph, names: Sequence[str] | None) -> None:
    """Raise an error unless all nodes are, if names are given, among them."""
    unknown = [] if names is None else sorted(set(graph.nodes) - set(names))
    if unknown:
        raise ValueError(f"no node named {unknown[0]!r}; the nodes are {names}")


def _name(node: object) -> str:
    """The name of a node: a text, or a whole number as text."""
    if isinstance(node, str):
        return node
    if isinstance(node, int | np.integer) and not isinstance(node, bool):
        return str(node)
    raise TypeError(f"expected nodes with names, got {node!r} of type {type(node).__name__}")


def graph_of(story: str, data: Any, graph: Any) -> Any:
    """Return ``graph``, or the graph of the data if ``graph`` is left out.

    Args:
        story: Name of the story, for the error message.
        data: The data set, whose ``dag`` is its causal graph or None.
        graph: A graph as :func:`as_dag` takes it, or None.

    Raises:
        ValueError: Neither the caller nor the data give a graph.
    """
    is_left_out = graph is None or (isinstance(graph, str | list) and not graph)
    graph = data.dag if is_left_out else graph
    if graph is None:
        raise ValueError(
            f"{story} needs a graph of its nodes: give it the option"
            " graph='light -> shadow; angle -> shadow'"
        )
    return graph


def topological_order(dag: nx.DiGraph) -> list[str]:
    """List all nodes, parents before their children, otherwise in the order of their names."""
    return list(nx.lexicographical_topological_sort(dag))


def parents(dag: nx.DiGraph, node: str) -> list[str]:
    """List the parents of a node in the order of their names."""
    return sorted(dag.predecessors(node))


def effect_report(dag: nx.DiGraph, cause: str, effect: str) -> dict[str, Any]:
    """Report what a graph implies about the effect of one node on another.

    Returns:
        ``has_effect``: Whether there is a directed path.
        ``paths``: All directed paths.
        ``confounders``: Common ancestors that have a path to the effect around the cause.
        ``adjustment_set``: A minimal set of nodes that blocks every back-door path [1]. It is ``[]`` if
        there is no open back-door path, and ``None`` if no set blocks all of them, because the effect
        is a parent of the cause.
        ``independent``: Whether the nodes are d-separated given no other node.

    Raises:
        KeyError: The graph lacks one of the nodes.
        ValueError: The nodes are the same.

    References:
        [1] Pearl, 2009. Causality, definition 3.3.1.

    Example:
        >>> dag = as_dag("age -> dose; age -> health; dose -> health")
        >>> effect_report(dag, "dose", "health")["adjustment_set"]
        ['age']
    """
    for node in (cause, effect):
        if node not in dag:
            raise KeyError(f"no node named {node!r}; the graph has {list(dag)}")
    if cause == effect:
        raise ValueError(f"expected two nodes, got {cause!r} twice")
    return {
        "has_effect": nx.has_path(dag, cause, effect),
        "paths": sorted(nx.all_simple_paths(dag, cause, effect)),
        "confounders": _confounders(dag, cause, effect),
        "adjustment_set": _adjustment_set(dag, cause, effect),
        "independent": nx.is_d_separator(dag, {cause}, {effect}, set()),
    }


def _confounders(dag: nx.DiGraph, cause: str, effect: str) -> list[str]:
    """Ancestors of the cause that have a path to the effect around the cause."""
    without_cause = dag.subgraph(node for node in dag if node != cause)
    ancestors = nx.ancestors(dag, cause) - {effect}
    return sorted(node for node in ancestors if nx.has_path(without_cause, node, effect))


def _adjustment_set(dag: nx.DiGraph, cause: str, effect: str) -> list[str] | None:
    """A minimal set that satisfies the back-door criterion, or None if there is no such set."""
    # in the graph without the edges that leave the cause, only back-door paths are left
    backdoor = dag.copy()
    backdoor.remove_edges_from(list(dag.out_edges(cause)))
    allowed = set(dag) - nx.descendants(dag, cause) - {cause, effect}
    separator = nx.find_minimal_d_separator(backdoor, {cause}, {effect}, restricted=allowed)
    return None if separator is None else sorted(separator)


def _unique(names: Iterable[str]) -> list[str]:
    """The names as a list. Raises a ValueError if a name occurs twice."""
    names = list(names)
    for position, name in enumerate(names):
        if name in names[:position]:
            raise ValueError(f"node {name!r} is named twice")
    return names


def _read(graph: Any, names: list[str] | None) -> nx.DiGraph:
    """A graph from any of the kinds that :func:`as_dag` takes, which may still have cycles."""
    if isinstance(graph, nx.DiGraph):
        return nx.DiGraph(graph)  # the edges of a multigraph have keys, which are dropped
    if _is_path(graph):
        return _from_file(Path(graph).expanduser())
    if isinstance(graph, str):
        return _from_text(graph)
    if isinstance(graph, np.ndarray):
        if names is None:
            raise ValueError("an adjacency array needs the names of its nodes: pass nodes=[…]")
        return _from_matrix(graph, names)
    if hasattr(graph, "columns") and hasattr(graph, "index"):  # a data frame, without pandas
        return _from_frame(graph)
    kind = type(graph).__name__
    raise TypeError(
        f"expected a networkx.DiGraph, edges as text, a path or an adjacency matrix, got {kind}"
    )


def _is_path(graph: Any) -> bool:
    """Whether a graph is a path, or a text that can only be one, such as ``graph.json``."""
    if not isinstance(graph, str):
        return isinstance(graph, Path)
    is_one_name = not re.search(r"[;\n,\"{→←↔]|->|<-|--", graph)
    return is_one_name and re.fullmatch(r"\.[A-Za-z]{2,8}", Path(graph).suffix) is not None


def _from_file(path: Path) -> nx.DiGraph:
    """The graph in a file. Errors name the path, and are one line."""
    if path.suffix.lower() not in _READERS:
        raise ValueError(f"expected a file of type {', '.join(_READERS)}, got {path}")
    if not path.exists():
        raise FileNotFoundError(f"no graph at {path}")
    kind, read = _READERS[path.suffix.lower()]
    try:
        return read(_text_of(path))
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"expected {kind} in {path}: {reason}") from None


def _text_of(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark."""
    if not path.is_file():
        raise ValueError("it is not a file")
    content = path.read_bytes()
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"got no text in UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise ValueError(f"got no text, but a zero at character {text.index(chr(0))}")
    if not text.strip():
        raise ValueError("the file is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _from_text(text: str) -> nx.DiGraph:
    """The graph of plain text, or of DOT or DAGitty if the text begins so."""
    return _from_dot(text) if is_dot(text) else as_digraph(read_text(text))


def _from_dot(text: str) -> nx.DiGraph:
    return as_digraph(read_dot(text))


def _from_graphml(text: str) -> nx.DiGraph:
    drawn, by_label = read_graphml(text)
    return as_digraph(drawn, by_label=by_label)


def _from_csv(text: str) -> nx.DiGraph:
    import pandas as pd

    frame = pd.read_csv(io.StringIO(text), index_col=0, skipinitialspace=True)
    frame.index = frame.index.astype(str)
    return _from_frame(frame)


def _from_matrix(matrix: np.ndarray, names: list[str]) -> nx.DiGraph:
    if matrix.shape != (len(names), len(names)):
        raise ValueError(
            f"expected an adjacency matrix of shape {(len(names), len(names))}, got {matrix.shape}"
        )
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"expected an adjacency matrix of numbers, got {matrix.dtype}")
    if not np.isfinite(matrix).all():
        raise ValueError("the adjacency matrix is not finite")
    _refuse_endpoints(matrix, names)
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((names[i], names[j]) for i, j in np.argwhere(matrix))
    return graph


def _refuse_endpoints(matrix: np.ndarray, names: list[str]) -> None:
    """Raise an error for a matrix of marks at the ends of edges, as causal-learn and pcalg have."""
    is_both = (matrix != 0) & (matrix.T != 0)
    np.fill_diagonal(is_both, False)
    if is_both.any():
        i, j = np.argwhere(is_both)[0]
        raise ValueError(
            f"the graph has a cycle: {names[i]} -> {names[j]} -> {names[i]}; the entries (i, j) and"
            " (j, i) of an adjacency matrix are not both nonzero, unlike in the matrix of the marks"
            " at the ends of edges of causal-learn"
        )


def _from_frame(frame: pd.DataFrame) -> nx.DiGraph:
    rows = _unique(map(_name, frame.index))
    columns = _unique(map(_name, frame.columns))
    if rows != columns:
        raise ValueError(
            f"expected the same nodes as rows and as columns, got {rows} and {columns}"
        )
    try:
        matrix = frame.to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers in the adjacency matrix: {error}") from None
    return _from_matrix(matrix, rows)


_READERS: dict[str, tuple[str, Callable[[str], nx.DiGraph]]] = {
    ".dot": ("a directed graph (digraph)", _from_dot),
    ".gv": ("a directed graph (digraph)", _from_dot),
    ".graphml": ("a directed graph", _from_graphml),
    ".csv": ("a square adjacency matrix", _from_csv),
    ".txt": ("a graph as text", _from_text),
}
