"""Effects against path matrices and closed forms of linear stories."""

import subprocess
import sys

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_disentangle import as_story, do
from ppl_disentangle.causal.effects import (
    average_effect,
    conditional_effects,
    individual_effects,
    mediated_effects,
)
from ppl_disentangle.causal.mechanisms import AffineMechanism, LinearGaussian
from ppl_disentangle.causal.population import Population, Units, interval_of
from ppl_disentangle.causal.smallest_intervention import smallest_intervention
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.models import BetaVAE, CausalVAE
from tests.causal.linear import (
    BATCH,
    FEATURES,
    NODES,
    PATHS,
    linear_story,
    some_units,
    total_effects,
)


@pytest.fixture
def story():
    return linear_story()


@pytest.fixture
def x():
    return some_units()


#     a
#   / | \
#  v  |  v
#  b  |  c    e
#   \ v /
#    vd
@pytest.mark.parametrize("cause", NODES)
@pytest.mark.parametrize("effect", NODES)
def test_average_effects_are_the_entries_of_the_path_matrix(story, cause, effect):
    expected = 2.5 * total_effects()[NODES.index(effect), NODES.index(cause)]
    found = average_effect(story, cause, effect, values=(-1.0, 1.5), num_units=20, num_samples=4)
    for name in ("mean", "lower", "upper"):
        assert found[name].item() == pytest.approx(expected, abs=1e-5)


def test_individual_effects_of_a_linear_story_are_the_same_in_all_units(story, x):
    found = individual_effects(story, "a", "d", x, values=(0.0, 1.0), num_samples=5)
    assert found["draws"].dims == ("draw", "data")
    assert dict(found["mean"].sizes) == {"data": BATCH}
    np.testing.assert_allclose(found["draws"], total_effects()[3, 0], atol=1e-5)
    assert found.attrs["rung"] == "counterfactual"


def test_effects_on_data_are_read_off_images_with_the_units_own_noise(story, x):
    found = individual_effects(
        story, "a", lambda images: images[:, :2], x, values=(0.0, 1.0), num_samples=5
    )
    expected = story.decoder.net.weight.detach().numpy() @ total_effects()[:, 0]
    assert found["mean"].dims == ("data", "effect_dim_0")
    np.testing.assert_allclose(found["mean"], np.broadcast_to(expected[:2], (BATCH, 2)), atol=1e-5)
    grouped = conditional_effects(
        story,
        "a",
        lambda images: images[:, 0],
        by="e",
        values=(0.0, 1.0),
        bins=2,
        num_units=20,
        num_samples=3,
    )
    np.testing.assert_allclose(grouped["mean"], expected[[0, 0]], atol=1e-5)
    average = average_effect(
        story, "a", lambda images: images.sum(-1), values=(0.0, 1.0), num_units=50, num_samples=3
    )
    assert average["mean"].item() == pytest.approx(expected.sum(), abs=1e-5)


class Product(AffineMechanism):
    """effect = cause * mediator + noise: cause and mediator act only together."""

    def loc_and_scale(self, parents):
        return parents.prod(-1, keepdim=True), torch.ones(1)


def interaction_story():
    mediator = LinearGaussian(1, 1)
    mediator.weight.data, mediator.bias.data = torch.tensor([[2.0]]), torch.tensor([3.0])
    mechanisms = {"cause": LinearGaussian, "mediator": mediator, "effect": Product}
    prior = StructuralPrior("cause -> mediator -> effect; cause -> effect", mechanisms)
    return CausalVAE(
        prior, Gaussian(nn.Linear(FEATURES, 6)), GaussianLearnedScale(nn.Linear(3, FEATURES))
    )


# cause -> mediator -> effect, cause -> effect
def test_natural_direct_and_indirect_effects_of_an_interaction_are_the_closed_forms():
    # With M = 3 + 2 c + noise and Y = c M + noise: Y(b, M(a)) - Y(a, M(a)) = (b - a)(3 + 2 a) on average, and so on.
    a, b = 1.0, 4.0
    found = mediated_effects(
        interaction_story(), "cause", "effect", "mediator", values=(a, b), num_units=20_000
    )
    total = b * (3 + 2 * b) - a * (3 + 2 * a)
    expected = {"total": total, "direct": (b - a) * (3 + 2 * a), "indirect": a * 2 * (b - a)}
    expected["interaction"] = total - expected["direct"] - expected["indirect"]
    for component, value in expected.items():
        assert found["mean"].sel(component=component).item() == pytest.approx(value, abs=0.02)
    assert found["mean"].sel(component="indirect").item() == pytest.approx(6.0, abs=1e-5)
    assert found.attrs["mediators"] == "mediator"


