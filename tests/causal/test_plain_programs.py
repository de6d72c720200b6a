"""Interventions, effects and counterfactuals of programs as users write them, against hand-computed values."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppl_disentangle import GenerativeStory, as_story, do, reconstruct
from ppl_disentangle.causal import average_effect, counterfactual, individual_effects, shift, worlds
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.inference import fit
from ppl_disentangle.models import BetaVAE

W = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]])
x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def story_with(stated, *, read=lambda value: value, example=x):
    """z -> stated -> x: the mean of x is what ``read`` makes of the node, plus z W."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            node = pyro.deterministic("node", stated(z))
            return pyro.sample("x", dist.Normal(read(node) + z @ W, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 0.4).to_event(1))

    return as_story(model, guide, example=example)


STATED = {
    "a scalar": (lambda z: 2 * z[..., 0], lambda v: v[..., None]),
    "a vector": (lambda z: z * 2, lambda v: v.sum(-1, keepdim=True)),
    "a vector of one": (lambda z: 2 * z[..., :1], lambda v: v),
    "a matrix": (lambda z: z[..., None] * W, lambda v: v.sum(-2)),
    "a constant": (lambda z: torch.tensor(3.0), lambda v: v),
    "a constant vector": (lambda z: torch.tensor([3.0, 4.0]), lambda v: v.sum(-1, keepdim=True)),
}


@pytest.mark.parametrize(("stated", "read"), STATED.values(), ids=list(STATED))
def test_draws_and_reconstructions_of_a_node_stated_without_event_dim_have_the_datas_shape(
    stated, read
):
    story = story_with(stated, read=read)
    assert story.model(batch_size=4).shape == (4, 3)
    means = x[:, :2]
    torch.testing.assert_close(reconstruct(story, x), read(stated(means)) + means @ W)


@pytest.mark.parametrize(("stated", "read"), STATED.values(), ids=list(STATED))
def test_counterfactuals_pass_through_a_node_stated_without_event_dim(stated, read):
    result = counterfactual(story_with(stated, read=read), x, [{}, {"z[0]": 0.9}], num_samples=3)
    z = torch.tensor(result["z"].values)
    node = torch.tensor(result["node"].values)
    means = [read(stated(z[world])) + z[world] @ W for world in (0, 1)]
    torch.testing.assert_close(
        torch.tensor(result["x"].values[1]), x + means[1] - means[0], rtol=0, atol=1e-5
    )
    expected = stated(z)
    expected = expected.squeeze(-1) if expected.shape[-1:] == (1,) else expected
    torch.testing.assert_close(node, expected.expand_as(node))
    assert result["node"].dims[:3] == ("world", "draw", "data")


@pytest.mark.parametrize("value", [1.5, torch.linspace(-1, 1, 5)], ids=["a number", "by unit"])
def test_a_node_stated_without_event_dim_is_set_for_each_datum(value):
    story = story_with(*STATED["a scalar"][:1], read=STATED["a scalar"][1])
    result = counterfactual(story, x, [{}, {"node": value}], num_samples=3)
    nodes = torch.tensor(result["node"].values)
    assert torch.equal(nodes[1], torch.as_tensor(value).expand(3, 5))
    moved = (nodes[1] - nodes[0])[..., None]
    torch.testing.assert_close(torch.tensor(result["x"].values[1]), x + moved, rtol=0, atol=1e-5)
    drawn = poutine.trace(do(story, {"node": value}).model).get_trace(batch_size=5)
    assert torch.equal(drawn.nodes["node"]["value"], torch.as_tensor(value).expand(5))


def test_a_constant_node_is_set_by_unit():
    story = story_with(STATED["a constant"][0], read=lambda value: value[..., None])
    by_unit = torch.arange(5.0)
    result = counterfactual(story, x, {"node": by_unit}, num_samples=2)
    expected = (x + (by_unit - 3)[:, None]).expand(2, 5, 3)
    np.testing.assert_allclose(result["x"].values[0], expected, atol=1e-5)


