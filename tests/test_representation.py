"""Codes, reconstructions and results of any program: plates, shared latents, classes, observed sites."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import nn
from torch.distributions.transforms import TanhTransform

from ppl_disentangle import (
    GenerativeStory,
    as_story,
    counterfactual,
    decode,
    do,
    encode,
    reconstruct,
    to_datatree,
    traverse,
)
from ppl_disentangle.causal import average_effect
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import elbo_per_datum, fit

NUM, TIME = 20, 7
X = torch.randn(NUM, TIME, generator=torch.Generator().manual_seed(0))


# -- plates --------------------------------------------------------------------------------------
def inner_time(x):
    """The plate over time is right of the plate over the data, which is at dim -2."""
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))
        with pyro.plate("time", x.shape[1], dim=-1):
            w = pyro.sample("w", dist.Normal(z, 1.0))
            pyro.sample("x", dist.Normal(w, 0.5), obs=x)


def inner_time_guide(x):
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("z", dist.Normal(x.mean(1, keepdim=True), 1.0))
        with pyro.plate("time", x.shape[1], dim=-1):
            pyro.sample("w", dist.Normal(x, 0.1))


def outer_time(x):
    """The plate over time is left of the plate over the data."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("time", x.shape[1], dim=-2):
            w = pyro.sample("w", dist.Normal(z, 1.0))
            pyro.sample("x", dist.Normal(w, 0.5), obs=x.T)


def outer_time_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x.mean(1), 1.0))
        with pyro.plate("time", x.shape[1], dim=-2):
            pyro.sample("w", dist.Normal(x.T, 0.1))


NESTED = {"inner": (inner_time, inner_time_guide), "outer": (outer_time, outer_time_guide)}


@pytest.mark.parametrize(("model", "guide"), NESTED.values(), ids=list(NESTED))
def test_the_elements_of_a_plate_inside_the_data_are_codes_of_their_datum(model, guide):
    codes = encode(as_story(model, guide, example=X), X, batch_size=6)
    assert codes["code"].values.tolist() == ["z", *(f"w[time={i}]" for i in range(TIME))]
    np.testing.assert_allclose(codes["mean"][:, 0], X.mean(1), atol=1e-6)
    np.testing.assert_allclose(codes["mean"][:, 1:], X, atol=1e-6)
    np.testing.assert_allclose(codes["scale"][0], [1.0] + TIME * [0.1], atol=1e-6)


@pytest.mark.parametrize(("model", "guide"), NESTED.values(), ids=list(NESTED))
def test_results_name_plates_and_put_the_data_first(model, guide):
    tree = to_datatree(as_story(model, guide, example=X), from_arrays(X), draws=3, num_data=5)
    assert tree["posterior"]["z"].dims == ("chain", "draw", "data")
    assert tree["posterior"]["w"].dims == ("chain", "draw", "data", "time")
    assert tree["prior"]["w"].dims == ("chain", "draw", "drawn_unit", "time")
    assert tree["log_likelihood"]["x"].dims == ("chain", "draw", "data")
    rows = tree["observed_data"]["data"].values.tolist()
    assert tree["posterior"]["w"].mean(("chain", "draw")).values == pytest.approx(
        X[rows].numpy(), abs=0.4
    )
    if model is inner_time:
        assert tree["observed_data"]["x"].dims == ("data", "time")
        np.testing.assert_array_equal(tree["observed_data"]["x"], X[rows])


def test_a_traversal_in_a_plate_at_another_dim_is_right():
    story = as_story(inner_time, inner_time_guide, example=X)
    images = traverse(story, X[:1], {"w": [0.0, 2.0]})
    assert images.values.tolist() == [[TIME * [0.0], TIME * [2.0]]]
    moved = traverse(story, X[:1], {"z": [0.0, 2.0]}).values
    np.testing.assert_allclose(moved[0, 0], X[0], atol=1e-6)  # w has its own posterior mean


# -- latents that all data share -----------------------------------------------------------------
def with_offset(x):
    offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        mean = (z + offset)[..., None] * torch.ones(TIME)
        pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


def with_offset_guide(x):
    pyro.sample("offset", dist.Normal(5.0, 0.1))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.mean(1), 1.0))


def offset_unknown(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.mean(1), 1.0))


