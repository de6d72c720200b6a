"""Causal graphs from everything that users have, in one order, and what a graph says of an effect."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from ppl_disentangle.graphs import as_dag, effect_report, parents, topological_order

EDGES = [("angle", "shadow"), ("light", "shadow")]


def written(tmp_path, name):
    graph = nx.DiGraph([("light", "shadow"), ("angle", "shadow")])
    path = tmp_path / name
    if path.suffix == ".graphml":
        nx.write_graphml(graph, path)
    elif path.suffix == ".csv":
        nx.to_pandas_adjacency(graph).to_csv(path)
    else:
        path.write_text('digraph { light -> shadow; "angle" -> shadow }')
    return path


@pytest.mark.parametrize("name", ["graph.dot", "graph.gv", "graph.graphml", "graph.csv"])
def test_a_graph_is_read_from_a_file(tmp_path, name):
    path = written(tmp_path, name)
    assert list(as_dag(path).edges) == EDGES
    assert list(as_dag(str(path)).edges) == EDGES


def test_a_graph_is_read_from_text_networkx_and_matrices():
    matrix = np.zeros((3, 3))
    matrix[[0, 2], 1] = 0.7
    nodes = ["light", "shadow", "angle"]
    for graph in (
        "light -> shadow; angle -> shadow",
        "light, angle -> shadow\n",
        nx.DiGraph(EDGES),
        pd.DataFrame(matrix, nodes, nodes),
    ):
        assert list(as_dag(graph).edges) == EDGES
    assert list(as_dag(matrix, nodes=nodes).edges) == EDGES
    assert list(as_dag("a -> b -> c; d").nodes) == ["a", "b", "c", "d"]
    assert list(as_dag("a -> b", nodes=["b", "a", "z"]).nodes) == ["a", "b", "z"]


def test_the_order_depends_on_names_alone():
    for text in ("c -> a; b -> a; a -> d", "a -> d; b -> a; c -> a"):
        assert topological_order(as_dag(text)) == ["b", "c", "a", "d"]
        assert parents(as_dag(text), "a") == ["b", "c"]


@pytest.mark.parametrize(
    ("graph", "nodes", "error", "message"),
    [
        ("a -> b -> c -> a", None, ValueError, "cycle: a -> b -> c -> a"),
        ("a -> a", None, ValueError, "cycle: a -> a"),
        ("a -> b; -> c", None, ValueError, "expected edges such as 'a -> b', got '-> c'"),
        ("a -> b", ["a"], ValueError, r"no node named 'b'; the nodes are \['a'\]"),
        ("a -> b", ["a", "b", "a"], ValueError, "node 'a' is named twice"),
        ("a b -> c", None, ValueError, "letters, digits and underscores, got 'a b'"),
        (nx.DiGraph([(1, 2)]), None, TypeError, "nodes with names, got 1 of type int"),
        (np.eye(2), None, ValueError, r"needs the names of its nodes: pass nodes="),
        (np.zeros((2, 3)), ["a", "b"], ValueError, r"of shape \(2, 2\), got \(2, 3\)"),
        (np.full((2, 2), np.nan), ["a", "b"], ValueError, "not finite"),
        (pd.DataFrame(np.zeros((2, 2)), ["a", "b"], ["b", "a"]), None, ValueError, "the same nodes as rows"),
        ("nowhere.csv", None, FileNotFoundError, "no graph at nowhere.csv"),
        (7, None, TypeError, "expected .*edges as text, a path or an adjacency matrix, got int"),
    ],
)
def test_what_is_no_graph_is_named(graph, nodes, error, message):
    with pytest.raises(error, match=message):
        as_dag(graph, nodes=nodes)


@pytest.mark.parametrize(
    ("graph", "cause", "effect", "expected"),
    [
        # age -> dose -> health <- age
        ("age -> dose, health; dose -> health", "dose", "health", ["age"]),
        # smoking -> tar -> cancer, both ends of one unseen cause: the front door leaves the unseen one to adjust for
        ("u -> smoking, cancer; smoking -> tar -> cancer", "smoking", "cancer", ["u"]),
        # x -> c <- y: a collider needs no adjustment
        ("x, y -> c", "x", "y", []),
        # M: adjusting for the collider m would open a path
        ("a -> x, m; b -> m, y; x -> y", "x", "y", []),
        ("y -> x", "x", "y", None),
    ],
)
def test_the_adjustment_set_blocks_every_back_door(graph, cause, effect, expected):
    report = effect_report(as_dag(graph), cause, effect)
    assert report["adjustment_set"] == expected
    assert report["has_effect"] == nx.has_path(as_dag(graph), cause, effect)


def test_a_report_lists_paths_and_confounders():
    report = effect_report(as_dag("u -> x, y; x -> m -> y; x -> y"), "x", "y")
    assert report["paths"] == [["x", "m", "y"], ["x", "y"]]
    assert report["confounders"] == ["u"]
    assert not report["independent"]
    assert effect_report(as_dag("x, y -> c"), "x", "y")["independent"]
    with pytest.raises(KeyError, match="no node named 'q'"):
        effect_report(as_dag("x -> y"), "x", "q")
    with pytest.raises(ValueError, match="two nodes, got 'x' twice"):
        effect_report(as_dag("x -> y"), "x", "x")
