"""Values that actions give to sites: those outside of the support of the site are refused by name."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_disentangle import as_story, do
from ppl_disentangle.causal import (
    StructuralPrior,
    average_effect,
    counterfactual,
    shift,
    smallest_intervention,
    worlds,
)
from ppl_disentangle.causal.mechanisms import Categorical, GivenRoot
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.models import CausalVAE

UNITS = torch.zeros(4)


def story_of(prior):
    """z -> x, and a node that is twice z; the guide draws z from its prior."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            twice = pyro.deterministic("twice", 2 * z.to(torch.float))
            total = (
                twice.flatten(twice.dim() - prior.event_dim).sum(-1) if prior.event_dim else twice
            )
            return pyro.sample("x", dist.Normal(total, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", prior)

    return as_story(model, guide, example=UNITS)


def gamma():
    return dist.Gamma(2.0, 1.0)


def two_gammas():
    return dist.Gamma(torch.tensor([2.0, 2.0]), 1.0).to_event(1)


def classes():
    return dist.Categorical(torch.ones(3))


def one_hot():
    return dist.OneHotCategorical(torch.ones(3))


def shares():
    return dist.Dirichlet(torch.ones(3))


def two_uniforms():
    return dist.Uniform(torch.tensor([0.0, 10.0]), torch.tensor([1.0, 20.0])).to_event(1)


def mixture():
    return dist.MixtureSameFamily(classes(), dist.Gamma(torch.ones(3), 1.0))


def scaled_uniform():
    scale = dist.transforms.AffineTransform(0.0, -5.0)
    return dist.TransformedDistribution(dist.Uniform(0.0, 1.0), [scale])


NOT_NEGATIVE = "outside the support of site 'z', Gamma: numbers >= 0; choose a value there"
WHOLE = "outside the support of site 'z', Categorical: whole numbers from 0 to 2"
REFUSED = {
    "a value": (gamma, {"z": -3.0}, rf"do\('z'\): -3 is {NOT_NEGATIVE}"),
    "a value of one unit": (gamma, {"z": torch.tensor([1.0, 2.0, -1.0, 3.0])}, NOT_NEGATIVE),
    "a shift": (gamma, {"z": shift(-3.0)}, NOT_NEGATIVE),
    "a function": (gamma, {"z": torch.negative}, NOT_NEGATIVE),
    "a draw": (gamma, {"z": dist.Normal(0.0, 1.0)}, NOT_NEGATIVE),
    "a coordinate": (two_gammas, {"z[1]": -3.0}, rf"do\('z\[1\]'\): -3 is {NOT_NEGATIVE}"),
    "a coordinate of one unit": (two_gammas, {"z[1]": torch.tensor([1.0, 1, 1, -1])}, NOT_NEGATIVE),
    "a shift of a coordinate": (two_gammas, {"z[1]": shift(-9.0)}, NOT_NEGATIVE),
    "a draw of a coordinate": (two_gammas, {"z[1]": dist.Normal(0.0, 1.0)}, NOT_NEGATIVE),
    "a fraction of a class": (classes, {"z": 1.7}, rf"do\('z'\): 1.7 is {WHOLE}"),
    "a class too many": (classes, {"z": 7}, rf"7 is {WHOLE}"),
    "a shift by half a class": (classes, {"z": shift(0.5)}, "expected whole numbers"),
    "a shift to the class after the last": (classes, {"z": shift(1)}, f"3 is {WHOLE}"),
    "a shift of a class": (one_hot, {"z": shift(1.0)}, "one-hot rows"),
    "two classes": (one_hot, {"z": torch.tensor([1.0, 1.0, 0.0])}, r"\[1, 1, 0\] is outside"),
    "an entry of a class": (
        one_hot,
        {"z[0]": dist.Delta(torch.tensor(0.5))},
        "set the whole of 'z'",
    ),
    "an entry of shares": (shares, {"z[0]": 0.5}, "that sum to 1; set the whole of 'z' at once"),
    "too large shares": (shares, {"z": torch.tensor([0.2, 0.3, 0.6])}, "rows of numbers >= 0 that"),
    "a uniform": (lambda: dist.Uniform(-1.0, 2.0), {"z": 3.0}, "numbers from -1 to 2"),
    "one of two uniforms": (two_uniforms, {"z[0]": 15.0}, "15 is outside"),
    "a uniform that is rescaled": (scaled_uniform, {"z": 1.0}, "numbers from -5 to -?0"),
    "the open end": (lambda: dist.LogNormal(0.0, 1.0), {"z": 0.0}, "numbers > 0"),
    "half a count": (lambda: dist.Poisson(3.0), {"z": 1.5}, "whole numbers >= 0"),
    "counts": (lambda: dist.Multinomial(5, torch.ones(3)), {"z": torch.ones(3)}, "sum to 5"),
    "a mixture": (mixture, {"z": -1.0}, "MixtureSameFamily: numbers >= 0"),
    "NaN": (lambda: dist.Normal(0.0, 1.0), {"z": lambda z: z * torch.nan}, "is not finite"),
}


@pytest.mark.parametrize(("prior", "action", "message"), REFUSED.values(), ids=list(REFUSED))
def test_values_outside_of_the_support_are_refused_everywhere(prior, action, message):
    story = story_of(prior())
    with pytest.raises(ValueError, match=message):
        do(story, action)
    with pytest.raises(ValueError, match=message):
        worlds(story, [{}, action])
    with pytest.raises(ValueError, match=message):
        counterfactual(story, UNITS, action)


ALLOWED = {
    "zero": (gamma, {"z": 0.0}),
    "a draw": (gamma, {"z": dist.Exponential(1.0)}),
    "a coordinate by unit": (two_gammas, {"z[1]": torch.arange(4.0)}),
    "a class": (classes, {"z": 2.0}),
    "the next class": (classes, {"z": lambda z: (z + 1) % 3}),
    "a class drawn from others": (classes, {"z": dist.Categorical(torch.ones(2))}),
    "a one-hot row": (one_hot, {"z": torch.tensor([0.0, 1.0, 0.0])}),
    "all entries of a row": (one_hot, {"z[0]": 1.0, "z[1]": 0.0, "z[2]": 0.0}),
    "other shares": (shares, {"z": lambda z: z.flip(-1)}),
    "many shares": (lambda: dist.Dirichlet(torch.ones(1000)), {"z": torch.full((1000,), 0.001)}),
    "both ends": (lambda: dist.Uniform(-1.0, 2.0), {"z": torch.tensor([-1.0, 2.0, 2.0, -1.0])}),
    "the end of a beta": (lambda: dist.Beta(1.0, 1.0), {"z": 1.0}),
    "an angle": (lambda: dist.VonMises(0.0, 1.0), {"z": shift(9.0)}),
    "a node": (gamma, {"twice": -3.0}),
}


@pytest.mark.parametrize(("prior", "action"), ALLOWED.values(), ids=list(ALLOWED))
def test_values_in_the_support_are_set(prior, action):
    story = story_of(prior())
    assert do(story, action).model(batch_size=4).shape == (4,)
    assert counterfactual(story, UNITS, action, num_samples=2)["x"].shape == (1, 2, 4)


def test_values_that_leave_the_support_in_the_given_units_only_are_refused_there():
    """The draws of the check at construction lie between 0 and 1, the unit has 1.4."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(0.0, 1.5))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(x))

    story = as_story(model, guide, example=UNITS)

    def stretched(z):
        return torch.where(z > 1.499, 2.0, z)

    assert counterfactual(story, UNITS + 1, {"z": stretched}, num_samples=1)["z"].shape == (1, 1, 4)
    with pytest.raises(ValueError, match=r"do\('z'\): 2 is outside"):
        counterfactual(story, torch.tensor([1.0, 1.4995]), {"z": stretched}, num_samples=1)


def test_bounds_that_follow_from_parents_do_not_bind_a_site_that_is_cut_off_from_them():
    def model(x):
        with pyro.plate("data", len(x)):
            low = pyro.sample("low", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.Uniform(low, low + 0.1))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            low = pyro.sample("low", dist.Normal(x, 0.1))
            pyro.sample("z", dist.Uniform(low, low + 0.1))

    story = as_story(model, guide, example=UNITS)
    assert (do(story, {"z": 0.5}).model(batch_size=3).shape) == (3,)
    with pytest.raises(ValueError, match="50 is outside the support of site 'z', Uniform"):
        do(story, {"z": 50.0})


@pytest.fixture
def weather():
    torch.manual_seed(0)
    prior = StructuralPrior(
        "season -> rain",
        {"season": GivenRoot(dist.Gamma(2.0, 1.0)), "rain": Categorical},
        dims={"rain": 3},
    )
    return CausalVAE(
        prior, Gaussian(nn.Linear(6, 8)), GaussianLearnedScale(nn.Linear(4, 6)), posterior="noise"
    )


@pytest.mark.parametrize("action", [-3.0, shift(-90.0), dist.Normal(0.0, 1.0)])
def test_a_root_of_a_graph_has_the_support_of_its_mechanism(weather, action):
    with pytest.raises(ValueError, match=r"do\('season'\): .* 'season', Gamma: numbers >= 0"):
        do(weather, {"season": action})


@pytest.mark.parametrize("action", [shift(1.0), lambda rain: 2 * rain])
def test_a_class_of_a_graph_stays_a_class_after_functions(weather, action):
    with pytest.raises(ValueError, match="node 'rain' is one of 3 classes"):
        do(weather, {"rain": action})
    intervened = do(do(weather, {"season": 1.0}), {"rain": torch.tensor([1.0, 0.0, 0.0])})
    assert intervened.model(batch_size=2).shape == (2, 6)
    with pytest.raises(ValueError, match="node 'rain' is one of 3 classes"):
        do(do(weather, {"season": 1.0}), {"rain": 1.0})


def test_effects_and_evidence_check_the_support():
    with pytest.raises(ValueError, match=NOT_NEGATIVE):
        average_effect(story_of(gamma()), "z", "twice", values=(0.0, -1.0))
    for evidence in (torch.tensor([1.0, -2.0, 1.0, torch.nan]), -torch.ones(4)):
        with pytest.raises(ValueError, match=rf"evidence of 'z': -\d is {NOT_NEGATIVE}"):
            counterfactual(story_of(gamma()), UNITS, {}, evidence={"z": evidence})
    with pytest.raises(ValueError, match=f"evidence of 'z': 5 is {WHOLE}"):
        counterfactual(story_of(classes()), UNITS, {}, evidence={"z": torch.full((4,), 5)})


def test_a_target_that_needs_an_impossible_value_is_refused():
    story = story_of(dist.LogNormal(0.0, 1.0))
    result = smallest_intervention(story, UNITS, ["z"], "twice", 5.0)
    assert torch.tensor(result["value"].values).sub(2.5).abs().max() < 1e-4
    with pytest.raises(ValueError, match="-1 is outside the support of site 'z', LogNormal"):
        smallest_intervention(story, UNITS, ["z"], "twice", -2.0)
