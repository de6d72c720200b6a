"""Effects against path matrices, the support of the data, and the smallest intervention against its closed form."""

import warnings

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.causal.actions import shift
from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.data_range import OutsideDataWarning, data_range
from ppl_disentangle.causal.effects import (
    average_effect,
    conditional_effects,
    individual_effects,
    mediated_effects,
)
from ppl_disentangle.causal.mechanisms import AdditiveNoise, AffineMechanism, LinearGaussian
from ppl_disentangle.causal.population import Population, Units, interval_of
from ppl_disentangle.causal.smallest_intervention import smallest_intervention
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.models import BetaVAE, CausalVAE

# a -> b -> d, a -> c -> d, a -> d, and e alone
NODES = ("a", "b", "c", "d", "e")
PATHS = {("a", "b"): 0.9, ("a", "c"): -0.5, ("b", "d"): 0.7, ("c", "d"): 1.1, ("a", "d"): 0.3}
FEATURES, BATCH = 6, 4


def total_effects():
    weights = np.zeros((5, 5))
    for (cause, effect), weight in PATHS.items():
        weights[NODES.index(effect), NODES.index(cause)] = weight
    return np.linalg.inv(np.eye(5) - weights)


def linear_story(decoder=None):
    torch.manual_seed(0)
    prior = StructuralPrior("; ".join(f"{a} -> {b}" for a, b in PATHS) + "; e", LinearGaussian)
    for node in prior.names:
        if prior.parents[node]:
            prior.mechanisms[node].weight.data = torch.tensor(
                [[PATHS[p, node] for p in prior.parents[node]]]
            )
    encoder = Gaussian(nn.Linear(FEATURES, 10))
    return CausalVAE(prior, encoder, decoder or GaussianLearnedScale(nn.Linear(5, FEATURES)))


@pytest.fixture
def story():
    return linear_story()


@pytest.fixture
def x():
    return torch.rand(BATCH, FEATURES, generator=torch.Generator().manual_seed(1))


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
    """effect = cause * mediator + noise: neither of both has an effect of its own alone."""

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


def test_the_support_is_the_range_and_the_shape_of_the_data(seen):
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
def test_a_value_out_of_range_is_warned_of_by_name_and_range(follower, seen):
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


def test_a_leaf_torn_from_its_parent_is_warned_of_although_its_value_is_in_range(follower, seen):
    with pytest.warns(
        OutsideDataWarning, match="leaf = 1: each value is in its range, but with the other nodes"
    ):
        do(follower, {"leaf": 1.0}, data_range=seen)
    units = torch.tensor([[-1.0, -1.0], [-1.1, -1.1], [1.0, 1.0]])
    with pytest.warns(OutsideDataWarning, match="67% of the units are farther"):
        counterfactual(follower, units, [{}, {"leaf": 1.0}], data_range=seen)


@pytest.mark.parametrize(("leaf", "warned"), [(0.13, False), (0.18, True)])
def test_the_limit_of_the_joint_support_is_three_deviations_of_the_leaf(
    follower, seen, leaf, warned
):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        counterfactual(follower, torch.zeros(1, 2), {"leaf": leaf}, data_range=seen)
    assert bool(caught) == warned


def test_inside_the_support_nobody_is_warned(follower, seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        do(follower, {"cause": 1.0}, data_range=seen)
        do(follower, {"cause": torch.tensor([1.0, -1.0, 0.0])}, data_range=seen)
        do(follower, {"cause": shift(0.0)}, data_range=seen)
        counterfactual(
            follower, torch.ones(3, 2), [{}, {"cause": 1.0}, {"leaf": 1.05}], data_range=seen
        )


def test_the_support_of_an_isotropic_code_is_by_coordinate():
    torch.manual_seed(0)
    story = BetaVAE(Gaussian(nn.Linear(FEATURES, 6)), Bernoulli(nn.Linear(3, FEATURES)), 3)
    story.coordinate_names = {"z": ("hue", "size", "angle")}
    seen = data_range(story, torch.rand(100, FEATURES))
    with pytest.warns(OutsideDataWarning, match="size = 30: 'size' is between") as caught:
        do(story, {"size": 30.0}, data_range=seen)
    assert len(caught) == 1


def test_the_support_needs_more_data_than_coordinates(follower):
    with pytest.raises(ValueError, match="expected more data than the 2 coordinates, got 2"):
        data_range(follower, torch.zeros(2, 2))


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
