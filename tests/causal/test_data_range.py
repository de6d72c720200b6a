"""The range of the data, and the warnings of interventions that leave it."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.causal.actions import shift
from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.data_range import OutsideDataWarning, data_range
from ppl_disentangle.causal.mechanisms import LinearGaussian
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.models import BetaVAE, CausalVAE
from tests.causal.linear import FEATURES


def follower_story():
    """A leaf that follows its parent closely, seen without much error: cause -> leaf."""
    leaf = LinearGaussian(1, 1)
    leaf.weight.data, leaf.log_scale.data = torch.tensor([[1.0]]), torch.tensor([-3.0])
    prior = StructuralPrior("cause -> leaf", {"cause": LinearGaussian, "leaf": leaf})
    encoder, decoder = nn.Linear(2, 4), nn.Linear(2, 2)
    encoder.weight.data = torch.eye(2).repeat(2, 1) * torch.tensor([1.0, 1.0, 0.0, 0.0])[:, None]
    encoder.bias.data = torch.tensor([0.0, 0.0, -12.0, -12.0])
    decoder.weight.data, decoder.bias.data = torch.eye(2), torch.zeros(2)
    return CausalVAE(prior, Gaussian(encoder), GaussianLearnedScale(decoder, scale=0.01))


@pytest.fixture
def follower():
    return follower_story()


@pytest.fixture
def seen(follower):
    cause = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    return data_range(follower, torch.cat([cause, cause + 0.05 * torch.randn(cause.shape)], 1))


def test_it_has_the_quantiles_and_the_covariance_of_the_data(seen):
    assert seen.parts == {"cause": ("cause",), "leaf": ("leaf",)}
    np.testing.assert_allclose(seen.low, -2.33, atol=0.15)
    np.testing.assert_allclose(seen.high, 2.33, atol=0.15)
    np.testing.assert_allclose(np.linalg.inv(seen.precision), [[1, 1], [1, 1.0025]], atol=0.05)
    assert seen.limit == pytest.approx(
        np.sqrt(9.21), abs=0.15
    )  # 99 % quantile of chi-square with 2 degrees
    away = np.array([[1.0, -1.0]]) - seen.mean
    assert seen.distance(np.array([[1.0, -1.0]])) == pytest.approx(
        np.sqrt(away @ seen.precision @ away.T).item()
    )


# cause -> leaf
def test_a_value_out_of_range_causes_a_warning_with_its_name_and_range(follower, seen):
    message = r"cause = 5: 'cause' is between -2\.\d+ and 2\.\d+ in 98 % of the data, .* in 100% .* as far as 5"
    with pytest.warns(OutsideDataWarning, match=message) as by_do:
        do(follower, {"cause": 5.0}, data_range=seen)
    with pytest.warns(
        OutsideDataWarning, match="'leaf' is between .* outside in 50% .* as far as -9"
    ) as by_units:
        counterfactual(
            follower, torch.zeros(2, 2), {"leaf": torch.tensor([0.1, -9.0])}, data_range=seen
        )
    assert by_do[0].filename == by_units[0].filename == __file__


def test_a_leaf_that_does_not_fit_its_parent_causes_a_warning_although_it_is_in_range(
    follower, seen
):
    with pytest.warns(
        OutsideDataWarning, match="leaf = 1: each value is in its range, but with the other nodes"
    ):
        do(follower, {"leaf": 1.0}, data_range=seen)
    units = torch.tensor([[-1.0, -1.0], [-1.1, -1.1], [1.0, 1.0]])
    with pytest.warns(OutsideDataWarning, match="67% of the units are farther"):
        counterfactual(follower, units, [{}, {"leaf": 1.0}], data_range=seen)


@pytest.mark.parametrize(("leaf", "warned"), [(0.13, False), (0.18, True)])
def test_the_limit_of_the_joint_range_is_three_deviations_of_the_leaf(follower, seen, leaf, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        counterfactual(follower, torch.zeros(1, 2), {"leaf": leaf}, data_range=seen)
    assert bool(caught) == warned


def test_interventions_within_the_range_cause_no_warning(follower, seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        do(follower, {"cause": 1.0}, data_range=seen)
        do(follower, {"cause": torch.tensor([1.0, -1.0, 0.0])}, data_range=seen)
        do(follower, {"cause": shift(0.0)}, data_range=seen)
        counterfactual(
            follower, torch.ones(3, 2), [{}, {"cause": 1.0}, {"leaf": 1.05}], data_range=seen
        )


def test_the_range_of_an_isotropic_code_is_by_coordinate():
    torch.manual_seed(0)
    story = BetaVAE(Gaussian(nn.Linear(FEATURES, 6)), Bernoulli(nn.Linear(3, FEATURES)), 3)
    story.coordinate_names = {"z": ("hue", "size", "angle")}
    seen = data_range(story, torch.rand(100, FEATURES))
    with pytest.warns(OutsideDataWarning, match="size = 30: 'size' is between") as caught:
        do(story, {"size": 30.0}, data_range=seen)
    assert len(caught) == 1


def test_it_needs_more_data_than_coordinates(follower):
    with pytest.raises(ValueError, match="expected more data than the 2 coordinates, got 2"):
        data_range(follower, torch.zeros(2, 2))
