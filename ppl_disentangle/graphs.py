"""Causal graphs: networkx graphs of named nodes, read from what users have, in one order everywhere."""

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
    """A directed acyclic graph of named nodes.

    Args:
        graph: a ``networkx.DiGraph``; edges as text such as ``"light -> shadow; angle -> shadow"``, separated by
            semicolons or line ends, in which ``a -> b -> c`` is a chain, ``a, b -> c`` two edges and a name alone a
            node; the path of a ``.dot``, ``.gv``, ``.graphml`` or ``.csv`` file; or an adjacency matrix, array or data
            frame, whose entry (i, j) is not zero where there is an edge from i to j.
        nodes: names of all nodes. An adjacency array needs them; otherwise they add nodes without edges, and a node
            that is not among them is an error.

    Raises:
        ValueError: a cycle, a node twice, a node that is not among ``nodes``, no node at all, a matrix that is not
            square, or a file without a directed graph.
        TypeError: a node's name is no text, or ``graph`` is none of the above.
        FileNotFoundError: there is no such file.

    Example:
        >>> as_dag("light -> shadow; angle -> shadow").edges
        OutEdgeView([('angle', 'shadow'), ('light', 'shadow')])
    """
    names = None if nodes is None else _unique(nodes)
    read_graph = _read(graph, names)
    for node in read_graph.nodes:
        if not isinstance(node, str):
            raise TypeError(
                f"expected nodes with names, got {node!r} of type {type(node).__name__}"
            )
        if not node.isidentifier():
            raise ValueError(
                f"expected a node's name to be letters, digits and underscores, got {node!r}"
            )
    unknown = [] if names is None else sorted(set(read_graph.nodes) - set(names))
    if unknown:
        raise ValueError(f"no node named {unknown[0]!r}; the nodes are {names}")
    dag = nx.DiGraph()
    dag.add_nodes_from(sorted({*read_graph.nodes, *(names or ())}))
    dag.add_edges_from(sorted(read_graph.edges))
    if not dag:
        raise ValueError("the graph has no nodes")
    try:
        cycle = nx.find_cycle(dag)
    except nx.NetworkXNoCycle:
        return dag
    raise ValueError(f"the graph has a cycle: {' -> '.join([*(a for a, _ in cycle), cycle[0][0]])}")


def graph_of(story: str, data: Any, graph: Any) -> Any:
    """``graph``, or else that of the data.

    Raises:
        ValueError: there is none.
    """
    graph = graph or data.dag
    if graph is None:
        raise ValueError(
            f"{story} needs a graph of its nodes: give it the option graph='light -> shadow; angle -> shadow'"
        )
    return graph


def topological_order(dag: nx.DiGraph) -> list[str]:
    """All nodes, parents first, otherwise by name."""
    return list(nx.lexicographical_topological_sort(dag))


def parents(dag: nx.DiGraph, node: str) -> list[str]:
    """The parents of a node, by name."""
    return sorted(dag.predecessors(node))


def effect_report(dag: nx.DiGraph, cause: str, effect: str) -> dict[str, Any]:
    """What the graph says of the effect of one node on another.

    Returns:
        ``has_effect``: whether there is a directed path; ``paths``: all of them; ``confounders``: common ancestors with
        a way to the effect that does not lead through the cause; ``adjustment_set``: nodes that block every back-door
        path [1] and no part of which does, ``[]`` if none needs blocking, ``None`` if there are none, since the effect
        is a parent of the cause; ``independent``: whether both are d-separated by nothing.

    Raises:
        KeyError: no such node.
        ValueError: both are the same node.

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
    backdoor = dag.copy()
    backdoor.remove_edges_from(list(dag.out_edges(cause)))
    without_cause = dag.subgraph(n for n in dag if n != cause)
    forbidden = nx.descendants(dag, cause) | {cause, effect}
    separator = nx.find_minimal_d_separator(
        backdoor, {cause}, {effect}, restricted=set(dag) - forbidden
    )
    return {
        "has_effect": nx.has_path(dag, cause, effect),
        "paths": sorted(nx.all_simple_paths(dag, cause, effect)),
        "confounders": sorted(
            n for n in nx.ancestors(dag, cause) - {effect} if nx.has_path(without_cause, n, effect)
        ),
        "adjustment_set": None if separator is None else sorted(separator),
        "independent": nx.is_d_separator(dag, {cause}, {effect}, set()),
    }


def _unique(names: Iterable[str]) -> list[str]:
    names = list(names)
    twice = [n for i, n in enumerate(names) if n in names[:i]]
    if twice:
        raise ValueError(f"node {twice[0]!r} is named twice")
    return names


def _read(graph: Any, names: list[str] | None) -> nx.DiGraph:
    if isinstance(graph, nx.DiGraph):
        return nx.DiGraph(graph)  # a multigraph has keys beside its edges
    if isinstance(graph, Path) or (
        isinstance(graph, str) and "->" not in graph and Path(graph).suffix in _READERS
    ):
        path = Path(graph)
        if path.suffix not in _READERS:
            raise ValueError(f"expected a file of type {', '.join(_READERS)}, got {path}")
        if not path.exists():
            raise FileNotFoundError(f"no graph at {path}")
        return _READERS[path.suffix](path)
    if isinstance(graph, str):
        return _from_text(graph)
    if isinstance(graph, np.ndarray):
        if names is None:
            raise ValueError("an adjacency array needs the names of its nodes: pass nodes=[…]")
        return _from_matrix(graph, names)
    if hasattr(graph, "columns") and hasattr(graph, "index"):
        return _from_frame(graph)
    kind = type(graph).__name__
    raise TypeError(
        f"expected a networkx.DiGraph, edges as text, a path or an adjacency matrix, got {kind}"
    )


def _from_text(text: str) -> nx.DiGraph:
    graph = nx.DiGraph()
    for statement in filter(None, (s.strip() for s in re.split(r"[;\n]", text))):
        steps = [
            _unique(name.strip() for name in step.split(",")) for step in statement.split("->")
        ]
        if not all(name for step in steps for name in step):
            raise ValueError(f"expected edges such as 'a -> b', got {statement!r}")
        graph.add_nodes_from(itertools.chain(*steps))
        for before, after in itertools.pairwise(steps):
            graph.add_edges_from(itertools.product(before, after))
    return graph


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
    rows, columns = _unique(frame.index), _unique(frame.columns)
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
        found = pydot.graph_from_dot_data(path.read_text())
    if not found or found[0].get_type() != "digraph":
        raise ValueError(f"expected a directed graph (digraph) in {path}")
    parts = list(found[:1])
    for part in parts:
        parts += part.get_subgraph_list()
    read_graph = nx.compose_all([nx.DiGraph(nx.nx_pydot.from_pydot(part)) for part in parts])
    return nx.relabel_nodes(read_graph, {n: n.strip('"') for n in read_graph.nodes})


def _from_graphml(path: Path) -> nx.DiGraph:
    read_graph = nx.read_graphml(path)
    if not read_graph.is_directed():
        raise ValueError(f"expected a directed graph in {path}")
    return nx.DiGraph(read_graph)


def _from_csv(path: Path) -> nx.DiGraph:
    import pandas as pd

    return _from_frame(pd.read_csv(path, index_col=0))


_READERS = {".dot": _from_dot, ".gv": _from_dot, ".graphml": _from_graphml, ".csv": _from_csv}
