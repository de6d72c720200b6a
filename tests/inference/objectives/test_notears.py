"""The objective for learned graphs against Pyro's bound and its penalties by hand."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn

from ppl_disentangle.causal.acyclicity import trace_exponential, trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency
from ppl_disentangle.inference import AcyclicELBO, AugmentedLagrangian, BetaELBO
from tests.causal.cycles import DOUBLE, REFERENCES, random_weights
from tests.inference.pairs import BATCH, PARTICLES, SETTINGS, Pair, loss_and_gradients, terms


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
    count = 1000
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
