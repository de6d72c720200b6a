"""Conditionals of classes and levels: densities of scipy and Pyro, and recovered parameters."""

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import nn

from ppl_disentangle.conditionals import Categorical, Ordinal, StudentT
from ppl_disentangle.conditionals.classes import cumulative_logit, increasing
from tests.conditionals.fitted import Constant, fitted


def test_classes_have_the_probabilities_of_their_logits():
    logits = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.0, 0.0]])
    y = Categorical(nn.Unflatten(1, (2, 3)))(logits.reshape(1, 6))
    expected = logits.log_softmax(-1)[[0, 1], [2, 0]].sum()
    torch.testing.assert_close(y.log_prob(torch.tensor([[2.0, 0.0]])), expected[None])
    assert y.event_shape == (2,)


def test_levels_have_the_probabilities_of_pyros_ordered_logistic():
    place = torch.linspace(-3, 3, 7).double()
    cuts = torch.tensor([-1.0, 0.2, 2.0]).double()
    expected = dist.OrderedLogistic(place, cuts).probs
    torch.testing.assert_close(cumulative_logit(place, cuts).probs, expected)


def test_a_rare_level_keeps_its_density_in_single_precision():
    cuts = torch.tensor([0.0, 1.0])
    density = cumulative_logit(torch.tensor(40.0), cuts).log_prob(torch.tensor(0))
    assert abs(density + 40) < 1e-4  # log sigmoid(-40)


def test_levels_recover_their_cut_points():
    cuts = torch.tensor([-1.0, 0.0, 2.0]).double()
    draws = cumulative_logit(torch.zeros(20_000, 1).double(), cuts).sample()
    conditional = Ordinal(Constant([0.0]), 4)
    fitted(conditional, draws)
    found = increasing(conditional.first_cut, conditional.gaps) - conditional.net.outputs
    torch.testing.assert_close(found.detach(), cuts, atol=0.08, rtol=0)


def test_two_levels_are_a_bernoulli():
    y = Ordinal(nn.Identity(), 2)(torch.tensor([[0.7]]))
    torch.testing.assert_close(
        y.log_prob(torch.ones(1, 1)),
        dist.Bernoulli(logits=0.7 * torch.ones(1)).log_prob(torch.ones(1)),
    )


def test_one_level_is_an_error():
    with pytest.raises(ValueError, match="expected num_levels >= 2, got 1"):
        Ordinal(nn.Identity(), 1)


def test_student_t_has_scipys_density_and_recovers_its_parameters():
    draws = torch.from_numpy(scipy.stats.t.rvs(4.0, 2.0, 0.5, size=(20_000, 1), random_state=0))
    conditional = StudentT(Constant([0.0]))
    y = fitted(conditional, draws)
    freedom = 1 + conditional.log_freedom.exp().item()
    scale = conditional.log_scale.exp().item()
    place = conditional.net.outputs.item()
    expected = scipy.stats.t.logpdf(draws.numpy(), freedom, place, scale).sum(-1)
    np.testing.assert_allclose(y.log_prob(draws).detach().numpy(), expected, rtol=1e-8)
    np.testing.assert_allclose([freedom, place, scale], [4.0, 2.0, 0.5], rtol=0.1)
