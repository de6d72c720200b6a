"""The smallest intervention against its closed form and against another solver."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.mechanisms import AdditiveNoise, LinearGaussian
from ppl_disentangle.causal.smallest_intervention import smallest_intervention
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.models import CausalVAE
from tests.causal.linear import BATCH, FEATURES, NODES, linear_story, some_units


@pytest.fixture
def story():
    return linear_story()


@pytest.fixture
def x():
    return some_units()


# a -> b -> d, a -> c -> d, a -> d: the effects of b and c on d are 0.7 and 1.1
def test_the_smallest_intervention_of_a_linear_story_is_the_minimum_norm(story, x):
    found = smallest_intervention(story, x, ["b", "c"], "d", 2.0, steps=3)
    slope, missing = np.array([0.7, 1.1]), 2.0 - found["factual_outcome"].values
    expected = missing[:, None] * slope / (slope @ slope)
    np.testing.assert_allclose(found["value"] - found["factual"], expected, atol=1e-5)
    np.testing.assert_allclose(
        found["distance"], np.abs(missing) / np.linalg.norm(slope), atol=1e-5
    )
    np.testing.assert_allclose(found["outcome"], 2.0, atol=1e-5)
    assert found["reached"].all()
    assert found["node"].values.tolist() == ["b", "c"]
    factual = counterfactual(story, x, {}, num_samples=None)
    np.testing.assert_allclose(found["factual"].sel(node="b"), factual["b"].values[0, 0], atol=1e-6)


def test_what_was_found_gives_the_outcome_under_do(story, x):
    found = smallest_intervention(story, x, ["a", "c"], "d", -1.0)
    actions = {name: torch.tensor(found["value"].sel(node=name).values) for name in ("a", "c")}
    np.testing.assert_allclose(
        counterfactual(story, x, actions, num_samples=None)["d"], -1.0, atol=1e-4
    )


def test_scales_say_which_node_is_cheap_to_change(story, x):
    found = smallest_intervention(story, x, ["b", "c"], "d", 2.0, scales={"b": 10.0})
    slope, missing = np.array([0.7, 1.1]) * [10, 1], 2.0 - found["factual_outcome"].values
    expected = missing[:, None] * slope / (slope @ slope) * [10, 1]
    np.testing.assert_allclose(found["value"] - found["factual"], expected, atol=1e-4)


def test_an_outcome_can_be_a_function_of_the_images(story, x):
    found = smallest_intervention(
        story, x, list(NODES), lambda images: images[:, 0], 3.0, num_samples=4
    )
    slope, missing = (
        story.decoder.net.weight[0].detach().numpy(),
        3.0 - found["factual_outcome"].values,
    )
    np.testing.assert_allclose(
        found["value"] - found["factual"], missing[:, None] * slope / (slope @ slope), atol=1e-4
    )


class DoubleEncoder(nn.Module):
    """Normal over three nodes, in double precision, so that another solver can differentiate numerically."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(FEATURES, 3)

    def forward(self, x):
        return dist.Normal(self.net(x), 0.1).to_event(1)


# cause -> mediator -> effect, cause -> effect, with curves
def test_the_smallest_intervention_of_a_curved_story_is_that_of_another_solver(x):
    torch.manual_seed(1)
    prior = StructuralPrior(
        "cause -> mediator -> effect; cause -> effect", lambda d, p: AdditiveNoise(d, p, hidden=4)
    )
    for parameter in prior.mechanisms["effect"].parameters():
        parameter.data *= 2
    story = CausalVAE(prior, DoubleEncoder(), GaussianLearnedScale(nn.Linear(3, FEATURES))).double()
    x, nodes, target = x.double(), ["cause", "mediator"], 0.5
    found = smallest_intervention(story, x, nodes, "effect", target, tolerance=1e-9)
    assert found["reached"].all()
    assert not smallest_intervention(story, x, nodes, "effect", 100.0)["reached"].any()
    for unit in range(BATCH):
        start = found["factual"].values[unit]

        def outcome(values, unit=unit):
            actions = {
                name: torch.tensor(v, dtype=torch.float64)
                for name, v in zip(nodes, values, strict=True)
            }
            return (
                counterfactual(story, x[[unit]], actions, num_samples=None)["effect"].item()
                - target
            )

        solved = minimize(
            lambda values, start=start: np.square(values - start).sum(),
            start,
            constraints={"type": "eq", "fun": outcome},
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        np.testing.assert_allclose(found["value"].values[unit], solved.x, atol=1e-4)


BAD_SEARCHES = {
    "an unknown node": ((["z"], "d"), {}, KeyError, "no latent named 'z'"),
    "no path": ((["e"], "d"), {}, ValueError, "the outcome does not depend on the nodes"),
    "a scale of another node": (
        (["b"], "d"),
        {"scales": {"c": 1.0}},
        KeyError,
        "a scale for 'c', which is not among",
    ),
}


@pytest.mark.parametrize(
    ("names", "settings", "error", "message"), BAD_SEARCHES.values(), ids=list(BAD_SEARCHES)
)
def test_bad_searches_say_what_is_wrong(story, x, names, settings, error, message):
    with pytest.raises(error, match=message):
        smallest_intervention(story, x, *names, 1.0, **settings)


def test_a_node_of_several_coordinates_is_searched_by_coordinate(x):
    torch.manual_seed(0)
    prior = StructuralPrior("a -> d", LinearGaussian, dims={"a": 2})
    story = CausalVAE(
        prior, Gaussian(nn.Linear(FEATURES, 6)), GaussianLearnedScale(nn.Linear(3, FEATURES))
    )
    with pytest.raises(
        ValueError, match=r"expected a node of one coordinate, got 'a' of shape \(2,\)"
    ):
        smallest_intervention(story, x, ["a"], "d", 1.0)
    assert smallest_intervention(story, x, ["a[0]", "a[1]"], "d", 1.0)["reached"].all()
