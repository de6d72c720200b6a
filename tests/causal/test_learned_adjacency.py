"""Learned adjacency matrices, and the graphs that they are turned into."""

import math

import networkx as nx
import pyro
import pytest
import torch
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.causal.acyclicity import trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency, learned_dag
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.models import CausalVAE


def adjacency_of(weights, names="abc", **edges):
    adjacency = LearnedAdjacency(list(names), **edges).to(weights.dtype)
    adjacency.weight = nn.Parameter(weights)
    return adjacency


def test_forbidden_and_reversed_required_edges_have_no_weight_and_no_gradient():
    adjacency = LearnedAdjacency(
        list("abc"), required=[("a", "b")], forbidden=[("c", "a")], width=4
    )
    expected = torch.tensor([[0.0, 1, 1], [0, 0, 1], [0, 1, 0]])
    assert torch.equal(adjacency.allowed, expected)
    assert set(adjacency.candidates) == {("a", "b"), ("a", "c"), ("b", "c"), ("c", "b")}
    matrix = adjacency.matrix()
    torch.testing.assert_close(matrix, adjacency.weights().square().sum(0).sqrt())
    assert torch.equal(matrix > 0, expected > 0)
    (matrix.sum() + adjacency.cycles(trace_polynomial)).backward()
    assert torch.equal((adjacency.weight.grad != 0).any(0), expected > 0)


def test_a_required_edge_is_not_penalised_and_leaves_no_room_for_a_cycle():
    adjacency = adjacency_of(torch.zeros(3, 3), required=[("a", "b")])
    assert adjacency.cycles(trace_polynomial) == 0
    with torch.no_grad():
        adjacency.weight[1, 2] = adjacency.weight[2, 0] = 0.5  # b -> c -> a
        adjacency.weight[0, 1] = 7.0
    assert adjacency.cycles(trace_polynomial) > 0
    assert adjacency.size() == 1.0


def test_a_learned_graph_has_the_edges_above_the_threshold_and_the_required_ones():
    weights = torch.tensor([[0.0, 0.2, -0.8], [0.0, 0.0, 0.31], [0.0, 0.1, 0.0]])
    dag = learned_dag(adjacency_of(weights, required=[("a", "b")]))
    assert {(a, b): round(w, 2) for a, b, w in dag.edges(data="weight")} == {
        ("a", "b"): 0.2,
        ("a", "c"): -0.8,
        ("b", "c"): 0.31,
    }
    assert list(dag) == ["a", "b", "c"]
    assert dag.graph["threshold"] == 0.3
    assert not learned_dag(adjacency_of(weights), threshold=1.0).edges


def test_a_cycle_raises_the_threshold_to_where_it_breaks():
    weights = torch.tensor([[0.0, 0.9, 0.0], [0.0, 0.0, 0.8], [0.5, 0.0, 0.0]])
    with pytest.warns(
        UserWarning, match="the edges above 0.3 have a cycle: the threshold was raised to 0.5"
    ):
        dag = learned_dag(adjacency_of(weights))
    assert set(dag.edges) == {("a", "b"), ("b", "c")}
    assert dag.graph["threshold"] == pytest.approx(0.5)
    with pytest.warns(UserWarning, match="raised to 0.9"):  # two edges of one size fall together
        dag = learned_dag(adjacency_of(torch.tensor([[0.0, 0.9], [0.9, 0.0]]), names="ab"))
    assert not dag.edges


def test_a_learned_graph_becomes_a_program_of_its_nodes():
    # a -> c <- b
    adjacency = adjacency_of(torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    prior = StructuralPrior(learned_dag(adjacency))
    assert prior.parents == {"a": (), "b": (), "c": ("a", "b")}
    story = CausalVAE(prior, Gaussian(nn.Linear(6, 6)), GaussianLearnedScale(nn.Linear(3, 6)))
    with torch.no_grad():
        draws = {}
        for actions in ({}, {"a": 1.0}, {"c": 1.0}):
            pyro.set_rng_seed(0)
            with pyro.plate("data", 5):
                draws[tuple(actions)] = pyro.do(prior, actions)()
        assert torch.equal(draws[()]["b"], draws["a",]["b"])
        assert not torch.equal(draws[()]["c"], draws["a",]["c"])
        assert torch.equal(draws[()]["a"], draws["c",]["a"])
        assert do(story, {"a": 1.0}).model(batch_size=5).shape == (5, 6)


BAD = {
    "a node twice": (lambda: LearnedAdjacency(["a", "a"]), ValueError, "'a' is named twice"),
    "an edge of no node": (
        lambda: LearnedAdjacency(["a"], required=[("a", "b")]),
        ValueError,
        "'b'",
    ),
    "a forbidden edge of no node": (
        lambda: LearnedAdjacency(["a"], forbidden=[("a", "b")]),
        ValueError,
        r"no node named 'b'; the nodes are \['a'\]",
    ),
    "a cycle of required edges": (
        lambda: LearnedAdjacency(["a", "b"], required=[("a", "b"), ("b", "a")]),
        ValueError,
        "the graph has a cycle: a -> b -> a",
    ),
    "required and forbidden": (
        lambda: LearnedAdjacency(["a", "b"], required=[("a", "b")], forbidden=[("a", "b")]),
        ValueError,
        "the edge a -> b is both required and forbidden",
    ),
    "restricted to what was forbidden": (
        lambda: LearnedAdjacency(["a", "b"], forbidden=[("a", "b")]).restrict(
            nx.DiGraph([("a", "b")])
        ),
        ValueError,
        "the edge a -> b was forbidden",
    ),
    "restricted to a cycle": (
        lambda: LearnedAdjacency(["a", "b"]).restrict(nx.DiGraph([("a", "b"), ("b", "a")])),
        ValueError,
        "the graph has a cycle",
    ),
    "nothing learned": (
        lambda: learned_dag(nn.Linear(2, 2)),
        TypeError,
        "LearnedAdjacency as its adjacency, got Lin",
    ),
    "a negative threshold": (
        lambda: learned_dag(LearnedAdjacency(["a"]), -1.0),
        ValueError,
        "threshold >= 0, got -1",
    ),
    "weights that are not finite": (
        lambda: learned_dag(adjacency_of(torch.tensor([[0.0, math.nan], [0.0, 0.0]]), names="ab")),
        ValueError,
        "the weights of the edges are not finite",
    ),
}


@pytest.mark.parametrize(("build", "error", "message"), BAD.values(), ids=list(BAD))
def test_invalid_graphs_and_weights_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
