"""Steps taken by a graph: the same weights as the eager step's, or a reason why not."""

import copy
import re
import shutil

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_disentangle import as_story
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Room, Sprites, from_arrays
from ppl_disentangle.inference import BetaELBO, NonFiniteError, fit
from ppl_disentangle.inference.training import loop
from ppl_disentangle.models import BetaVAE, InfoGAN, StructuredGAN
from ppl_disentangle.networks import (
    burgess_decoder,
    burgess_encoder,
    mlp_decoder,
    mlp_encoder,
    study_decoder,
    study_encoder,
)
from tests.models.test_stories import (
    LEARNING_GRAPHS,
    OBJECTIVES,
    PAIRS,
    STORIES,
    Scene,
    data_for,
    observations,
    refused,
)

PUBLISHED = [
    pytest.param(make, OBJECTIVES["published"], id=name)
    for name, make in (STORIES | LEARNING_GRAPHS).items()
]
ONE_STORY = [
    pytest.param(STORIES[name], objective, id=f"{name}-{kind}")
    for name in ("beta_vae", "hfvae")
    for kind, objective in OBJECTIVES.items()
    if kind != "published"
]


@pytest.fixture(autouse=True)
def graphs_pay_at_once(monkeypatch):
    monkeypatch.setattr(loop, "MIN_GRAPH_STEPS", 0)


def fitted(make, *, objective=lambda _: None, data=None, compile="auto", **options):
    """The history, and the weights, of a story that is made, trained and measured alike each time."""
    torch.manual_seed(0)
    story = make()
    options = {"steps": 30, "batch_size": 16, "progress": False} | options
    data = data_for(story) if data is None else data
    history = fit(story, data, objective=objective(story), compile=compile, **options)
    return history, copy.deepcopy(story.state_dict())


def assert_alike(left, right, *, atol=0.0, rtol=0.0, of_terms=0.0):
    (history, weights), (others, other_weights) = left, right
    torch.testing.assert_close(weights, other_weights, rtol=0, atol=atol, equal_nan=True)
    for name in history:
        torch.testing.assert_close(
            torch.tensor(history[name].values),
            torch.tensor(others[name].values),
            rtol=rtol,
            atol=of_terms,
        )


def check_bit_for_bit(make, objective):
    if refused(make(), objective(make())):
        pytest.skip("the objective refuses the story")
    eager, graph = (fitted(make, objective=objective, compile=how) for how in (False, "auto"))
    draws_classes = isinstance(
        make(), InfoGAN | StructuredGAN
    )  # which torch does by reading their probabilities
    expected = "no" if draws_classes else "graph"
    assert (eager[0].attrs["captured"], graph[0].attrs["captured"]) == ("no", expected), graph[
        0
    ].attrs["not_captured"]
    assert_alike(eager, graph)


@pytest.mark.parametrize(("make", "objective"), [*PUBLISHED, *ONE_STORY])
def test_thirty_steps_by_a_graph_are_the_eager_ones_bit_for_bit(make, objective):
    check_bit_for_bit(make, objective)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "objective"), PAIRS)
def test_every_story_under_every_objective_is_captured_bit_for_bit(make, objective):
    check_bit_for_bit(make, objective)


def small(shape=(1, 64, 64)):
    return BetaVAE(
        Gaussian(mlp_encoder(6, shape=shape, hidden=8)),
        Bernoulli(mlp_decoder(3, shape=shape, hidden=8)),
        3,
        warm_up=20,
    )


@pytest.mark.parametrize(
    "options", [{"precision": "bfloat16"}, {"optimizer": torch.optim.SGD, "lr": 1e-3}], ids=str
)
def test_other_precisions_and_optimisers_and_data_that_are_drawn_are_captured_too(options):
    eager, graph = (
        fitted(small, data=Sprites(), compile=how, **options) for how in (False, "auto")
    )
    assert graph[0].attrs["captured"] == "graph"
    assert_alike(eager, graph)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "networks",
    [(study_encoder, study_decoder), (burgess_encoder, burgess_decoder)],
    ids=["study", "burgess"],
)
def test_the_convolutions_of_the_literature_are_captured_too_whatever_their_layout(
    networks, precision
):
    def make():
        return BetaVAE(Gaussian(networks[0](8)), Bernoulli(networks[1](4)), 4)

    options = {"data": Sprites(), "precision": precision, "steps": 8}
    eager, graph = (fitted(make, compile=how, **options) for how in (False, "auto"))
    assert graph[0].attrs["captured"] == "graph"
    assert_alike(eager, graph)


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled_steps_are_the_eager_ones_to_a_millionth():
    eager, compiled = (fitted(STORIES["beta_tcvae"], compile=how) for how in (False, True))
    assert compiled[0].attrs["captured"] == "compiled"
    assert compiled[0].attrs["capture_seconds"] > 0
    assert_alike(
        eager, compiled, atol=1e-6, rtol=5e-6, of_terms=5e-6
    )  # which are differences of sums of tens of nats