def test_direct_and_indirect_effects_of_a_linear_story_are_sums_over_paths(story, x):
    found = mediated_effects(story, "a", "d", ["b", "c"], values=(0.0, 1.0), x=x, num_samples=3)[
        "mean"
    ]
    assert found.sel(component="direct").item() == pytest.approx(0.3, abs=1e-5)
    assert found.sel(component="indirect").item() == pytest.approx(0.9 * 0.7 - 0.5 * 1.1, abs=1e-5)
    assert found.sel(component="interaction").item() == pytest.approx(0.0, abs=1e-5)
    through_b = mediated_effects(story, "a", "d", "b", values=(0.0, 1.0), x=x, num_samples=3)[
        "mean"
    ]
    assert through_b.sel(component="indirect").item() == pytest.approx(0.9 * 0.7, abs=1e-5)
    assert through_b.sel(component="direct").item() == pytest.approx(0.3 - 0.5 * 1.1, abs=1e-5)


def test_effects_by_group_are_those_of_the_units_in_it():
    # effect = cause * mediator: of units alike in the mediator, the effect of the cause with the mediator held.
    story = interaction_story()
    found = conditional_effects(
        story, "mediator", "effect", by="cause", values=(0.0, 1.0), bins=3, num_units=300
    )
    assert found.sizes["group"] == 3
    assert (found["low"].values <= found["mean"]).all()
    assert (found["mean"] <= found["high"].values).all()
    assert found["count"].values.tolist() == [2000, 2000, 2000]
    drawn = Population(story, Units(num_units=300))
    drawn.simulate([{}], until=("cause",))
    thirds = np.array_split(np.sort(drawn.factual("cause").ravel()), 3)
    np.testing.assert_allclose(found["low"], [third[0] for third in thirds], atol=1e-6)
    np.testing.assert_allclose(found["mean"], [third.mean() for third in thirds], atol=0.02)


def test_units_are_grouped_by_what_they_were_before_the_cause_was_set():
    torch.manual_seed(0)
    story = BetaVAE(
        Gaussian(nn.Linear(FEATURES, 4)), GaussianLearnedScale(nn.Linear(2, FEATURES)), 2
    )
    found = conditional_effects(
        story, "z[0]", lambda images: images[:, 0], "z[0]", values=(0.0, 1.0), bins=2, num_units=50
    )
    assert found["low"].values[0] < -1
    assert found["low"].values[1] == pytest.approx(0, abs=0.2)
    assert found["high"].values[1] > 1
    np.testing.assert_allclose(found["mean"], story.decoder.net.weight[0, 0].item(), atol=1e-5)


def test_a_grouping_node_of_few_values_makes_one_group_of_each():
    story = do(interaction_story(), {"cause": torch.tensor([0.0, 1.0, 1.0, 2.0])})
    found = conditional_effects(
        story, "mediator", "effect", by="cause", values=(0.0, 1.0), bins=4, num_units=4
    )
    assert found["low"].values.tolist() == found["high"].values.tolist() == [0.0, 1.0, 2.0]
    assert found["count"].values.tolist() == [20, 40, 20]
    np.testing.assert_allclose(found["mean"], [0.0, 1.0, 2.0], atol=1e-5)


@pytest.mark.parametrize("kind", ["hdi", "eti"])
def test_intervals_hold_their_share_of_the_draws(kind):
    import xarray as xr

    draws = xr.DataArray(
        np.random.default_rng(0).gamma(2.0, size=(20_000, 2)), dims=("draw", "data")
    )
    lower, upper = interval_of(draws, 0.9, kind)
    assert lower.dims == upper.dims == ("data",)
    inside = ((draws >= lower) & (draws <= upper)).mean("draw")
    np.testing.assert_allclose(inside, 0.9, atol=1e-3)
    below = (draws < lower).mean("draw")
    assert (below < 0.02).all() if kind == "hdi" else np.allclose(below, 0.05, atol=1e-3)


def test_intervals_without_observations_shrink_with_the_number_of_units():
    story = interaction_story()
    few, many = (
        average_effect(story, "cause", "effect", values=(0.0, 1.0), num_units=n, num_samples=40)
        for n in (25, 2500)
    )
    ratio = (few["upper"] - few["lower"]) / (many["upper"] - many["lower"])
    assert 5 < ratio.item() < 20


