"""Causal graphs: networkx graphs of named nodes, read from text, files and matrices, in one order."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

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
        graph: A ``networkx.DiGraph``; edges as text; the path of a ``.dot``, ``.gv``, ``.graphml`` or
            ``.csv`` file; or an adjacency matrix, as an array or a data frame. In text such as
            ``"light -> shadow; angle -> shadow"``, semicolons or line ends separate statements:
            ``a -> b -> c`` is a chain, ``a, b -> c`` stands for two edges, and a single name adds a
            node. Entry (i, j) of an adjacency matrix is nonzero if there is an edge from i to j.
        nodes: Names of all nodes. An adjacency array needs them. For other graphs they add nodes
            without edges, and a node of the graph that is missing here is an error.

    Raises:
        ValueError: The graph has a cycle, a node twice, a node that ``nodes`` lacks, or no nodes; the
            matrix is not square; or the file does not hold a directed graph.
        TypeError: The name of a node is not a string, or ``graph`` has another type.
        FileNotFoundError: The file does not exist.

    Example:
        >>> as_dag("light -> shadow; angle -> shadow").edges
        OutEdgeView([('angle', 'shadow'), ('light', 'shadow')])
    """
    names = None if nodes is None else _unique(nodes)
    read_graph = _read(graph, names)
    _check_nodes(read_graph, names)
    dag = nx.DiGraph()
    dag.add_nodes_from(sorted({*read_graph.nodes, *(names or ())}))
    dag.add_edges_from(sorted(read_graph.edges))
    if not dag:
        raise ValueError("the graph has no nodes")
    try:
        cycle = nx.find_cycle(dag)
    except nx.NetworkXNoCycle:
        return dag
    path = [cause for cause, _ in cycle]
    raise ValueError(f"the graph has a cycle: {' -> '.join([*path, path[0]])}")


def _check_nodes(graph: nx.DiGraph, names: Sequence[str] | None) -> None:
    """Raise an error unless all nodes are identifiers and, if names are given, among them."""
    for node in graph.nodes:
        if not isinstance(node, str):
            raise TypeError(
                f"expected nodes with names, got {node!r} of type {type(node).__name__}"
            )
        if not node.isidentifier():
            raise ValueError(
                f"expected a node's name to be letters, digits and underscores, got {node!r}"
            )
    unknown = [] if names is None else sorted(set(graph.nodes) - set(names))
    if unknown:
        raise ValueError(f"no node named {unknown[0]!r}; the nodes are {names}")


def graph_of(story: str, data: Any, graph: Any) -> Any:
    """Return ``graph``, or the graph of the data if ``graph`` is left out.

    Args:
        story: Name of the story, for the error message.
        data: The data set, whose ``dag`` is its causal graph or None.
        graph: A graph as :func:`as_dag` takes it, or None.

    Raises:
        ValueError: Neither the caller nor the data give a graph.
    """
    graph = graph or data.dag
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
        return _from_file(Path(graph))
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
    if isinstance(graph, str):
        return "->" not in graph and Path(graph).suffix in _READERS
    return isinstance(graph, Path)


def _from_file(path: Path) -> nx.DiGraph:
    if path.suffix not in _READERS:
        raise ValueError(f"expected a file of type {', '.join(_READERS)}, got {path}")
    if not path.exists():
        raise FileNotFoundError(f"no graph at {path}")
    return _READERS[path.suffix](path)


def _from_text(text: str) -> nx.DiGraph:
    graph = nx.DiGraph()
    for statement in re.split(r"[;\n]", text):
        if statement.strip():
            _add_statement(graph, statement.strip())
    return graph


def _add_statement(graph: nx.DiGraph, statement: str) -> None:
    """Add a chain such as ``a, b -> c -> d``: every node of a step points to every node of the next."""
    steps = []
    for step in statement.split("->"):
        steps.append(_unique(name.strip() for name in step.split(",")))
    names = list(itertools.chain(*steps))
    if not all(names):
        raise ValueError(f"expected edges such as 'a -> b', got {statement!r}")
    graph.add_nodes_from(names)
    for causes, effects in itertools.pairwise(steps):
        graph.add_edges_from(itertools.product(causes, effects))


def _from_matrix(matrix: np.ndarray, names: list[str]) -> nx.DiGraph:
    if matrix.shape != (len(names), len(names)):
        raise ValueError(
            f"expected an adjacency matrix of shape {(len(names), len(names))}, got {matrix.shape}"
        )
    if not np.isfinite(matrix).all():
        raise ValueError("the adjacency matrix is not finite")
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((names[i], names[j]) for i, j in np.argwhere(matrix))
    return graph


def _from_frame(frame: pd.DataFrame) -> nx.DiGraph:
    rows = _unique(frame.index)
    columns = _unique(frame.columns)
    if rows != columns:
        raise ValueError(
            f"expected the same nodes as rows and as columns, got {rows} and {columns}"
        )
    return _from_matrix(frame.to_numpy(dtype=float), rows)


def _from_dot(path: Path) -> nx.DiGraph:
    if importlib.util.find_spec("pydot") is None:
        raise ImportError('reading DOT needs pydot: pip install "ppl-disentangle[dot]"')
    import pydot

    # pydot's grammar makes newer versions of pyparsing warn, and pydot prints what it cannot read
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        graphs = pydot.graph_from_dot_data(path.read_text())
    if not graphs or graphs[0].get_type() != "digraph":
        raise ValueError(f"expected a directed graph (digraph) in {path}")
    # networkx leaves out the edges of subgraphs; the list grows while it is walked through
    nested = [graphs[0]]
    for graph in nested:
        nested += graph.get_subgraph_list()
    read_graph = nx.compose_all([nx.DiGraph(nx.nx_pydot.from_pydot(graph)) for graph in nested])
    return nx.relabel_nodes(read_graph, {node: node.strip('"') for node in read_graph.nodes})


def _from_graphml(path: Path) -> nx.DiGraph:
    read_graph = nx.read_graphml(path)
    if not read_graph.is_directed():
        raise ValueError(f"expected a directed graph in {path}")
    return nx.DiGraph(read_graph)


def _from_csv(path: Path) -> nx.DiGraph:
    import pandas as pd

    return _from_frame(pd.read_csv(path, index_col=0))


_READERS = {".dot": _from_dot, ".gv": _from_dot, ".graphml": _from_graphml, ".csv": _from_csv}
