"""Interventions: the values that are set, the sites that follow from them, and error messages."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.causal.actions import shift
from ppl_disentangle.causal.interventions import intervenable
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.models import BetaVAE, CausalVAE
from ppl_disentangle.representation import decode, encode, reconstruct
from ppl_disentangle.sites import site_values
from ppl_disentangle.traversal import traverse


@pytest.fixture
def story():
    torch.manual_seed(0)
    story = BetaVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4)
    story.coordinate_names = {"z": ("hue", "size", "x", "y")}
    return story


def effective(story, batch_size=3):
    return poutine.trace(story.model).get_trace(batch_size=batch_size).nodes["z"]["value"]


VALUES = {
    "an int": 2,
    "a numpy float": np.float64(2.0),
    "a numpy array": np.full(4, 2.0),
    "an int64 tensor": torch.full((4,), 2),
    "one value per datum": torch.full((3, 4), 2.0, dtype=torch.float64),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=list(VALUES))
def test_values_take_the_latents_shape_and_dtype(story, value):
    z = effective(do(story, {"z": value}))
    assert torch.equal(z, torch.full((3, 4), 2.0))
    assert z.dtype == torch.float32


@pytest.mark.parametrize("name", ["z[1]", "size"])
def test_one_coordinate_is_set_and_the_others_keep_their_draws(story, name):
    trace = poutine.trace(do(story, {name: torch.tensor([1.0, 2.0, 3.0])}).model).get_trace(
        batch_size=3
    )
    natural, z = trace.nodes["z_natural"]["value"], trace.nodes["z"]["value"]
    assert z[:, 1].tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(z[:, [0, 2, 3]], natural[:, [0, 2, 3]])
    assert torch.equal(trace.nodes["x"]["fn"].base_dist.logits, story.decoder(z).base_dist.logits)


def test_a_whole_latent_is_what_pyro_do_makes_of_it(story):
    value = torch.randn(3, 4)
    pyro.set_rng_seed(1)
    ours = do(story, {"z": value}).model(batch_size=3)
    pyro.set_rng_seed(1)
    assert torch.equal(ours, pyro.do(story.model, data={"z": value})(batch_size=3))


def test_every_coordinate_set_alone_is_the_latent_set_as_a_whole(story):
    value = torch.randn(4)
    pyro.set_rng_seed(1)
    whole = do(story, {"z": value}).model(batch_size=3)
    pyro.set_rng_seed(1)
    assert torch.equal(
        whole, do(story, {f"z[{i}]": v for i, v in enumerate(value)}).model(batch_size=3)
    )


def test_interventions_on_other_coordinates_compose(story):
    twice = effective(do(do(story, {"hue": 1.0}), {"size": 2.0}))
    assert torch.equal(twice[:, 0], torch.ones(3))
    assert torch.equal(twice[:, 1], torch.full((3,), 2.0))
    assert twice[:, 2].std() > 0


def test_the_factual_value_changes_nothing(story):
    x = torch.rand(5, 6)
    means = torch.tensor(encode(story, x)["mean"].values)
    torch.testing.assert_close(
        reconstruct(do(story, {"z[2]": means[:, 2]}), x), reconstruct(story, x)
    )


def test_the_intervened_pair_is_a_pair_for_any_elbo(story):
    x = torch.rand(5, 6).round()
    intervened = do(story, {"z[0]": 1.0})
    pyro.set_rng_seed(0)
    natural = TraceMeanField_ELBO().loss(story.model, story.guide, x)
    pyro.set_rng_seed(0)
    assert TraceMeanField_ELBO().loss(intervened.model, intervened.guide, x) != natural
    assert intervened.latents == ("z_natural",)
    assert list(encode(intervened, x)["code"].values) == ["hue", "size", "x", "y"]


def test_do_uses_no_random_numbers_and_leaves_the_story_alone(story):
    state = torch.get_rng_state()
    do(story, {"z": 1.0})
    assert torch.equal(state, torch.get_rng_state())
    assert effective(story).std() > 0


BAD = {
    "an unknown name": (
        {"zz": 1.0},
        KeyError,
        "no latent named 'zz'; the story has .*; did you mean 'z'",
    ),
    "no close name": (
        {"shape": 1.0},
        KeyError,
        r"no latent named 'shape'; the story has \['z', 'hue', 'size', 'x', 'y'\]",
    ),
    "a coordinate too far": (
        {"z[4]": 1.0},
        KeyError,
        r"no coordinate 'z\[4\]': latent 'z' has 4 coordinates",
    ),
    "not a number": ({"z": float("nan")}, ValueError, r"do\('z'\): the value is not finite"),
    "a dimension too many": (
        {"z": torch.zeros(5, 1, 4)},
        ValueError,
        r"broadcasts to .*, got shape \(5, 1, 4\)",
    ),
    "a wrong shape": (
        {"z": torch.zeros(3)},
        ValueError,
        r"do\('z'\): .* broadcasts to .*, got shape \(3,\)",
    ),
    "set twice": ({"z[1]": 1.0, "size": 2.0}, ValueError, "coordinate 1 of 'z' is set twice"),
    "whole and part": (
        {"z": 1.0, "z[1]": 2.0},
        ValueError,
        "'z' is set as a whole and in a coordinate",
    ),
    "no number at all": (
        {"z": "high"},
        TypeError,
        r"do\('z'\): expected a number, a tensor, an array, a distribution or .*, got str",
    ),
}


@pytest.mark.parametrize(("values", "error", "message"), BAD.values(), ids=list(BAD))
def test_bad_interventions_say_what_is_wrong(story, values, error, message):
    with pytest.raises(error, match=message):
        do(story, values)


def test_a_batch_that_does_not_fit_is_refused_at_the_call(story):
    with pytest.raises(
        ValueError, match=r"do\('z'\): expected a value that broadcasts to \(3, 4\), got \(5, 4\)"
    ):
        do(story, {"z": torch.zeros(5, 4)}).model(batch_size=3)
    with pytest.raises(
        ValueError, match=r"do\('z\[1\]'\): expected a value that broadcasts to \(3,\), got \(5,\)"
    ):
        do(story, {"z[1]": torch.zeros(5)}).model(batch_size=3)


def test_names_of_coordinates_must_be_as_many_as_there_are(story):
    story.coordinate_names = {"z": ("a", "b")}
    with pytest.raises(ValueError, match="latent 'z' has 4 coordinates, coordinate_names has 2"):
        encode(story, torch.rand(2, 6))


def test_traversals_need_one_observation_and_rows_of_one_length(story):
    with pytest.raises(ValueError, match="expected one observation, got 2"):
        traverse(story, torch.rand(2, 6), {"hue": [0.0]})
    with pytest.raises(ValueError, match=r"as many values for each coordinate, got \[1, 2\]"):
        traverse(story, torch.rand(1, 6), {"hue": [0.0], "x": [0.0, 1.0]})


def test_decode_needs_all_latents(story):
    assert decode(story, {"z": torch.zeros(2, 4)}).shape == (2, 6)


DISTRIBUTIONS = {
    "of Pyro": lambda: dist.Normal(3.0, 0.01),
    "of the whole event": lambda: dist.Normal(torch.full((4,), 3.0), 0.01).to_event(1),
    "of torch": lambda: torch.distributions.Uniform(2.99, 3.01),
    "a point": lambda: dist.Delta(torch.tensor(3.0)),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def test_a_distribution_is_drawn_from_for_each_datum(story, distribution):
    z = effective(do(story, {"z": distribution()}), batch_size=200)
    assert z.shape == (200, 4)
    torch.testing.assert_close(z, torch.full((200, 4), 3.0), rtol=0, atol=0.1)
    assert len(z.unique()) > 700 or isinstance(distribution(), dist.Delta)


def test_a_distribution_of_a_coordinate_leaves_the_others(story):
    trace = poutine.trace(do(story, {"size": dist.Normal(9.0, 0.1)}).model).get_trace(batch_size=50)
    z, natural = trace.nodes["z"]["value"], trace.nodes["z_natural"]["value"]
    assert torch.equal(z[:, [0, 2, 3]], natural[:, [0, 2, 3]])
    assert abs(z[:, 1].mean() - 9) < 0.1


ACTIONS = {
    "a shift": (shift(0.5), lambda natural: natural + 0.5),
    "a shift by datum": (shift(torch.arange(3.0)), lambda natural: natural + torch.arange(3.0)),
    "a function": (torch.square, torch.square),
    "a function to a number": (lambda natural: 2.0, torch.zeros_like),
}


@pytest.mark.parametrize(("action", "expected"), ACTIONS.values(), ids=list(ACTIONS))
def test_a_function_reads_the_natural_value(story, action, expected):
    trace = poutine.trace(do(story, {"z[2]": action}).model).get_trace(batch_size=3)
    natural, z = trace.nodes["z_natural"]["value"][:, 2], trace.nodes["z"]["value"][:, 2]
    assert torch.equal(
        z,
        expected(natural)
        if action is not ACTIONS["a function to a number"][0]
        else 2 + 0 * natural,
    )


@pytest.fixture
def causal():
    torch.manual_seed(0)
    prior = StructuralPrior("light -> shadow")
    return CausalVAE(prior, Gaussian(nn.Linear(6, 4)), Bernoulli(nn.Linear(2, 6)))


# light -> shadow
@pytest.mark.parametrize("value", [torch.arange(3.0), torch.arange(3.0)[:, None], np.arange(3)])
def test_a_node_of_one_coordinate_takes_one_number_for_each_datum(causal, value):
    values = site_values(poutine.trace(do(causal, {"light": value}).model).get_trace(batch_size=3))
    assert values["light"].tolist() == [[0.0], [1.0], [2.0]]
    above = torch.arange(3.0)[:, None]
    torch.testing.assert_close(
        values["shadow"], causal.prior.mechanisms["shadow"](values["shadow_noise"], above)
    )


def test_an_intervention_on_an_intervened_node_is_refused_rather_than_ignored(causal):
    for already_set in (1.0, shift(1.0)):
        with pytest.raises(
            ValueError, match=r"do\('shadow'\): an intervention on this story has set it already"
        ):
            do(do(do(causal, {"shadow": already_set}), {"light": 1.0}), {"shadow": 2.0})
    nested = do(do(causal, {"shadow": torch.arange(3.0)}), {"light": 1.0})
    values = site_values(poutine.trace(nested.model).get_trace(batch_size=3))
    assert (values["light"] == 1).all()
    assert values["shadow"].flatten().tolist() == [0.0, 1.0, 2.0]


def test_what_can_be_set_of_an_intervened_story_is_what_its_trace_has(causal):
    intervened = do(causal, {"shadow": 1.0})
    values = site_values(poutine.trace(intervened.model).get_trace(batch_size=2))
    assert intervenable(intervened).keys() == values.keys() - {"x", "shadow"}


def test_reading_what_can_be_set_leaves_running_statistics_and_modes_alone(story):
    norm = nn.BatchNorm1d(6)
    story.decoder.net = nn.Sequential(nn.Linear(4, 6), norm, nn.Dropout().eval())
    before = norm.running_mean.clone()
    do(story, {"z": 1.0})
    assert torch.equal(norm.running_mean, before)
    assert norm.num_batches_tracked == 0
    assert [module.training for module in story.decoder.net] == [True, True, False]