@pytest.mark.parametrize("latents", [None, ("z",)], ids=["all latents", "one latent"])
def test_a_reconstruction_has_all_that_the_guide_drew(latents):
    story = as_story(with_offset, with_offset_guide, example=X, latents=latents)
    right = (X.mean(1) + 5.0)[:, None].expand(NUM, TIME)
    torch.testing.assert_close(reconstruct(story, X), right)
    images = traverse(story, X[:1], {"z": [0.0, 3.0]})
    assert images.values == pytest.approx(np.array([[TIME * [5.0], TIME * [8.0]]]))
    codes = encode(story, X)
    assert codes["code"].values.tolist() == ["z"]


def test_a_shared_latent_has_no_dim_of_the_data():
    story = as_story(with_offset, with_offset_guide, example=X)
    tree = to_datatree(story, from_arrays(X), draws=4, num_data=5)
    assert tree["posterior"]["offset"].dims == ("chain", "draw")
    assert tree["posterior"]["offset"].values == pytest.approx(5.0, abs=0.5)
    assert tree["prior"]["offset"].dims == ("chain", "draw")
    images = traverse(story, X[:1], {"offset": [0.0, 3.0]})
    expected = X[0].mean().item() + np.array([0.0, 3.0])
    np.testing.assert_allclose(images[0, :, 0], expected, atol=1e-6)


def only_components(x):
    with pyro.plate("components", 4):
        centre = pyro.sample("centre", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(centre.mean(), 1.0).expand([TIME]).to_event(1), obs=x)


def only_components_guide(x):
    with pyro.plate("components", 4):
        pyro.sample("centre", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize("num", [4, 20], ids=["as many data", "more data"])
def test_codes_of_data_that_have_no_latent_of_their_own_are_refused(num):
    story = as_story(only_components, only_components_guide, example=X[:num])
    with pytest.raises(ValueError, match=r"all data share the latents \['centre'\]"):
        encode(story, X[:num])


def test_a_latent_that_nobody_drew_is_refused_by_name():
    story = as_story(with_offset, offset_unknown, example=X)
    for function in (
        lambda: reconstruct(story, X),
        lambda: traverse(story, X[:1], {"z": [0.0]}),
        lambda: decode(story, {"z": X.mean(1)}),
        lambda: to_datatree(story, from_arrays(X), draws=1),
        lambda: counterfactual(story, X, {"z": 1.0}),
    ):
        with pytest.raises(ValueError, match="'offset'"):
            function()
    given = decode(story, {"z": X.mean(1), "offset": torch.full((NUM,), 2.0)})
    torch.testing.assert_close(given, (X.mean(1) + 2.0)[:, None].expand(NUM, TIME))
    with pytest.raises(KeyError, match="has no latent 'y'"):
        decode(story, {"y": X})


def test_plates_that_are_not_called_data_are_asked_for():
    def model(x):
        with pyro.plate("rows", len(x), dim=-2), pyro.plate("time", TIME, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x), dim=-2), pyro.plate("time", TIME, dim=-1):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(ValueError, match="call that plate 'data'"):
        encode(as_story(model, guide, example=X), X)


# -- posteriors of all kinds ---------------------------------------------------------------------
def classes(x):
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Categorical(torch.ones(3)))
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        mean = (kind + z)[..., None] * torch.ones(TIME)
        pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


def classes_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("kind", dist.Categorical(logits=x[:, :3]))
        pyro.sample("z", dist.Normal(x.mean(1), 1.0))


def test_codes_of_integer_classes_are_their_probabilities():
    story = as_story(classes, classes_guide, example=X)
    codes = encode(story, X)
    assert codes["code"].values.tolist() == ["kind[0]", "kind[1]", "kind[2]", "z"]
    np.testing.assert_allclose(codes["mean"][:, :3], X[:, :3].softmax(-1), atol=1e-6)
    most_probable = X[:, :3].argmax(-1)
    torch.testing.assert_close(reconstruct(story, X)[:, 0], most_probable + X.mean(1))


def test_a_flow_without_a_stated_mean_is_drawn_from():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = z[..., :1] * torch.ones(TIME)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            base = dist.Normal(x[:, :2], 0.2).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [TanhTransform()]))

    story = as_story(model, guide, example=X)
    codes = encode(story, X)
    draws = torch.tanh(X[:, :2] + 0.2 * torch.randn(100_000, 1, 1))
    np.testing.assert_allclose(codes["mean"], draws.mean(0), atol=0.03)
    np.testing.assert_allclose(codes["scale"], draws.std(0), atol=0.03)
    assert reconstruct(story, X).numpy() == pytest.approx(
        np.tile(codes["mean"].values[:, :1], TIME), abs=0.03
    )