def test_effects_on_a_node_stated_without_event_dim_are_the_closed_form():
    story = story_with(*STATED["a scalar"][:1], read=STATED["a scalar"][1])
    effect = average_effect(story, "z[0]", "node", values=(0.0, 1.0), num_units=10, num_samples=3)
    assert effect["mean"].dims == ()
    assert float(effect["mean"]) == pytest.approx(2.0)
    by_unit = individual_effects(story, "z[0]", "node", x, values=(0.0, 3.0), num_samples=3)
    np.testing.assert_allclose(by_unit["mean"], np.full(5, 6.0), rtol=1e-6)


def outside_of_plates():
    """A node that the program states between two plates, where nothing says which dims are data."""

    def model(x):
        plate = pyro.plate("data", len(x))
        with plate:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        node = pyro.deterministic("node", 2 * z)
        with plate:
            return pyro.sample("x", dist.Normal(node @ W, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 0.4).to_event(1))

    return as_story(model, guide, example=x)


def test_a_node_stated_outside_of_the_plates_has_one_value_for_each_datum():
    result = counterfactual(outside_of_plates(), x, [{}, {"node[1]": 1.0}], num_samples=3)
    assert dict(result["node"].sizes) == {"world": 2, "draw": 3, "data": 5, "node_coordinate": 2}
    moved = 1.0 - result["node"].values[0][..., 1:]
    expected = x.numpy() + moved * W[1].numpy()
    np.testing.assert_allclose(result["x"].values[1], expected, atol=1e-5)


class Series(GenerativeStory):
    """Four times of each datum, with the data plate left of the times: level, noise -> x."""

    latents = ("level", "step")

    def model(self, x=None, *, batch_size=1):
        with pyro.plate("data", batch_size if x is None else len(x), dim=-2):
            level = pyro.sample("level", dist.Normal(0.0, 1.0))
            with pyro.plate("time", 4, dim=-1):
                step = pyro.sample("step", dist.Normal(0.0, 1.0))
                loc = pyro.deterministic("loc", 3 * level + step)
                return pyro.sample("x", dist.Normal(loc, 0.1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-2):
            level = pyro.sample("level", dist.Normal(x.mean(-1, keepdim=True) / 3, 0.1))
            with pyro.plate("time", 4, dim=-1):
                pyro.sample("step", dist.Normal(x - 3 * level, 0.1))


def test_the_data_plate_may_be_left_of_others():
    series = torch.randn(5, 4)
    result = counterfactual(Series(), series, [{}, {"level": shift(1.0)}], num_samples=2)
    assert result["level"].dims == ("world", "draw", "data")
    assert result["x"].dims == ("world", "draw", "data", "plate_dim_0")
    assert dict(result["loc"].sizes) == {"world": 2, "draw": 2, "data": 5, "plate_dim_0": 4}
    expected = np.broadcast_to(series + 3, (2, 5, 4))
    np.testing.assert_allclose(result["x"].values[1], expected, atol=1e-5)
    effect = average_effect(Series(), "level", lambda x: x.mean(-1), values=(0.0, 2.0), num_units=9)
    assert float(effect["mean"]) == pytest.approx(6.0, abs=1e-4)
    drawn = do(Series(), {"level": torch.arange(3.0)[:, None]}).model(batch_size=3)
    assert (drawn.mean(-1).diff() > 0).all()


ROOTS = {
    "a full normal": lambda: dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
    "a low-rank normal": lambda: dist.LowRankMultivariateNormal(
        torch.zeros(2), torch.ones(2, 1), torch.ones(2)
    ),
    "a mixture": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)),
        dist.Normal(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 1.0).to_event(1),
    ),
    "Gamma": lambda: dist.Gamma(torch.ones(2), 1.0).to_event(1),
    "Student-t": lambda: dist.StudentT(3.0, torch.zeros(2), 1.0).to_event(1),
    "uniform": lambda: dist.Uniform(torch.zeros(2), 5.0).to_event(1),
    "exponential": lambda: dist.Exponential(torch.ones(2)).to_event(1),
    "log-normal": lambda: dist.LogNormal(torch.zeros(2), 1.0).to_event(1),
    "Poisson": lambda: dist.Poisson(torch.ones(2)).to_event(1),
    "von Mises": lambda: dist.VonMises(torch.zeros(2), 1.0).to_event(1),
    "beta": lambda: dist.Beta(torch.ones(2), 2.0).to_event(1),
    "transformed": lambda: dist.TransformedDistribution(
        dist.Gamma(torch.ones(2), 1.0).to_event(1), [dist.transforms.AffineTransform(0.0, 2.0)]
    ),
    "masked": lambda: dist.Gamma(torch.ones(2), 1.0).mask(torch.tensor([True, False])).to_event(1),
}