def test_an_effect_on_a_node_does_not_decode(story):
    decoded = []
    story.decoder.register_forward_hook(
        lambda module, inputs, output: decoded.append(inputs[0].shape[:-1].numel())
    )
    average_effect(story, "a", "d", values=(0.0, 1.0), num_units=50, num_samples=2)
    assert max(decoded) == 1


def test_the_intervals_of_effects_are_those_that_arviz_finds_in_their_draws():
    torch.manual_seed(0)
    story = CausalVAE(
        StructuralPrior("a -> b -> d; a -> d; c; e"),
        Gaussian(nn.Linear(FEATURES, 10)),
        GaussianLearnedScale(nn.Linear(5, FEATURES)),
    )
    settings = {"values": (-1.0, 1.5), "num_units": 30, "num_samples": 50, "prob": 0.8}
    average = average_effect(story, "a", "d", **settings)
    parts = mediated_effects(story, "a", "d", "b", **settings)
    setting = "prob" if int(arviz.__version__.split(".")[0]) >= 1 else "hdi_prob"
    for found in (
        average,
        *(parts.sel(component=name) for name in ("total", "direct", "indirect")),
    ):
        low, high = np.asarray(
            arviz.hdi(found["draws"].values.astype(float), **{setting: 0.8})
        ).ravel()
        assert (found["lower"].item(), found["upper"].item()) == pytest.approx(
            (low, high), abs=1e-6
        )
        assert low < found["mean"].item() < high
        assert np.mean((found["draws"] >= low) & (found["draws"] <= high)) == pytest.approx(
            0.8, abs=0.03
        )


def test_effects_on_images_are_mediated_in_each_repetition_as_those_on_the_node_that_they_show(
    story,
):
    class ShowsD(nn.Module):
        def forward(self, z):
            return dist.Delta(z[..., 3:4].expand(*z.shape[:-1], FEATURES), event_dim=1)

    shown = linear_story(ShowsD())
    settings = {"values": (-1.0, 1.5), "num_units": 20, "num_samples": 4}
    of_images = mediated_effects(shown, "a", lambda images: images[:, 0], ["b", "c"], **settings)
    of_node = mediated_effects(story, "a", "d", ["b", "c"], **settings)
    np.testing.assert_allclose(of_images["draws"], of_node["draws"], atol=1e-5)
    assert of_images["mean"].sel(component="direct").item() == pytest.approx(
        2.5 * PATHS["a", "d"], abs=1e-5
    )


def test_a_function_of_images_sees_the_noise_of_each_unit_and_repetition():
    story, means = linear_story(), []

    def first_pixel(images):
        means.append(images[:, 0].mean().item())
        return images[:, 0]

    average_effect(story, "a", first_pixel, values=(0.0, 1.0), num_units=200, num_samples=8)
    assert len(set(means)) == 8


BAD_EFFECTS = {
    "an unknown cause": (("z", "d"), {}, KeyError, "no latent named 'z'"),
    "an unknown effect": (("a", "z"), {}, KeyError, "no latent named 'z'"),
    "one value": (
        ("a", "d"),
        {"values": (1.0,)},
        ValueError,
        "expected two values of 'a', .* got \\(1.0,\\)",
    ),
    "a number": (("a", "d"), {"values": 1.0}, ValueError, "expected two values of 'a', .* got 1.0"),
    "no such interval": (
        ("a", "d"),
        {"interval": "ci"},
        ValueError,
        "'hdi' or 'eti', got 0.94 and 'ci'",
    ),
    "no such setting": (("a", "d"), {"units": 3}, TypeError, "unexpected keyword argument 'units'"),
}


@pytest.mark.parametrize(
    ("names", "settings", "error", "message"), BAD_EFFECTS.values(), ids=list(BAD_EFFECTS)
)
def test_bad_effects_say_what_is_wrong(story, names, settings, error, message):
    with pytest.raises(error, match=message):
        average_effect(story, *names, **({"values": (0.0, 1.0)} | settings))


def test_effects_and_searches_leave_random_state_and_parameters_alone(story, x):
    state = torch.get_rng_state()
    average_effect(story, "a", "d", values=(0.0, 1.0), num_units=5, num_samples=2)
    smallest_intervention(story, x, ["b"], "d", 1.0, num_samples=2)
    assert torch.equal(state, torch.get_rng_state())
    assert not dict(pyro.get_param_store().items())
    assert all(p.grad is None for p in story.parameters())


