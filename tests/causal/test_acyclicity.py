"""Acyclicity functions against exponentials, walks and finite differences; the objective that constrains them."""

import itertools
import math

import networkx as nx
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from scipy.linalg import expm
from torch import nn

from ppl_disentangle.causal.acyclicity import log_determinant, trace_exponential, trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency
from ppl_disentangle.inference import AcyclicELBO, AugmentedLagrangian, BetaELBO
from tests.inference.pairs import BATCH, PARTICLES, SETTINGS, Pair, loss_and_gradients, terms

DOUBLE = {"dtype": torch.float64}
MEASURES = {
    "exponential": trace_exponential,
    "polynomial": trace_polynomial,
    "determinant": lambda weights: log_determinant(weights, s=30.0),
}
REFERENCES = {
    "exponential": lambda squares: np.trace(expm(squares)) - len(squares),
    "polynomial": lambda squares: (
        np.trace(
            np.linalg.matrix_power(np.eye(len(squares)) + squares / len(squares), len(squares))
        )
        - len(squares)
    ),
    "determinant": lambda squares: (
        -np.log(np.linalg.eigvals(np.eye(len(squares)) - squares / 30.0)).sum().real
    ),
}


def random_weights(dim, seed=0):
    return torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), **DOUBLE)


@pytest.fixture(params=MEASURES, ids=list(MEASURES))
def name(request):
    return request.param


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8])
def test_a_measure_is_its_definition(name, dim):
    weights = random_weights(dim)
    expected = REFERENCES[name](weights.square().numpy())
    assert MEASURES[name](weights).item() == pytest.approx(expected, rel=1e-10)


def test_the_exponential_weighs_closed_walks():
    squares = random_weights(4).square()
    walks = sum(
        math.prod(squares[i, j].item() for i, j in zip(walk, (*walk[1:], walk[0]), strict=True))
        / math.factorial(steps)
        for steps in range(1, 7)
        for walk in itertools.product(range(4), repeat=steps)
    )
    rest = sum(
        torch.linalg.matrix_power(squares, k).trace().item() / math.factorial(k)
        for k in range(7, 60)
    )
    assert trace_exponential(random_weights(4)).item() == pytest.approx(walks + rest, rel=1e-12)


def test_the_polynomial_weighs_closed_walks_of_up_to_d_steps():
    squares = random_weights(5).square() / 5
    expected = sum(
        math.comb(5, k) * torch.linalg.matrix_power(squares, k).trace().item() for k in range(1, 6)
    )
    assert trace_polynomial(random_weights(5)).item() == pytest.approx(expected, rel=1e-12)


GRADIENTS = {
    "exponential": lambda a: 2 * a * torch.linalg.matrix_exp(a * a).T,
    "polynomial": lambda a: (
        2 * a * torch.linalg.matrix_power(torch.eye(len(a)) + a * a / len(a), len(a) - 1).T
    ),
    "determinant": lambda a: 2 * a * torch.linalg.inv(30.0 * torch.eye(len(a)) - a * a).T,
}


def test_the_gradient_is_as_stated_and_that_of_finite_differences(name):
    weights = random_weights(4).requires_grad_()
    assert torch.autograd.gradcheck(MEASURES[name], weights)
    MEASURES[name](weights).backward()
    torch.testing.assert_close(weights.grad, GRADIENTS[name](weights.detach()))


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (4, 4)), st.sampled_from(sorted(MEASURES)), st.sampled_from([0.02, 0.5, 1.0]))
def test_it_is_zero_exactly_where_there_is_no_cycle(edges, name, size):
    value = MEASURES[name](size * torch.tensor(edges, dtype=torch.float32)).item()
    if nx.is_directed_acyclic_graph(nx.DiGraph(edges.astype(int))):
        assert abs(value) < 1e-6
    elif name == "determinant":
        assert value > -1e-6  # the logarithm of a number near one is rounded
    else:
        assert value > 0


