"""Acyclicity functions against exponentials, closed walks and finite differences."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl_disentangle.causal.acyclicity import log_determinant, trace_exponential, trace_polynomial
from tests.causal.cycles import DOUBLE, REFERENCES, random_weights

MEASURES = {
    "exponential": trace_exponential,
    "polynomial": trace_polynomial,
    "determinant": lambda weights: log_determinant(weights, s=30.0),
}


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