def of_root(root, drawn):
    """A root z and x = z W: the guide draws z from ``drawn``."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", root)
            return pyro.sample("x", dist.Normal(z.float() @ W, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", drawn)

    return as_story(model, guide, example=x)


@pytest.mark.parametrize("root", ROOTS.values(), ids=list(ROOTS))
def test_a_root_is_its_own_noise_whatever_its_distribution(root):
    posterior = dist.Uniform(torch.full((2,), 0.2), 0.8).to_event(1)
    story = of_root(
        root(), dist.Poisson(torch.ones(2)).to_event(1) if "Poisson" in str(root()) else posterior
    )
    value = 2.0 if "Poisson" in str(root()) else 0.9
    result = counterfactual(story, x, [{}, {"z[0]": value}], num_samples=4)
    z = torch.tensor(result["z"].values)
    assert torch.equal(z[1, ..., 1], z[0, ..., 1])
    assert (z[1, ..., 0] == value).all()
    expected = x + (z[1] - z[0]) @ W
    torch.testing.assert_close(torch.tensor(result["x"].values[1]), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result["x"].values[0], x.expand(4, 5, 3), atol=1e-6)


ROWS = {
    "Dirichlet": (lambda: dist.Dirichlet(torch.ones(2)), torch.tensor([0.25, 0.75])),
    "one-hot": (lambda: dist.OneHotCategorical(torch.ones(2)), torch.tensor([0.0, 1.0])),
    "counts": (lambda: dist.Multinomial(4, torch.ones(2)), torch.tensor([1.0, 3.0])),
}


@pytest.mark.parametrize(("root", "row"), ROWS.values(), ids=list(ROWS))
def test_a_root_whose_coordinates_depend_on_each_other_is_set_as_a_whole(root, row):
    result = counterfactual(of_root(root(), root()), x, [{}, {"z": row}], num_samples=4)
    z = torch.tensor(result["z"].values)
    assert torch.equal(z[1], row.expand(4, 5, 2))
    expected = x + (z[1] - z[0]) @ W
    torch.testing.assert_close(torch.tensor(result["x"].values[1]), expected, rtol=0, atol=1e-5)


def of_class():
    """A class, a code, and x = table[class] + code."""
    table = torch.tensor([-2.0, 0.0, 5.0])

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(3)))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(table[k] + z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=-(x[:, None] - table).square()))
            pyro.sample("z", dist.Normal(x, 0.1))

    return as_story(model, guide, example=torch.zeros(4)), table


def test_a_class_is_its_own_noise():
    story, table = of_class()
    units = torch.tensor([-1.9, 0.2, 4.0, 5.1])
    result = counterfactual(story, units, [{}, {"k": 2}, {"z": 0.0}], num_samples=6)
    k, z = (torch.tensor(result[name].values) for name in ("k", "z"))
    assert torch.equal(k[2], k[0])
    assert torch.equal(z[1], z[0])
    assert (k[1] == 2).all()
    expected = units + table[k[1]] - table[k[0]]
    np.testing.assert_allclose(result["x"].values[1], expected, atol=1e-5)


def of_posterior_parts(latents):
    """Two roots a, b of x; the story lists some of them."""

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Gamma(2.0, 1.0))
            return pyro.sample("x", dist.Normal(a + 10 * b, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(x, 0.1))
            pyro.sample("b", dist.Gamma(50.0, 10.0))

    return as_story(model, guide, latents=latents, example=torch.zeros(3))


@pytest.mark.parametrize("num_samples", [4, None])
def test_latents_that_the_story_does_not_list_keep_what_the_guide_drew(num_samples):
    units = torch.tensor([1.0, 2.0, 3.0])
    listed = counterfactual(of_posterior_parts(None), units, {"a": 0.0}, num_samples=num_samples)
    others = counterfactual(of_posterior_parts(["a"]), units, {"a": 0.0}, num_samples=num_samples)
    assert others["b"].values.min() > 2  # the posterior, whose mean is 5; that of the prior is 2
    np.testing.assert_array_equal(others["b"], listed["b"])
    np.testing.assert_allclose(others["x"], listed["x"], atol=1e-6)


def half_guided():
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.5))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z + 4 * k, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.1))

    return as_story(model, guide, example=torch.zeros(3))


def test_a_latent_that_the_guide_leaves_out_is_refused_by_name():
    units = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="the guide draws no 'k', which the model has"):
        counterfactual(half_guided(), units, {"z": 0.0})
    with pytest.raises(ValueError, match="the guide draws no 'k', which the model has"):
        individual_effects(half_guided(), "z", lambda x: x, units, values=(0.0, 1.0))


def test_evidence_stands_for_a_latent_that_the_guide_leaves_out():
    units = torch.tensor([1.0, 2.0, 3.0])
    evidence = {"k": torch.tensor([0.0, 1.0, 1.0])}
    result = counterfactual(half_guided(), units, [{}, {"z": 0.0}], evidence=evidence)
    assert (result["k"].values == [0.0, 1.0, 1.0]).all()
    expected = units.numpy() - result["z"].values[0]
    np.testing.assert_allclose(result["x"].values[1], expected, atol=1e-5)
    with pytest.raises(ValueError, match="evidence of 'k': expected a value for each unit"):
        counterfactual(half_guided(), units, {}, evidence={"k": torch.tensor([0.0, torch.nan, 1])})


def of_global_latent():
    """A scale that all data share: w * z -> x."""

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.ones(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(w * z[..., None], 0.1).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(torch.tensor([1.0, 2.0, 3.0]), 0.1).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 0.1))

    return as_story(model, guide, example=x)


@pytest.mark.parametrize("num_samples", [4, None])
def test_a_latent_that_all_data_share_has_one_value_in_each_draw(num_samples):
    story = of_global_latent()
    worlds = [{}, {"z": 1.0}, {"w[1]": 0.0}, {"w": torch.tensor([1.0, 1.0, 5.0])}]
    result = counterfactual(story, x, worlds, num_samples=num_samples)
    assert result["w"].dims == ("world", "draw", "w_coordinate")
    w, z = (torch.tensor(result[name].values) for name in ("w", "z"))
    loc = w[:, :, None] * z[..., None]
    expected = x + loc - loc[:1]
    torch.testing.assert_close(torch.tensor(result["x"].values), expected, rtol=0, atol=1e-5)


def test_effects_of_a_latent_that_all_data_share_are_the_closed_form():
    effect = individual_effects(
        of_global_latent(), "z", lambda x: x, x, values=(0.0, 2.0), num_samples=400
    )
    np.testing.assert_allclose(effect["mean"].values, np.tile([2.0, 4.0, 6.0], (5, 1)), atol=0.05)
    drawn = average_effect(
        of_global_latent(), "w[2]", "x", values=(0.0, 1.0), num_units=4000, num_samples=2
    )
    np.testing.assert_allclose(drawn["mean"].values, [0, 0, 0], atol=0.1)


def test_factors_of_the_density_are_no_variables():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("penalty", -z.square())
            return pyro.sample("x", dist.Normal(2 * z, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.1))

    units = torch.tensor([1.0, 2.0])
    result = counterfactual(as_story(model, guide, example=units), units, {"z": shift(1.0)})
    assert set(result.data_vars) == {"z", "x"}
    np.testing.assert_allclose(result["x"].values[0], np.tile([3.0, 4.0], (20, 1)), atol=1e-5)


def two_views(returns):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = 2 * z[..., None] + torch.zeros(3)
            pyro.sample("x", dist.Normal(loc, 0.1).to_event(1), obs=x)
            return loc if returns == "its mean" else None

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 0.1))

    return as_story(model, guide, example=x)


@pytest.mark.parametrize("returns", ["its mean", "nothing"])
def test_effects_on_data_do_not_need_a_model_that_returns_them(returns):
    effect = individual_effects(
        two_views(returns), "z", lambda x: x.sum(-1), x, values=(0.0, 1.0), num_samples=3
    )
    np.testing.assert_allclose(effect["mean"], np.full(5, 6.0), atol=1e-5)
    drawn = average_effect(
        two_views(returns), "z", "x", values=(0.0, 1.0), num_units=5, num_samples=2
    )
    np.testing.assert_allclose(drawn["mean"], np.full(3, 2.0), atol=1e-5)


def masked(mask, whole):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            likelihood = dist.Normal(z[..., None] + torch.zeros(3), 0.1)
            if whole == "element":
                return pyro.sample("x", likelihood.mask(mask).to_event(1), obs=x)
            if whole == "site":
                return pyro.sample("x", likelihood.to_event(1).mask(mask), obs=x)
            with poutine.mask(mask=mask):
                return pyro.sample("x", likelihood.to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 0.1))

    return as_story(model, guide, example=x)


MASKS = {
    "elements": ("element", torch.rand(5, 3, generator=torch.Generator().manual_seed(1)) > 0.4),
    "units by dist.mask": ("site", torch.arange(5) % 2 == 0),
    "units by poutine.mask": ("handler", torch.arange(5) % 2 == 0),
    "all of them": ("handler", False),
}


@pytest.mark.parametrize(("whole", "mask"), MASKS.values(), ids=list(MASKS))
def test_masked_entries_are_missing_rather_than_zero(whole, mask):
    zeros_for_missing = x.clone()
    measured = torch.as_tensor(mask)
    measured = (measured if whole == "element" else measured[..., None]).expand(5, 3)
    zeros_for_missing[~measured] = 0.0
    result = counterfactual(masked(mask, whole), zeros_for_missing, [{}, {"z": shift(1.0)}])
    for world in (0, 1):
        values = result["x"].values[world]
        np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(~measured, (20, 5, 3)))
        expected = np.broadcast_to(x + world, values.shape)
        np.testing.assert_allclose(values[:, measured], expected[:, measured], atol=1e-5)


def partly_labelled():
    """A class that is known of some units, and x = 5 class + z."""
    classes = torch.tensor([0, 1, 2, 0, 1])
    known = torch.tensor([True, True, False, False, True])

    def model(x):
        with pyro.plate("data", 5):
            y = pyro.sample("y", dist.Categorical(torch.ones(3)), obs=classes, obs_mask=known)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(5.0 * y + z, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", 5):
            with poutine.mask(mask=~known):
                pyro.sample("y_unobserved", dist.Categorical(logits=torch.tensor([0.0, 0.0, 99.0])))
            pyro.sample("z", dist.Normal(x, 0.1))

    return as_story(model, guide, example=torch.zeros(5)), known


def test_classes_that_are_known_of_some_units_keep_their_values():
    story, known = partly_labelled()
    units = torch.arange(5.0)
    result = counterfactual(story, units, [{}, {"z": shift(1.0)}, {"y": 0}], num_samples=3)
    assert (result["y"].values[0] == [0, 1, 2, 2, 1]).all()
    np.testing.assert_allclose(result["x"].values[1], np.tile(units + 1, (3, 1)), atol=1e-5)
    expected = units - 5 * torch.tensor([0.0, 1.0, 2.0, 2.0, 1.0])
    np.testing.assert_allclose(result["x"].values[2], np.tile(expected, (3, 1)), atol=1e-5)
    assert (np.isnan(result["y_observed"].values) == ~known.numpy()).all()
    with pytest.raises(ValueError, match="7 is outside .* 'y'.* whole numbers from 0 to 2"):
        do(story, {"y": 7})


def test_a_plate_that_draws_some_of_the_units_is_refused_by_name():
    def model(x):
        with pyro.plate("units", len(x), subsample_size=2) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z, 0.1), obs=x[index])

    def guide(x):
        with pyro.plate("units", len(x), subsample_size=2) as index:
            pyro.sample("z", dist.Normal(x[index], 0.1))

    units = torch.arange(5.0)
    with pytest.raises(ValueError, match="plate 'units' draws 2 of 5 units"):
        counterfactual(as_story(model, guide, example=units), units, {"z": 0.0})


def test_a_batch_stands_for_more_data():
    """The usual way to scale a batch up: a plate of all data with the size of the batch."""

    def model(x):
        with pyro.plate("data", 100, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(2 * z, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", 100, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, 0.1))

    units = torch.arange(5.0)
    story = as_story(model, guide, example=units)
    result = counterfactual(story, units, [{}, {"z": shift(1.0)}], num_samples=2)
    np.testing.assert_allclose(result["x"].values[1], np.tile(units + 2, (2, 1)), atol=1e-5)


def test_units_of_a_story_fitted_to_more_data():
    story = BetaVAE(Gaussian(nn.Linear(3, 4)), GaussianLearnedScale(nn.Linear(2, 3)), 2)
    fit(story, torch.rand(50, 3), steps=2, batch_size=10, progress=False)
    units = torch.rand(4, 3)
    result = counterfactual(story, units, [{}, {"z[0]": shift(1.0)}], num_samples=2)
    change = story.decoder.net.weight[:, 0].detach()
    expected = np.tile(units + change, (2, 1, 1))
    np.testing.assert_allclose(result["x"].values[1], expected, atol=1e-5)


def by_place(read):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(5), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(read(z), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(5), 0.4).to_event(1))

    return as_story(model, guide, example=x)


NETWORK = torch.nn.Conv1d(1, 1, 3)
BY_PLACE = {
    "a column": lambda z: z[:, :3],
    "an index": lambda z: z[:, 0, None] * torch.ones(3),
    "an average": lambda z: z.mean(1, keepdim=True) * torch.ones(3),
    "a network": lambda z: NETWORK(z[:, None])[:, 0],
    "a flat view": lambda z: z.reshape(len(z), -1)[..., :3],
}


@pytest.mark.parametrize("read", BY_PLACE.values(), ids=list(BY_PLACE))
def test_a_program_that_counts_dims_from_the_left_is_refused_rather_than_wrong(read):
    message = "the model of .* several worlds.*count dims from the right"
    with pytest.raises(ValueError, match=message):
        counterfactual(by_place(read), x, [{}, {"z[0]": 1.0}], num_samples=5)
    with pytest.raises(ValueError, match=message):
        average_effect(by_place(read), "z[0]", "x", values=(0.0, 1.0), num_units=5, num_samples=5)


def test_worlds_of_a_program_with_a_node_without_event_dim_equal_single_interventions():
    story = story_with(*STATED["a vector"][:1], read=STATED["a vector"][1])
    actions = [{}, {"node": 2.0}, {"z[1]": 1.0}]
    torch.manual_seed(3)
    together = worlds(story, actions).values(batch_size=4)
    for world, action in enumerate(actions):
        torch.manual_seed(3)
        alone = do(story, action).model(batch_size=4)
        torch.testing.assert_close(together["x"][world], alone)