@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal])
def test_automatic_guides_encode_the_data_that_they_were_made_for(guide):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    x = torch.randn(150, 3)
    story = as_story(model, guide(model), example=x)
    codes = encode(story, x)  # more data than a batch has
    assert codes.sizes == {"data": 150, "code": 3}
    with torch.no_grad():
        traces = [poutine.trace(story.guide).get_trace(x) for _ in range(300)]
        draws = torch.stack([trace.nodes["z"]["value"] for trace in traces])
    np.testing.assert_allclose(codes["mean"], draws.mean(0), atol=0.08)
    tree = to_datatree(story, from_arrays(x), draws=2, num_data=5)
    assert tree["posterior"].sizes["data"] == 150
    with pytest.raises(ValueError, match="one value for each of the 150 data"):
        encode(story, x[:149])


# -- observed sites ------------------------------------------------------------------------------
PIXELS = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()


class Tutorial(nn.Module):
    """The VAE of Pyro's tutorial: it observes a reshaped x and returns the decoder's mean."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(64, 4)
        self.decoder = nn.Linear(2, 64)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(x.shape[0], 2), 1.0).to_event(1))
            loc_img = self.decoder(z).sigmoid()
            pyro.sample("obs", dist.Bernoulli(loc_img).to_event(1), obs=x.reshape(-1, 64))
            return loc_img

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = self.encoder(x.reshape(-1, 64)).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))

    def means(self, x):
        with torch.no_grad():
            loc = self.encoder(x.reshape(-1, 64))[:, :2]
            return loc, self.decoder(loc).sigmoid().reshape(x.shape)


class Returning(GenerativeStory):
    """The same as a story, which returns what it is told to."""

    latents = ("latent",)

    def __init__(self, returned):
        super().__init__()
        self.pair = Tutorial()
        self.returned = returned

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            z = pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = self.pair.decoder(z).sigmoid()
            pixels = None if x is None else x.reshape(-1, 64)
            pyro.sample("obs", dist.Bernoulli(loc).to_event(1), obs=pixels)
        return loc if self.returned == "mean" else None

    def guide(self, x):
        with self.data_plate(x):
            loc, log_scale = self.pair.encoder(x.reshape(-1, 64)).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))


def tutorial(kind):
    if kind == "pair":
        pair = Tutorial()
        return as_story(pair.model, pair.guide, example=PIXELS), pair
    story = Returning(kind)
    return story, story.pair


@pytest.mark.parametrize("kind", ["pair", "mean", "nothing"])
def test_the_form_of_the_tutorial_comes_back_in_the_shape_of_x(kind):
    story, pair = tutorial(kind)
    codes, images = pair.means(PIXELS)
    torch.testing.assert_close(reconstruct(story, PIXELS), images)
    decoded = decode(story, {"latent": codes})
    torch.testing.assert_close(decoded.reshape(images.shape), images)
    varied = traverse(story, PIXELS[:1], {"latent[0]": [0.0, 1.0]})
    assert varied.dims == ("code", "position", "channel", "row", "column")
    codes = codes[:1].repeat(2, 1)
    codes[:, 0] = torch.tensor([0.0, 1.0])
    with torch.no_grad():
        right = pair.decoder(codes).sigmoid().reshape(2, 1, 8, 8)
    np.testing.assert_allclose(varied.values[0], right, atol=1e-6)


@pytest.mark.parametrize("kind", ["pair", "mean", "nothing"])
def test_effects_on_images_work_from_the_observed_site(kind):
    story, _ = tutorial(kind)
    seen = []

    def brightness(images):
        seen.append(tuple(images.shape[1:]))
        return images.flatten(1).mean(1)

    options = {"values": (0.0, 2.0), "num_samples": 2}
    of_units = average_effect(story, "latent[0]", brightness, x=PIXELS, **options)["mean"].item()
    assert set(seen) == {(1, 8, 8)}
    what_if = counterfactual(story, PIXELS, [{"latent[0]": v} for v in (0.0, 2.0)], num_samples=2)
    means = what_if["obs"].mean(("draw", "data", "obs_dim_0")).values
    assert of_units == pytest.approx(means[1] - means[0], abs=1e-5)
    drawn = average_effect(
        story, "latent[0]", lambda x: x.flatten(1).mean(1), num_units=5, **options
    )
    assert np.isfinite(drawn["mean"].item())


def test_a_pair_of_the_tutorial_draws_images_not_means():
    story, _ = tutorial("pair")
    for program in (story, do(story, {"latent[0]": 1.0})):
        draws = program.model(batch_size=3)
        assert draws.shape == (3, 1, 8, 8)
        assert set(draws.unique().tolist()) <= {0.0, 1.0}
    fit(story, from_arrays(PIXELS), steps=2, batch_size=3, progress=False)


def parts(x, y):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pair = dist.Normal((z + y)[..., None] * torch.ones(2), 1.0).to_event(1)
        pyro.sample("numbers", pair, obs=x[:, :2])
        logits = torch.stack([z, 2 * z + 1, 0 * z], -1)
        pyro.sample("kind", dist.Categorical(logits=logits), obs=x[:, 2].long())
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def parts_guide(x, y):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, 0] + y, 1.0))


TABLE = torch.cat([X[:, :2], (torch.arange(NUM) % 3)[:, None].float()], 1)
Y = X[:, 3]


def test_several_observed_sites_are_put_together_in_the_columns_of_x():
    story = as_story(parts, parts_guide, example=TABLE, y=Y)
    z = TABLE[:, 0] + Y
    most_probable = torch.stack([z, 2 * z + 1, 0 * z], -1).argmax(-1).float()
    right = torch.stack([z + Y, z + Y, most_probable], -1)
    torch.testing.assert_close(reconstruct(story, TABLE, y=Y), right)
    torch.testing.assert_close(decode(story, {"z": z}, y=Y), right)
    one = traverse(story, TABLE[:1], {"z": [0.0, 1.0]}, y=Y[:1])
    y = Y[0].item()
    np.testing.assert_allclose(one[0], [[y, y, 1], [1 + y, 1 + y, 1]], atol=1e-6)


def test_draws_of_several_sites_keep_what_is_given():
    story = as_story(parts, parts_guide, example=TABLE, y=Y)
    trace = poutine.trace(story.model).get_trace(batch_size=5, y=torch.full((5,), 30.0))
    drawn = trace.nodes["_RETURN"]["value"]
    assert drawn.shape == (5, 3)
    assert torch.equal(trace.nodes["y"]["value"], torch.full((5,), 30.0))
    assert torch.equal(drawn[:, :2], trace.nodes["numbers"]["value"])
    assert torch.equal(drawn[:, 2], trace.nodes["kind"]["value"].float())
    assert (drawn[:, :2] > 20).all()


def test_a_function_of_x_among_several_sites_is_refused_by_name():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("first", dist.Normal(z, 1.0), obs=x[:, 0])
            pyro.sample("sum", dist.Normal(z, 1.0), obs=x.sum(1))

    story = as_story(model, offset_unknown, example=X)
    with pytest.raises(ValueError, match="observed site 'sum' of .* holds a function of x"):
        reconstruct(story, X)


def test_a_factor_is_no_observed_site():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("penalty", -z.square())
            mean = z[..., None] * torch.ones(TIME)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    story = as_story(model, offset_unknown, example=X)
    torch.testing.assert_close(reconstruct(story, X), X.mean(1)[:, None].expand(NUM, TIME))
    assert story.model(batch_size=3).shape == (3, TIME)
    tree = to_datatree(story, from_arrays(X), draws=1, num_data=3)
    assert list(tree["observed_data"]) == ["x"]


def test_a_likelihood_without_a_mean_is_named():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            base = dist.Normal(z[..., None] * torch.ones(TIME), 1.0).to_event(1)
            pyro.sample("x", dist.TransformedDistribution(base, [TanhTransform()]), obs=x)

    story = as_story(model, offset_unknown, example=X.tanh())
    with pytest.raises(ValueError, match="site 'x': TransformedDistribution states no mean"):
        reconstruct(story, X.tanh())


def test_results_name_the_rows_of_the_users_data():
    data = from_arrays(X).subset(torch.arange(NUM).flip(0)).subset(torch.tensor([1, 3, 5]))
    rows = [NUM - 2, NUM - 4, NUM - 6]
    story = as_story(with_offset, with_offset_guide, example=X)
    assert encode(story, data)["data"].values.tolist() == rows
    assert counterfactual(story, data, {"z": 1.0})["data"].values.tolist() == rows
    tree = to_datatree(story, data, draws=1, num_data=2)
    for row, x in zip(tree["observed_data"]["data"], tree["observed_data"]["x"], strict=True):
        np.testing.assert_array_equal(x, X[int(row)])
    local = as_story(classes, classes_guide, example=X)
    assert elbo_per_datum(local, data)["data"].values.tolist() == rows