@pytest.mark.parametrize("measure", [trace_exponential, trace_polynomial])
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-8])
def test_traces_are_accurate_however_near_to_zero(measure, size):
    weights = torch.tensor([[0.0, size], [size, 0.0]])
    expected = (
        size**4 if measure is trace_exponential else size**4 / 2
    )  # 2 cosh(s^2) - 2, (I + B/2)^2 - I
    assert measure(weights).item() == pytest.approx(expected, rel=1e-4)


def test_the_barrier_is_finite_inside_its_domain_alone():
    for spectral_radius in (0.5, 0.9, 0.999, 1.001, 1.5, 7.0):
        weights = random_weights(6, seed=3)
        radius = np.abs(np.linalg.eigvals(weights.square().numpy())).max()
        value = log_determinant(weights * (spectral_radius / radius) ** 0.5)
        assert value.isfinite() == (spectral_radius < 1)
    two_cycles = torch.zeros(4, 4, **DOUBLE)  # outside, det(I - B) = 9 is positive again
    two_cycles[0, 1] = two_cycles[1, 0] = two_cycles[2, 3] = two_cycles[3, 2] = 2**0.5 * 2**0.25
    assert torch.linalg.det(torch.eye(4, **DOUBLE) - two_cycles.square()) > 0
    assert log_determinant(two_cycles).isinf()
    assert log_determinant(two_cycles, s=20.0).isfinite()


def test_measures_of_a_batch_are_those_of_its_members(name):
    weights = torch.stack([random_weights(3, seed) for seed in range(4)])
    expected = torch.stack([MEASURES[name](w) for w in weights])
    torch.testing.assert_close(MEASURES[name](weights.view(2, 2, 3, 3)), expected.view(2, 2))


@pytest.mark.parametrize("measure", [trace_exponential, trace_polynomial])
def test_bfloat16_networks_around_it_do_not_coarsen_it(measure):
    weights = random_weights(5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = measure(weights)
    torch.testing.assert_close(inside, measure(weights))


def test_weights_that_are_not_square_and_a_bad_bound_are_refused(name):
    for shape in ((3,), (2, 3), (0, 0)):
        with pytest.raises(ValueError, match=r"expected weights of shape \(…, d, d\), got"):
            MEASURES[name](torch.zeros(shape))
    with pytest.raises(ValueError, match="expected s > 0, got 0"):
        log_determinant(torch.zeros(2, 2), s=0)


# The augmented Lagrangian


def test_multiplier_and_penalty_follow_the_rule():
    lagrangian = AugmentedLagrangian(every=3, rho=0.5, growth=4.0, progress=0.25, maximum=20.0)
    values = [
        2.0,
        1.9,
        1.8,
        1.0,
        0.5,
        0.44,
        0.4,
        0.4,
        0.2,
        0.1,
        0.01,
        0.09,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        1.0,
    ]
    alpha, rho, reached = 0.0, 0.5, math.inf
    for step, h in enumerate(values, 1):
        lagrangian.advance(torch.tensor(h), step=torch.tensor(float(step)))
        if step % 3 == 0:
            alpha += rho * h
            if h > 0.25 * reached:
                rho = min(4.0 * rho, 20.0)
            reached = h
        h = torch.tensor(h, requires_grad=True)
        penalty = lagrangian.weight(h) * h
        assert penalty.item() == pytest.approx(alpha * h.item() + rho / 2 * h.item() ** 2)
        penalty.backward()
        assert h.grad.item() == pytest.approx(alpha + rho * h.item())
    assert rho == 20.0
    assert set(lagrangian.state_dict()) == {"multiplier", "rho", "reached"}


def test_it_finds_the_minimum_under_a_constraint():
    # min (x - 2)^2 + (y - 1)^2 subject to x^2 = 0: at (0, 1)
    point = nn.Parameter(torch.tensor([1.0, 0.0]))
    optimizer, lagrangian = (
        torch.optim.Adam([point], lr=0.02),
        AugmentedLagrangian(every=50, maximum=1e4),
    )
    for step in range(1, 2001):
        h = point[0].square()
        loss = (point - torch.tensor([2.0, 1.0])).square().sum() + lagrangian.weight(h) * h
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lagrangian.advance(h, step=torch.tensor(float(step)))
    torch.testing.assert_close(point.detach(), torch.tensor([0.0, 1.0]), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every >= 1 and growth >= 1, got every=0, growth=2.0"),
        ({"growth": 0.5}, "growth >= 1, got every=100, growth=0.5"),
        ({"rho": 0.0}, "0 < rho <= maximum, got rho=0.0"),
        ({"rho": 10.0, "maximum": 1.0}, "0 < rho <= maximum, got rho=10.0, maximum=1.0"),
        ({"progress": 1.0}, "0 < progress < 1, got 1.0"),
    ],
)
def test_arguments_out_of_their_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AugmentedLagrangian(**arguments)


