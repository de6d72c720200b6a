"""Graphs: everything that is read as one, what bad ones are told, and what a graph says of an effect."""

import itertools
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from ppl_disentangle.data import Pendulum
from ppl_disentangle.graphs import as_dag, effect_report, graph_of, parents, topological_order

#  light   angle
#      \   /
#      shadow
EDGES = [("angle", "shadow"), ("light", "shadow")]
NODES = ["angle", "light", "shadow"]
ADJACENCY = np.array([[0, 0, 2.5], [0, 0, -1.0], [0, 0, 0]])


def frame(order):
    return pd.DataFrame(ADJACENCY, NODES, NODES).loc[order, order]


def written(path, text):
    path.write_text(text)
    return path


def graphml(path, graph):
    nx.write_graphml(graph, path)
    return path


FORMS = {
    "a DiGraph": lambda _: nx.DiGraph(EDGES[::-1]),
    "a multigraph": lambda _: nx.MultiDiGraph(EDGES + EDGES),
    "text": lambda _: "light -> shadow; angle -> shadow",
    "text in lines": lambda _: "\nlight -> shadow\nangle -> shadow\n",
    "text with several parents": lambda _: "light, angle -> shadow",
    "a frame": lambda _: frame(["shadow", "angle", "light"]),
    "a frame of booleans": lambda _: frame(NODES) != 0,
    "a csv file": lambda folder: written(folder / "g.csv", frame(NODES).to_csv()),
    "the name of a csv file": lambda folder: str(written(folder / "g.csv", frame(NODES).to_csv())),
    "a graphml file": lambda folder: graphml(folder / "g.graphml", nx.DiGraph(EDGES)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_every_form_is_the_same_graph_in_the_same_order(form, tmp_path):
    dag = as_dag(form(tmp_path))
    assert type(dag) is nx.DiGraph
    assert list(dag) == NODES
    assert list(dag.edges) == EDGES


def test_an_adjacency_array_has_an_edge_wherever_it_is_not_zero():
    assert list(as_dag(ADJACENCY, nodes=NODES).edges) == EDGES
    assert list(as_dag(ADJACENCY != 0, nodes=NODES).edges) == EDGES
    assert list(as_dag(ADJACENCY.T, nodes=NODES).edges) == [
        ("shadow", "angle"),
        ("shadow", "light"),
    ]


def test_chains_lone_nodes_and_nodes_without_edges():
    assert list(as_dag("a -> b -> c; d").edges) == [("a", "b"), ("b", "c")]
    assert list(as_dag("a -> b -> c; d")) == ["a", "b", "c", "d"]
    assert list(as_dag("light")) == ["light"]
    assert list(as_dag("b -> a", nodes=["c", "b", "a"])) == ["a", "b", "c"]
    assert list(as_dag("größe -> x_1")) == ["größe", "x_1"]


def test_names_are_any_text_and_whole_numbers():
    dag = as_dag('blood pressure -> x-1; a.b -> "a, b; c -> d"; naïve')
    assert list(dag.edges) == [("a.b", "a, b; c -> d"), ("blood pressure", "x-1")]
    assert "naïve" in dag
    assert list(as_dag(nx.DiGraph([(1, 2)])).edges) == [("1", "2")]
    assert list(as_dag(np.triu(np.ones((2, 2)), 1), nodes=[3, 1]).edges) == [("3", "1")]
    assert list(as_dag(pd.DataFrame(np.triu(np.ones((2, 2)), 1))).edges) == [("0", "1")]


def test_reading_a_graph_leaves_it_alone():
    graph = nx.DiGraph([("b", "a")])
    dag = as_dag(graph)
    dag.add_edge("a", "c")
    assert list(graph) == ["b", "a"]


BAD = {
    "a cycle": (("a -> b -> c -> a",), ValueError, "the graph has a cycle: a -> b -> c -> a"),
    "an edge to itself": (("a -> a",), ValueError, "the graph has a cycle: a -> a"),
    "no end": (("a ->",), ValueError, "expected edges such as 'a -> b', got 'a ->'"),
    "an empty name": (("a -> b,",), ValueError, "expected edges such as 'a -> b', got 'a -> b,'"),
    "a name twice": (("a, a -> b",), ValueError, "node 'a' is named twice"),
    "fractions for names": (
        (nx.DiGraph([(1.5, 2)]),),
        TypeError,
        r"nodes with names, got 1\.5 of type float",
    ),
    "marks at the ends of edges": (
        (np.array([[0, -1], [1, 0]]), ["a", "b"]),
        ValueError,
        "the graph has a cycle: a -> b -> a; .* causal-learn",
    ),
    "an array of text": ((np.array([["0"]]), ["a"]), ValueError, "matrix of numbers, got <U1"),
    "no nodes": (("",), ValueError, "the graph has no nodes"),
    "an unknown node": (("a -> b", ["a"]), ValueError, r"no node named 'b'; the nodes are \['a'\]"),
    "nodes twice": (("a -> b", ["a", "b", "b"]), ValueError, "node 'b' is named twice"),
    "an array without names": (
        (ADJACENCY,),
        ValueError,
        r"needs the names of its nodes: pass nodes=",
    ),
    "an oblong array": ((ADJACENCY[:2], NODES), ValueError, r"of shape \(3, 3\), got \(2, 3\)"),
    "a hole in an array": (
        (ADJACENCY * np.nan, NODES),
        ValueError,
        "the adjacency matrix is not finite",
    ),
    "other columns than rows": (
        (pd.DataFrame(np.zeros((2, 2)), ["a", "b"], ["b", "a"]),),
        ValueError,
        r"the same nodes as rows and as columns, got \['a', 'b'\] and \['b', 'a'\]",
    ),
    "a row twice": (
        (pd.DataFrame(np.zeros((2, 2)), ["a", "a"], ["a", "b"]),),
        ValueError,
        "'a' is named twice",
    ),
    "a file that is not there": (
        ("nowhere/graph.csv",),
        FileNotFoundError,
        "no graph at nowhere/graph.csv",
    ),
    "a file of another type": (
        (Path("graph.json"),),
        ValueError,
        r"of type \.dot, \.gv, \.graphml, \.csv, \.txt, got graph",
    ),
    "no direction": (
        (nx.Graph([("a", "b")]),),
        TypeError,
        r"expected a networkx\.DiGraph, edges as text, .* got Graph",
    ),
    "a list": (
        ([("a", "b")],),
        TypeError,
        r"expected a networkx\.DiGraph, edges as text, .*, got list",
    ),
}


@pytest.mark.parametrize(("arguments", "error", "message"), BAD.values(), ids=list(BAD))
def test_what_is_no_graph_is_told_what_is_wrong(arguments, error, message):
    graph, *nodes = arguments
    with pytest.raises(error, match=message):
        as_dag(graph, nodes=nodes[0] if nodes else None)


def test_the_order_is_parents_first_then_by_name_whatever_the_order_of_edges():
    #  b -> a -> d,  c -> d
    edges = [("b", "a"), ("a", "d"), ("c", "d")]
    for permuted in itertools.permutations(edges):
        dag = as_dag(nx.DiGraph(permuted))
        assert topological_order(dag) == ["b", "a", "c", "d"]
        assert parents(dag, "d") == ["a", "c"]
        assert parents(dag, "b") == []


TEXTBOOK = {
    # age -> dose, age -> health, dose -> health
    "back door": (
        "age -> dose; age -> health; dose -> health",
        {"confounders": ["age"], "adjustment_set": ["age"], "paths": [["dose", "health"]]},
    ),
    # dose -> tar -> health, habit -> dose, habit -> health
    "front door": (
        "dose -> tar -> health; habit -> dose; habit -> health",
        {
            "confounders": ["habit"],
            "adjustment_set": ["habit"],
            "paths": [["dose", "tar", "health"]],
        },
    ),
    # dose -> visit <- health
    "collider": (
        "dose -> visit; health -> visit",
        {
            "confounders": [],
            "adjustment_set": [],
            "has_effect": False,
            "independent": True,
            "paths": [],
        },
    ),
    # habit -> dose, habit -> visit <- genes, genes -> health, dose -> health: adjusting for visit would bias
    "M": (
        "habit -> dose; habit, genes -> visit; genes -> health; dose -> health",
        {"confounders": [], "adjustment_set": [], "paths": [["dose", "health"]]},
    ),
    # age -> dose -> health
    "an ancestor of the cause alone": (
        "age -> dose -> health",
        {"confounders": [], "adjustment_set": [], "paths": [["dose", "health"]]},
    ),
    # dose -> side -> health, dose -> health
    "a mediator": (
        "dose -> side -> health; dose -> health",
        {
            "confounders": [],
            "adjustment_set": [],
            "paths": [["dose", "health"], ["dose", "side", "health"]],
        },
    ),
    # health -> dose
    "the effect is a parent of the cause": (
        "health -> dose",
        {"confounders": [], "adjustment_set": None, "has_effect": False, "paths": []},
    ),
    # health -> worry -> dose
    "the effect is an ancestor of the cause": (
        "health -> worry -> dose",
        {"confounders": [], "adjustment_set": ["worry"], "has_effect": False, "paths": []},
    ),
}


@pytest.mark.parametrize(("text", "expected"), TEXTBOOK.values(), ids=list(TEXTBOOK))
def test_the_report_on_a_textbook_graph(text, expected):
    report = effect_report(as_dag(text), "dose", "health")
    assert report == {"has_effect": True, "independent": False} | expected


def blocks_every_back_door_path(dag, cause, effect, candidates):
    """Definition 3.3.1 of Pearl's Causality, path by path, without networkx's notion of d-separation."""
    if set(candidates) & nx.descendants(dag, cause):
        return False
    for path in nx.all_simple_paths(dag.to_undirected(), cause, effect):
        if not dag.has_edge(path[1], cause):
            continue
        blocked = False
        for before, node, after in zip(path, path[1:], path[2:], strict=False):
            if dag.has_edge(before, node) and dag.has_edge(after, node):
                blocked |= not ({node, *nx.descendants(dag, node)} & set(candidates))
            else:
                blocked |= node in candidates
        if not blocked:
            return False
    return True


@pytest.mark.parametrize("seed", range(12))
def test_the_adjustment_set_of_a_random_graph_is_valid_and_none_of_its_parts_is(seed):
    rng = np.random.default_rng(seed)
    adjacency = np.triu(rng.random((6, 6)) < 0.45, 1)
    dag = as_dag(adjacency, nodes=[f"x{i}" for i in rng.permutation(6)])
    for cause, effect in itertools.permutations(dag, 2):
        found = effect_report(dag, cause, effect)["adjustment_set"]
        others = sorted(set(dag) - {cause, effect})
        subsets = [c for k in range(5) for c in itertools.combinations(others, k)]
        valid = [set(c) for c in subsets if blocks_every_back_door_path(dag, cause, effect, c)]
        if found is None:
            assert dag.has_edge(effect, cause)
            assert not valid
        else:
            assert set(found) in valid
            assert not any(smaller < set(found) for smaller in valid)


def test_a_report_needs_two_nodes_of_the_graph():
    dag = as_dag("dose -> health")
    with pytest.raises(KeyError, match=r"no node named 'age'; the graph has \['dose', 'health'\]"):
        effect_report(dag, "age", "health")
    with pytest.raises(ValueError, match="expected two nodes, got 'dose' twice"):
        effect_report(dag, "dose", "dose")


def test_a_story_takes_its_graph_in_any_form_or_that_of_the_data():
    data = Pendulum(20)
    frame_of_edges = frame(NODES)
    assert graph_of("S", data, frame_of_edges) is frame_of_edges
    assert graph_of("S", data, ADJACENCY) is ADJACENCY
    for left_out in (None, "", []):
        assert graph_of("S", data, left_out) is data.dag
