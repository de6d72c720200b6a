"""Noise, random graphs, and errors of synthetic models."""

import math

import networkx as nx
import numpy as np
import pytest
import torch

from ppl_disentangle.data import EquationSCM, LinearSCM, random_dag


def test_standard_noise_has_its_quantiles():
    graph = random_dag(20, expected_degree=0, seed=0)
    draws = {
        law: EquationSCM(graph, {}, num_data=5000, noise=law).values.flatten()
        for law in ("normal", "laplace", "uniform")
    }
    levels = torch.tensor([0.1, 0.5, 0.9])
    ten = math.log(0.2)
    expected = {
        "normal": [-1.2816, 0, 1.2816],
        "laplace": [ten, 0, -ten],
        "uniform": [0.1, 0.5, 0.9],
    }
    for law, values in draws.items():
        torch.testing.assert_close(
            values.quantile(levels), torch.tensor(expected[law]), atol=0.03, rtol=0
        )


def test_random_graphs_are_acyclic_with_the_expected_degree():
    dags = [random_dag(8, expected_degree=3, seed=seed) for seed in range(200)]
    assert all(nx.is_directed_acyclic_graph(dag) and len(dag) == 8 for dag in dags)
    degree = np.mean([2 * dag.number_of_edges() / 8 for dag in dags])
    assert degree == pytest.approx(3, abs=0.2)
    present = np.mean(
        [
            [dag.has_edge("x1", "x2"), dag.has_edge("x2", "x1"), dag.has_edge("x8", "x3")]
            for dag in dags
        ],
        0,
    )
    np.testing.assert_allclose(present, 3 / 7 / 2, atol=0.1)  # the names do not tell the order
    assert random_dag(5, expected_degree=4, seed=0).number_of_edges() == 10
    assert list(random_dag(1, expected_degree=0, seed=0)) == ["x1"]
    assert random_dag(8, expected_degree=3, seed=1).edges == dags[1].edges
    with pytest.raises(
        ValueError, match="expected 0 <= expected_degree <= num_nodes - 1, got 5 with 5 nodes"
    ):
        random_dag(5, expected_degree=5, seed=0)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: LinearSCM("a -> b", num_data=2, weights={}),
            KeyError,
            r"expected a weight for each edge in \[\('a', 'b'\)\] and no other, but see \('a', 'b'\)",
        ),
        (
            lambda: LinearSCM("a -> b", num_data=2, offsets={"c": 1}),
            KeyError,
            "no node named 'c'; the graph has",
        ),
        (
            lambda: LinearSCM("a -> b", num_data=2).moments({"c": 1}),
            KeyError,
            "no node named 'c'; the graph has",
        ),
        (
            lambda: EquationSCM("a -> b", {"c": abs}, num_data=2),
            KeyError,
            "no node named 'c'; the graph has",
        ),
        (
            lambda: EquationSCM("a -> b", {}, num_data=2),
            KeyError,
            r"expected an equation of 'b', .* parents \['a'\]",
        ),
        (
            lambda: LinearSCM("a -> b", num_data=2, noise="gauss"),
            ValueError,
            r"expected noise to be one of \['normal', 'laplace', 'uniform'\], got 'gauss'",
        ),
    ],
)
def test_invalid_models_are_errors(build, error, message):
    with pytest.raises(error, match=message):
        build()