# The objective


def adjacency_of(weights, names="abc", **edges):
    adjacency = LearnedAdjacency(list(names), **edges).to(weights.dtype)
    adjacency.weight = nn.Parameter(weights)
    return adjacency


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_without_edges_it_is_pyros_bound(setting, particles):
    pair, adjacency = Pair(**setting), LearnedAdjacency(list("abc"))
    expected = loss_and_gradients(TraceMeanField_ELBO(**particles), pair)
    for value, reference in zip(
        loss_and_gradients(AcyclicELBO(adjacency, **particles), pair), expected, strict=True
    ):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", [{}, {"split": (2, 1)}, SETTINGS["masked"], {"scale": 0.3}])
def test_penalties_are_those_of_each_datum(setting, particles):
    pair, weights = Pair(**setting, **DOUBLE), random_weights(3)
    adjacency = adjacency_of(weights, required=[("a", "b")])
    elbo = AcyclicELBO(adjacency, sparsity=0.3, acyclicity=trace_exponential, **particles)
    elbo.lagrangian.multiplier.fill_(0.7)
    elbo.lagrangian.rho.fill_(5.0)
    found = terms(elbo, pair)
    count = pair.scale * 1000 * (BATCH if pair.mask is None else pair.mask.sum().item()) / BATCH
    counted = weights.clone().fill_diagonal_(0.0)
    counted[0, 1], counted[1, 0] = 1.0, 0.0  # a -> b counts as present, b -> a cannot be
    size = sum(abs(counted[i, j].item()) for i in range(3) for j in range(3) if (i, j) != (0, 1))
    h = REFERENCES["exponential"](counted.square().numpy())
    assert found["acyclicity"].item() == pytest.approx(-count * h, rel=1e-9)
    assert found["sparsity"].item() == pytest.approx(-count * size, rel=1e-9)
    bound = BetaELBO(1.0, **particles)
    values = []
    for objective in (elbo, bound):
        pyro.set_rng_seed(0)
        values.append(objective.loss(pair.model, pair.guide))
    penalty = count * (0.7 * h + 5.0 / 2 * h**2 + 0.3 * size)
    assert values[0] - values[1] == pytest.approx(penalty, rel=1e-6)


def test_a_pair_without_latents_has_its_likelihood():
    x = torch.randn(BATCH, 3)

    def model():
        with pyro.plate("data", 1000, subsample=range(BATCH)):
            pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=x)

    elbo = AcyclicELBO(adjacency_of(torch.ones(3, 3)))
    loss = elbo.loss(model, lambda: None)
    h = REFERENCES["polynomial"](np.ones((3, 3)) - np.eye(3))
    expected = Trace_ELBO().loss(model, lambda: None) + 1000 * (h**2 / 2 + 0.1 * 6)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_price_of_cycles_rises_with_steps_and_is_kept_with_the_objective():
    pair = Pair()
    adjacency = adjacency_of(torch.full((3, 3), 0.5))
    elbo = AcyclicELBO(adjacency, lagrangian=AugmentedLagrangian(every=2, growth=3.0))
    assert list(elbo.parameters()) == []
    h = trace_polynomial(adjacency.weights()).item()
    for _ in range(4):
        elbo.loss_and_grads(pair.model, pair.guide)
    assert elbo.lagrangian.multiplier.item() == pytest.approx(
        h + 1 * h
    )  # rho is 1 until h has stalled once
    assert elbo.lagrangian.rho.item() == 3.0
    other = AcyclicELBO(LearnedAdjacency(list("abc")))
    other.load_state_dict(elbo.state_dict())
    assert other.lagrangian.rho.item() == 3.0
