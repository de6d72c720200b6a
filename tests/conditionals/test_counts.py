"""Conditionals of counts have scipy's densities and recover the parameters of draws."""

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from ppl_disentangle.conditionals import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from ppl_disentangle.conditionals.counts import ZeroInflated, bounded_concentration
from tests.conditionals.fitted import Constant, fitted

COUNTS = torch.tensor([[0.0, 3.0], [7.0, 0.0], [120.0, 1.0]], dtype=torch.float64)
RATE = np.array([2.5, 0.3])
CONCENTRATION = np.array([1.5, 20.0])
GATE = np.array([0.2, 0.6])


def logit(probability):
    return np.log(probability / (1 - probability))


def negative_binomial_density(counts):
    r = np.exp(bounded_concentration(torch.tensor(np.log(CONCENTRATION))).numpy())
    return scipy.stats.nbinom.logpmf(counts, r, r / (r + RATE))


def with_extra_zeros(log_density, counts):
    density = (1 - GATE) * np.exp(log_density) + GATE * (counts == 0)
    return np.log(density)


CASES = {
    Poisson: ([np.log(RATE)], lambda k: scipy.stats.poisson.logpmf(k, RATE)),
    NegativeBinomial: ([np.log(RATE), np.log(CONCENTRATION)], negative_binomial_density),
    ZeroInflatedPoisson: (
        [np.log(RATE), logit(GATE)],
        lambda k: with_extra_zeros(scipy.stats.poisson.logpmf(k, RATE), k),
    ),
    ZeroInflatedNegativeBinomial: (
        [np.log(RATE), np.log(CONCENTRATION), logit(GATE)],
        lambda k: with_extra_zeros(negative_binomial_density(k), k),
    ),
}


@pytest.mark.parametrize("conditional", CASES)
def test_the_density_is_scipys(conditional):
    outputs, density = CASES[conditional]
    y = conditional(Constant(np.concatenate(outputs)))(torch.zeros(1, 1))
    expected = density(COUNTS.numpy()).sum(-1)
    np.testing.assert_allclose(y.log_prob(COUNTS).detach().numpy(), expected, rtol=1e-9)
    assert y.event_shape == (2,)


@pytest.mark.parametrize("conditional", CASES)
def test_images_of_counts_split_their_channels(conditional):
    number = conditional.num_parameters
    y = conditional(Constant(torch.zeros(number * 3, 2, 2)))(torch.zeros(4, 1))
    assert y.batch_shape == (4,)
    assert y.event_shape == (3, 2, 2)


@pytest.mark.parametrize("conditional", CASES)
def test_the_mean_is_the_mean_of_draws(conditional):
    outputs, _ = CASES[conditional]
    y = conditional(Constant(np.concatenate(outputs)))(torch.zeros(1, 1))
    draws = y.sample((100_000,))[:, 0]
    error = 6 * y.variance[0].sqrt() / len(draws) ** 0.5
    assert ((draws.mean(0) - y.mean[0]).abs() < error).all()
    torch.testing.assert_close(draws.var(0), y.variance[0].detach(), rtol=0.1, atol=0)


def test_zero_inflated_negative_binomial_recovers_its_parameters():
    truth = ZeroInflated(
        dist.NegativeBinomial(torch.tensor(3.0).double(), logits=torch.tensor(0.5).double()),
        torch.tensor(-1.0).double(),
    )
    y = fitted(ZeroInflatedNegativeBinomial(Constant([0.0, 0.0, 0.0])), truth.sample((20_000, 1)))
    found = y.base_dist
    assert abs(found.gate_logits.item() + 1.0) < 0.1
    assert abs(found.counts.mean.item() - truth.counts.mean.item()) < 0.1
    assert abs(found.counts.total_count.item() - 3.0) < 0.4


def test_a_zero_inflated_distribution_is_expanded_after_its_mean_was_read():
    y = ZeroInflated(dist.Poisson(torch.tensor([2.0])), torch.tensor([0.0]))
    assert y.mean == 1.0
    torch.testing.assert_close(
        y.expand((3, 1)).log_prob(torch.ones(3, 1))[2], y.log_prob(torch.ones(1))
    )


def test_the_concentration_is_bounded_where_float32_would_round_the_density():
    assert bounded_concentration(torch.tensor(50.0)).exp() <= 1.001e4
    assert abs(bounded_concentration(torch.tensor(1.0)) - 1.0) < 1e-3


def test_outputs_that_cannot_be_split_are_an_error():
    with pytest.raises(ValueError, match="expected 2 outputs for each element of an observation"):
        NegativeBinomial(torch.nn.Identity())(torch.zeros(4, 3))


def test_a_count_that_is_not_whole_is_an_error():
    with pytest.raises(ValueError, match="IntegerGreaterThan"):
        ZeroInflatedPoisson(torch.nn.Identity())(torch.zeros(4, 2)).log_prob(
            torch.full((4, 1), 0.5)
        )
