"""Linear models: moments and counterfactuals against an independent oracle."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch

from ppl_disentangle.data import LinearSCM, random_dag

# x0 ──► x1 ──► x2      x0 ──► x1 ──► x2      x0 ──► x1 ──► x3
#                        ╰─────────────▲       ╰───► x2 ─────▲

CASES = {
    "chain": {
        "weights": {("x0", "x1"): 0.8, ("x1", "x2"): -1.2},
        "offsets": {"x0": 0.5, "x2": 1.0},
        "scales": {"x1": 0.5, "x2": 0.7},
        "do": {"x1": 2.0},
        "mean": [0.5, 0.4, 0.52],
        "covariance": [[1, 0.8, -0.96], [0.8, 0.89, -1.068], [-0.96, -1.068, 1.7716]],
        "do_mean": [0.5, 2, -1.4],
        "do_covariance": [[1, 0, 0], [0, 0, 0], [0, 0, 0.49]],
        "unit": [-0.5, 0.4, 1.851014650557987],
        "counterfactual": [-0.5, 2, -0.06898534944201318],
    },
    "confounded": {
        "weights": {("x0", "x1"): 1.5, ("x0", "x2"): -0.7, ("x1", "x2"): 0.6},
        "offsets": {"x1": 0.2, "x2": -0.1},
        "scales": {"x1": 0.8, "x2": 0.3},
        "do": {"x1": 1.0},
        "mean": [0, 0.2, 0.02],
        "covariance": [[1, 1.5, 0.2], [1.5, 2.89, 0.684], [0.2, 0.684, 0.3604]],
        "do_mean": [0, 1, 0.5],
        "do_covariance": [[1, 0, -0.7], [0, 0, 0], [-0.7, 0, 0.58]],
        "unit": [-1, 0.2, 0.6203332407921455],
        "counterfactual": [-1, 1, 1.1003332407921442],
    },
    "diamond": {
        "weights": {("x0", "x1"): 0.9, ("x0", "x2"): -0.5, ("x1", "x3"): 0.7, ("x2", "x3"): 1.1},
        "offsets": {"x1": 0.3, "x3": -0.2},
        "scales": {"x1": 0.6, "x2": 0.9, "x3": 0.4},
        "do": {"x2": -1.5},
        "mean": [0, 0.3, 0, 0.01],
        "covariance": [
            [1, 0.9, -0.5, 0.08],
            [0.9, 1.17, -0.45, 0.324],
            [-0.5, -0.45, 1.06, 0.851],
            [0.08, 0.324, 0.851, 1.3229],
        ],
        "do_mean": [0, 0.3, -1.5, -1.64],
        "do_covariance": [
            [1, 0.9, 0, 0.63],
            [0.9, 1.17, 0, 0.819],
            [0, 0, 0, 0],
            [0.63, 0.819, 0, 0.7333],
        ],
        "unit": [-1, -0.06055512754639891, 0.3431876713662333, 1.160173899895142],
        "counterfactual": [-1, -0.060555127546399024, -1.5, -0.8673325386077133],
    },
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request):
    return request.param


def linear(case, **options):
    keys = ("weights", "offsets", "scales")
    return LinearSCM(edges(case["weights"]), **{key: case[key] for key in keys}, **options)


def edges(weights):
    return "; ".join(f"{parent} -> {child}" for parent, child in weights)


def test_moments_of_linear_models_equal_the_oracles(case):
    scm = linear(case, num_data=2)
    for do, prefix in (({}, ""), (case["do"], "do_")):
        mean, covariance = scm.moments(do)
        np.testing.assert_allclose(mean, case[f"{prefix}mean"], atol=1e-12)
        np.testing.assert_allclose(covariance, case[f"{prefix}covariance"], atol=1e-12)


def test_counterfactuals_of_a_unit_equal_the_oracles(case):
    scm, unit = linear(case, num_data=2), case["unit"]
    noise = [
        (
            unit[k]
            - case["offsets"].get(node, 0)
            - sum(w * unit[int(p[1])] for (p, c), w in case["weights"].items() if c == node)
        )
        / case["scales"].get(node, 1)
        for k, node in enumerate(scm.names)
    ]
    noise = torch.tensor([noise], dtype=torch.float64)
    np.testing.assert_allclose(scm.mechanisms(noise)[0], unit, atol=1e-12)
    np.testing.assert_allclose(
        scm.mechanisms(noise, case["do"])[0], case["counterfactual"], atol=1e-12
    )


@pytest.mark.parametrize("noise", ["normal", "laplace", "uniform"])
def test_units_follow_the_interventional_distribution(case, noise):
    scm = linear(case, num_data=50_000, noise=noise, seed=4)
    for do in ({}, case["do"]):
        values = scm.intervene(torch.arange(50_000), do).double()
        mean, covariance = scm.moments(do)
        error = covariance.diagonal().sqrt() / math.sqrt(50_000)
        assert ((values.mean(0) - mean).abs() <= 4.5 * error + 1e-6).all()
        products = (values - mean)[:, :, None] * (values - mean)[:, None, :]
        spread = products.std(0) / math.sqrt(50_000)
        assert ((products.mean(0) - covariance).abs() <= 4.5 * spread + 1e-6).all()


def test_total_effects_are_sums_over_paths():
    dag = random_dag(6, expected_degree=3, seed=5)
    scm = LinearSCM(dag, num_data=2, seed=1)
    for cause, effect in itertools.permutations(scm.names, 2):
        paths = nx.all_simple_paths(dag, cause, effect)
        total = sum(
            math.prod(scm.weights[edge] for edge in itertools.pairwise(path)) for path in paths
        )
        k = scm.names.index(effect)
        difference = scm.moments({cause: 1.0})[0][k] - scm.moments({cause: 0.0})[0][k]
        assert difference.item() == pytest.approx(total, abs=1e-9)


def test_drawn_weights_have_both_signs_and_are_not_small():
    scm = LinearSCM(random_dag(30, expected_degree=29, seed=0), num_data=2)
    weights = torch.tensor(list(scm.weights.values()))
    assert len(weights) == 435
    assert 0.5 <= weights.abs().min() < 0.52 < 1.98 < weights.abs().max() <= 2
    assert 0.4 < (weights > 0).float().mean() < 0.6
    assert LinearSCM(scm.dag, num_data=7).weights == scm.weights
    assert LinearSCM(scm.dag, num_data=2, seed=1).weights != scm.weights