class Reads(Scene):
    """A model that reads a value on the host."""

    def model(self, x=None, *, batch_size=1):
        result = super().model(x, batch_size=batch_size)
        float(result.sum())
        return result


class Counts(Scene):
    """A guide that does something else each time."""

    calls = 0

    def guide(self, x):
        self.calls += 1
        super().guide(x / self.calls)


def unregistered():
    """A pair of functions with a network that only they know."""
    net, unknown = nn.Linear(6, 1), nn.Linear(1, 1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample(
                "x", dist.Normal(z[..., None].expand(x.shape), 1.0).to_event(1), obs=x
            )

    def guide(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(unknown(net(x))[:, 0], 1.0))

    return as_story(model, guide, example=observations())


UNCAPTURED = {
    "reads a value": (
        Reads,
        "get a value out of a tracing tensor|get value out of a tracing tensor",
    ),
    "does something else each time": (Counts, "the graph gives another loss"),
    "has weights that nobody knows": (
        unregistered,
        "parameters that it does not read from the story or the objective",
    ),
}


@pytest.mark.parametrize(("make", "reason"), UNCAPTURED.values(), ids=list(UNCAPTURED))
def test_a_step_that_is_no_graph_runs_as_it_is_and_says_why(make, reason):
    data = from_arrays(observations())
    eager = fitted(make, data=data, compile=False)
    left = fitted(make, data=data)
    assert left[0].attrs["captured"] == "no"
    assert re.search(reason, left[0].attrs["not_captured"])
    if make is not Counts:  # which has counted the attempts, too
        assert_alike(eager, left)
    with pytest.warns(UserWarning, match="the training step runs as it is: "):
        fitted(make, data=data, compile=True)


def test_data_that_read_values_when_they_are_drawn_are_drawn_before_the_graph_runs():
    def make():
        return small((3, 64, 64))

    eager, graph = (fitted(make, data=Room(), steps=8, compile=how) for how in (False, "auto"))
    assert graph[0].attrs["captured"] == "graph"
    assert_alike(eager, graph)


def test_short_runs_are_not_captured(monkeypatch):
    monkeypatch.setattr(loop, "MIN_GRAPH_STEPS", 31)
    assert fitted(STORIES["beta_vae"])[0].attrs["captured"] == "no"


def test_a_captured_run_that_is_resumed_gives_the_uninterrupted_weights(tmp_path):
    path, make = tmp_path / "checkpoint.safetensors", STORIES["beta_tcvae"]
    fitted(make, steps=12, checkpoint=path)
    resumed = fitted(make, steps=30, checkpoint=path, resume=True)
    assert resumed[0].attrs["captured"] == "graph"
    assert_alike(fitted(make, compile=False), resumed)


def test_what_is_not_finite_in_a_graph_is_found_at_its_step_and_site(tmp_path):
    def broken(story):
        class Grows(BetaELBO):
            def weight(self, name):
                return super().weight(name) * (
                    torch.inf if name == "none" else (1e4 * self.step).exp()
                )

        return Grows()

    errors = []
    for how in (False, "auto"):
        with pytest.raises(NonFiniteError) as caught:
            fitted(STORIES["beta_vae"], objective=broken, compile=how)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def test_a_story_with_one_module_at_two_places_keeps_its_parameters():
    story = LEARNING_GRAPHS["graph_vae"]()
    before = dict(story.named_parameters())
    assert (
        fit(story, data_for(story), steps=5, batch_size=16, progress=False).attrs["captured"]
        == "graph"
    )
    assert all(after is before[name] for name, after in story.named_parameters())