def test_an_action_that_is_a_distribution_is_drawn_for_each_unit(story):
    light = do(story, {"a": dist.Normal(3.0, 0.1)})
    values = Population(light, Units(num_units=200, num_samples=5))
    values.simulate([{}], until=("d",))
    assert values.values["d"].std() > 0.5


def test_importing_causal_loads_no_plots_intervals_or_predictors():
    heavy = ("matplotlib", "arviz", "sklearn")
    code = f"import sys, ppl_disentangle.causal; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def rate(z):
    return nn.functional.softplus(z) + 0.1


def rows(z):
    return torch.stack([z, 0 * z, -z], -1)


AVERAGED = {
    "Poisson": lambda z: dist.Poisson(rate(z)),
    "negative binomial": lambda z: dist.NegativeBinomial(5.0, logits=z),
    "zero-inflated Poisson": lambda z: dist.ZeroInflatedPoisson(rate(z), gate=torch.tensor(0.3)),
    "binomial": lambda z: dist.Binomial(7, logits=z),
    "Gamma": lambda z: dist.Gamma(rate(z), 1.0),
    "beta": lambda z: dist.Beta(rate(z), 1.0),
    "Student-t": lambda z: dist.StudentT(3.0, z, 1.0),
    "von Mises": lambda z: dist.VonMises(z, 4.0),
    "multinomial": lambda z: dist.Multinomial(4, logits=rows(z)),
    "Dirichlet": lambda z: dist.Dirichlet(rate(rows(z))),
    "mixture": lambda z: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(*z.shape, 3)), dist.Normal(rows(z + 1), 1.0)
    ),
    "full normal": lambda z: dist.MultivariateNormal(rows(z), torch.eye(3)),
    "low-rank normal": lambda z: dist.LowRankMultivariateNormal(
        rows(z), torch.ones(3, 1), torch.ones(3)
    ),
}
SHARED = {
    "Laplace": lambda z: dist.Laplace(z, 1.0),
    "log-normal": lambda z: dist.LogNormal(z, 0.1),
    "exponential": lambda z: dist.Exponential(rate(z)),
    "uniform": lambda z: dist.Uniform(z, z + 1),
    "half-normal": lambda z: dist.HalfNormal(rate(z)),
    "Weibull": lambda z: dist.Weibull(rate(z), 2.0),
    "Bernoulli": lambda z: dist.Bernoulli(logits=z),
    "one-hot": lambda z: dist.OneHotCategorical(logits=rows(z)),
    "point": lambda z: dist.Delta(z),
}


def pair_of(likelihood):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", likelihood(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.3, 0.1))

    return as_story(model, guide, example=likelihood(torch.zeros(4)).sample())


def difference_of_means(likelihood):
    low, high = (likelihood(torch.tensor([z])).mean[0] for z in (-0.5, 1.0))
    return (high - low).numpy()


@pytest.mark.parametrize("likelihood", AVERAGED.values(), ids=list(AVERAGED))
def test_effects_on_data_without_a_shared_noise_are_those_on_their_means(likelihood):
    options = {"values": (-0.5, 1.0), "num_samples": 2}
    story = pair_of(likelihood)
    drawn = average_effect(story, "z", "x", num_units=3, **options)
    units = likelihood(torch.zeros(4)).sample()
    by_unit = individual_effects(story, "z", lambda x: x, units, **options)
    expected = difference_of_means(likelihood)
    np.testing.assert_allclose(drawn["mean"], expected, atol=1e-4)
    np.testing.assert_allclose(by_unit["mean"], np.stack([expected] * 4), atol=1e-4)
    assert drawn.attrs["noise"] == by_unit.attrs["noise"] == "mean"


@pytest.mark.parametrize("likelihood", SHARED.values(), ids=list(SHARED))
def test_effects_on_data_with_a_shared_noise_average_to_the_difference_of_means(likelihood):
    drawn = average_effect(
        pair_of(likelihood), "z", "x", values=(-0.5, 1.0), num_units=4000, num_samples=1
    )
    np.testing.assert_allclose(drawn["mean"], difference_of_means(likelihood), atol=0.06)
    assert drawn.attrs["noise"] == "shared"


def test_a_likelihood_with_neither_noise_nor_mean_is_refused_by_name():
    with pytest.raises(ValueError, match="site 'x': Cauchy has no mean"):
        individual_effects(
            pair_of(lambda z: dist.Cauchy(z, 1.0)),
            "z",
            lambda x: x,
            torch.zeros(4),
            values=(0.0, 1.0),
        )
