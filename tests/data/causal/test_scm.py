"""Synthetic causal models: closed forms against an independent oracle, equations again as formulas, mixing undone."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch

from ppl_disentangle.data import (
    PUBLISHED_SCMS,
    EquationSCM,
    LinearSCM,
    NonlinearSCM,
    published_scm,
    random_dag,
)

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


def test_laws_of_linear_models_are_those_of_the_oracle(case):
    scm = linear(case, num_data=2)
    for do, prefix in (({}, ""), (case["do"], "do_")):
        mean, covariance = scm.moments(do)
        np.testing.assert_allclose(mean, case[f"{prefix}mean"], atol=1e-12)
        np.testing.assert_allclose(covariance, case[f"{prefix}covariance"], atol=1e-12)


def test_the_counterfactual_of_a_known_unit_is_that_of_the_oracle(case):
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
def test_units_follow_the_law_of_their_world(case, noise):
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


# a ──► b ──► c ◄── a


def test_nonlinear_nodes_are_their_networks_plus_noise():
    scm = NonlinearSCM("a -> b -> c; a -> c", num_data=50, hidden=3, scale=0.3, seed=2)
    a, b, c = scm.values.T
    assert torch.equal(a, scm.noise[:, 0])
    for child, node, above in ((1, "b", [a]), (2, "c", [a, b])):
        *weights, bias, output = scm._networks[node].on(torch.device("cpu"))
        for i in range(50):
            hidden = [
                math.tanh(bias[h] + sum(w[h] * p[i] for w, p in zip(weights, above, strict=True)))
                for h in range(3)
            ]
            expected = (
                2 / math.sqrt(3) * sum(v * x for v, x in zip(output.tolist(), hidden, strict=True))
            )
            assert scm.values[i, child].item() == pytest.approx(
                expected + 0.3 * scm.noise[i, child].item(), abs=1e-5
            )


def test_nonlinear_models_are_not_linear():
    scm = NonlinearSCM("a -> b", num_data=4000, scale=0.0)
    design = torch.stack([scm.values[:, 0], torch.ones(4000)], 1)
    fitted = design @ torch.linalg.lstsq(design, scm.values[:, 1:]).solution[:, 0]
    assert (scm.values[:, 1] - fitted).var() > 0.02 * scm.values[:, 1].var()


def softplus(x):
    return math.log1p(math.exp(x))


def backdoor(x, u):
    return math.log1p(math.exp(x + 1)) + math.log1p(math.exp(0.5 + u)) - 3


def laplace(x7, x8, u):
    loc = 2 - math.log1p(math.exp((1.3 * x7 + x8) / 3 + 1))
    return loc + 0.6 * math.log(2 * u) if u < 0.5 else loc - 0.6 * math.log(2 - 2 * u)


# The formulas as they stand in the code of the paper, node by node, from the values of all nodes before and the noise.
FORMULAS = {
    ("chain3", "linear"): [lambda u: u, lambda x, u: 10 * x - u, lambda _, y, u: 0.25 * y + 2 * u],
    ("chain4", "linear"): [
        lambda u: u,
        lambda x, u: 5 * x - u,
        lambda _, y, u: -0.5 * y - 1.5 * u,
        lambda _, __, z, u: z + u,
    ],
    ("chain5", "linear"): [
        lambda u: u,
        lambda x, u: 10 * x - u,
        lambda _, y, u: 0.25 * y + 2 * u,
        lambda _, __, z, u: z + u,
        lambda _, __, ___, w, u: -w + u,
    ],
    ("fork", "linear"): [
        lambda u: u,
        lambda _, u: 2 - u,
        lambda x, y, u: 0.25 * y - 1.5 * x + 0.5 * u,
        lambda _, __, z, u: z + 0.25 * u,
    ],
    ("triangle", "linear"): [
        lambda u: u + 1,
        lambda x, u: 10 * x - u,
        lambda x, y, u: 0.5 * y + x + u,
    ],
    ("chain3", "nonlinear"): [
        lambda u: u,
        lambda x, u: math.exp(x / 2) + u / 4,
        lambda _, y, u: (y - 5) ** 3 / 15 + u,
    ],
    ("fork", "nonlinear"): [
        lambda u: u,
        lambda _, u: u,
        lambda x, y, u: 4 / (1 + math.exp(-x - y)) - y**2 + u / 2,
        lambda _, __, z, u: 20 / (1 + math.exp(z**2 / 2 - z)) + u,
    ],
    ("triangle", "nonlinear"): [
        lambda u: u,
        lambda x, u: 2 * x**2 + u,
        lambda x, y, u: 20 / (1 + math.exp(-(y**2) + x)) + u,
    ],
    ("simpson", "nonlinear"): [
        lambda u: u,
        lambda x, u: softplus(1 - x) + math.sqrt(0.15) * u,
        lambda x, y, u: math.tanh(2 * y) + 1.5 * x - 1 + math.tanh(u),
        lambda _, __, z, u: (z - 4) / 5 + 3 + u / math.sqrt(10),
    ],
    ("sym_prod", "nonlinear"): [
        lambda u: u,
        lambda x, u: 2 * math.tanh(2 * x) + u / math.sqrt(10),
        lambda x, y, u: 0.5 * x * y + u / math.sqrt(2),
        lambda x, _, __, u: math.tanh(1.5 * x) + math.sqrt(0.3) * u,
    ],
    ("large_backdoor", "nonlinear"): [
        lambda u: softplus(1.8 * u) - 1,
        lambda *x: 0.25 * x[-1] + 1.5 * backdoor(x[0], 0.0),
        lambda *x: backdoor(x[0], x[-1]),
        lambda *x: backdoor(x[1], x[-1]),
        lambda *x: backdoor(x[2], x[-1]),
        lambda *x: backdoor(x[3], x[-1]),
        lambda *x: backdoor(x[4], x[-1]),
        lambda *x: 0.3 * x[-1] + softplus(x[5] + 1) - 1,
        lambda *x: laplace(x[6], x[7], x[-1]),
    ],
}


@pytest.mark.parametrize("key", FORMULAS)
def test_published_models_have_their_published_equations(key):
    scm = published_scm(*key, num_data=40)
    assert len(scm.names) == len(FORMULAS[key])
    columns = [scm.names.index(f"x{k + 1}") for k in range(len(scm.names))]
    for i in range(40):
        noise = scm.noise[i, columns].tolist()
        for do in ({}, {"x2": 0.7}):
            values = []
            for k, formula in enumerate(FORMULAS[key]):
                values.append(
                    do.get(f"x{k + 1}", None) if f"x{k + 1}" in do else formula(*values, noise[k])
                )
            found = scm.intervene(torch.tensor([i]), do)[0, columns].tolist()
            assert found == pytest.approx(values, rel=1e-5, abs=1e-5)


def test_all_published_models_are_checked_and_others_refused():
    assert set(PUBLISHED_SCMS) == set(FORMULAS)
    assert published_scm("fork", "linear", num_data=3).name == "fork_linear"
    assert len(published_scm("fork", "linear")) == 25_000
    with pytest.raises(
        KeyError,
        match=r"no published model \('simpson', 'linear'\); there are \[\('chain3', 'linear'\)",
    ):
        published_scm("simpson", "linear")


# x1 ──► x2 ──► x3 ──► x4
#  ╰─────────────▲


def test_simpsons_paradox_is_one():
    values = published_scm("simpson", "nonlinear").values
    confounder, cause, effect = values[:, 0], values[:, 1], values[:, 2]
    assert torch.corrcoef(torch.stack([cause, effect]))[0, 1] < -0.3
    strata = confounder.argsort().view(250, 100)
    within = torch.stack([torch.corrcoef(torch.stack([cause[s], effect[s]]))[0, 1] for s in strata])
    assert within.mean() > 0.1


def test_the_symmetric_product_is_uncorrelated_with_its_causes():
    values = published_scm("sym_prod", "nonlinear").values
    correlation = torch.corrcoef(values.T)
    assert correlation[0, 2].abs() < 0.03
    assert correlation[1, 2].abs() < 0.03
    assert torch.corrcoef(torch.stack([values[:, 0] * values[:, 1], values[:, 2]]))[0, 1] > 0.5


def test_the_large_backdoor_has_uniform_noise():
    scm = published_scm("large_backdoor", "nonlinear")
    assert 0 < scm.noise.min() < 1e-3 < 0.999 < scm.noise.max() < 1
    assert nx.descendants(scm.dag, "x7") == {"x9"}


@pytest.mark.parametrize("shape", [(5,), (24,), (3, 8, 8)])
def test_values_can_be_read_back_from_mixed_observations(shape):
    scm = LinearSCM(random_dag(5, expected_degree=2, seed=1), num_data=400, observation_shape=shape)
    x = scm.observations(torch.arange(400)).double().flatten(1)
    assert scm.observation_shape == shape
    if len(shape) == 3:
        assert 0 < x.min() < x.max() < 1
        x = x.logit()
    cpu = torch.device("cpu")
    second, first = scm.random_map._second.on(cpu).double(), scm.random_map._first.on(cpu).double()
    hidden = x @ second.T / (second @ second.T)[0, 0]
    standard = hidden.atanh() @ torch.linalg.pinv(first) + scm.values.mean(0)
    # A float keeps seven digits of tanh, which are few where it is flat.
    assert (standard - scm.values).abs().median() < 1e-5
    assert (standard - scm.values).abs().mean() < 0.01


def test_observations_are_the_values_where_nothing_mixes():
    scm = LinearSCM("a -> b", num_data=10)
    assert torch.equal(scm.observations(torch.arange(10)), scm.values)
    assert torch.equal(scm.to_float(scm.values), scm.values)


def test_mixing_varies_with_the_seed_and_keeps_every_observation_of_order_one():
    first, second = (
        NonlinearSCM("a -> b", num_data=500, seed=s, observation_shape=(24,)) for s in (0, 1)
    )
    x = first.observations(torch.arange(500))
    assert not torch.equal(first.random_map(first.values), second.random_map(first.values))
    assert 0.1 < x.std(0).min() < x.std(0).max() < 3


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
def test_a_bad_model_is_told_so(build, error, message):
    with pytest.raises(error, match=message):
        build()
