"""Distances between graphs, against other libraries and loops, and the axioms of a distance."""

import itertools
import json

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl_disentangle.metrics.graphs import graph_scores, shd
from tests.inference.pairs import GOLDEN

REFERENCE = json.loads((GOLDEN / "graphs.json").read_text())["cases"]
TOLERANCE = {"adjacency": 1e-6, "orientation": 1e-6}  # the others are rounded to four decimals


def without_loops(matrix):
    return matrix & ~np.eye(len(matrix), dtype=bool)


GRAPHS = arrays(bool, (5, 5)).map(without_loops)


@pytest.mark.parametrize("case", REFERENCE.values(), ids=list(REFERENCE))
def test_scores_are_those_of_other_libraries(case):
    scores = graph_scores(np.array(case["estimated"]), np.array(case["true"]))
    assert scores.keys() == case["scores"].keys()
    for name, value in case["scores"].items():
        assert scores[name] == pytest.approx(value, abs=TOLERANCE.get(name.split("_")[0], 5e-5)), (
            name
        )


@settings(max_examples=100, deadline=None)
@given(GRAPHS, GRAPHS)
def test_distances_are_counted_by_hand(ours, theirs):
    pairs = [
        ((ours[i, j], ours[j, i]), (theirs[i, j], theirs[j, i]))
        for i, j in itertools.combinations(range(5), 2)
    ]
    assert shd(ours, theirs) == sum(a != b for a, b in pairs)
    assert shd(ours, theirs, reversal=2) == sum(
        int(a[0] != b[0]) + int(a[1] != b[1]) for a, b in pairs
    )
    both = [(a, b) for a, b in pairs if any(a) and any(b)]
    scores = graph_scores(ours, theirs)
    joined = sum(any(a) for a, _ in pairs), sum(any(b) for _, b in pairs)
    assert scores["adjacency_precision"] == pytest.approx(len(both) / max(joined[0], 1))
    assert scores["adjacency_recall"] == pytest.approx(len(both) / max(joined[1], 1))
    assert scores["orientation_precision"] == pytest.approx(
        sum(a == b for a, b in both) / max(joined[0], 1)
    )
    assert scores["orientation_recall"] == pytest.approx(
        sum(a == b for a, b in both) / max(joined[1], 1)
    )


@settings(max_examples=100, deadline=None)
@given(GRAPHS, GRAPHS, GRAPHS, st.permutations(range(5)), st.sampled_from([1, 2]))
def test_it_is_a_distance_and_knows_no_names(a, b, c, order, reversal):
    def distance(x, y):
        return shd(x, y, reversal=reversal)

    assert (distance(a, b) == 0) == np.array_equal(a, b)
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert distance(a, b) == distance(a[np.ix_(order, order)], b[np.ix_(order, order)])
    assert graph_scores(a, b) == graph_scores(a[np.ix_(order, order)], b[np.ix_(order, order)])


# true:  light -> shadow <- angle      estimated:  shadow -> light, angle -> shadow, angle -> light
TRUE = nx.DiGraph([("light", "shadow"), ("angle", "shadow")])
ESTIMATED = nx.DiGraph([("shadow", "light"), ("angle", "shadow"), ("angle", "light")])


def test_graphs_are_matched_by_name_and_not_by_order():
    scores = graph_scores(ESTIMATED, TRUE)
    assert (scores["shd"], scores["shd_reversal_counts_two"]) == (2, 3)
    assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(
        (1 / 3, 1 / 2, 2 / 5)
    )
    assert scores["fpr"] == 2
    names = ["angle", "light", "shadow"]
    matrices = (nx.to_numpy_array(graph, nodelist=names) for graph in (ESTIMATED, TRUE))
    assert graph_scores(*matrices) == scores


def test_weights_and_tensors_are_taken_as_edges():
    weights = torch.tensor([[0.0, -0.3], [0.0, 0.0]], requires_grad=True)
    assert shd(weights, [[0, 1], [0, 0]]) == 0
    weighted = nx.DiGraph()
    weighted.add_edge("a", "b", weight=0.0)
    assert shd(weighted, nx.DiGraph([("a", "b")])) == 0


def test_a_rate_of_nothing_is_zero_and_so_is_one_without_hits():
    empty, full = np.zeros((3, 3)), np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    scores = graph_scores(empty, full)
    assert scores["shd"] == 3
    assert {k: v for k, v in scores.items() if not k.startswith("shd")}.keys() == {
        k for k, v in scores.items() if v == 0
    }
    reversed_scores = graph_scores(full.T, full)
    assert (reversed_scores["f1"], reversed_scores["fdr"], reversed_scores["adjacency_f1"]) == (
        0,
        1,
        1,
    )
    assert set(graph_scores(empty, empty).values()) == {0}


def test_bad_graphs_are_refused():
    with pytest.raises(ValueError, match="reversal to be 1 or 2, got 0"):
        shd(TRUE, TRUE, reversal=0)
    with pytest.raises(
        ValueError, match=r"the same nodes in both graphs, got \['a', 'b'\] and \['light', 'shadow'"
    ):
        shd(nx.DiGraph([("a", "b")]), TRUE)
    with pytest.raises(TypeError, match="one of each"):
        shd(np.zeros((3, 3)), TRUE)
    with pytest.raises(ValueError, match=r"shape \(d, d\), got \(3, 2\)"):
        shd(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="as many nodes in both graphs, got 2 and 3"):
        shd(np.zeros((2, 2)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="not finite"):
        shd(np.full((2, 2), np.nan), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="node 1 causes itself"):
        shd(np.diag([0, 1]), np.zeros((2, 2)))
