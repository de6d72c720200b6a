"""Conditions reach every function, by keyword or with the data, and are missed or unknown by name."""

import inspect

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.utils.data import DataLoader, TensorDataset

from ppl_disentangle import (
    GenerativeStory,
    as_story,
    counterfactual,
    do,
    encode,
    reconstruct,
    to_datatree,
    traverse,
)
from ppl_disentangle.causal import average_effect, data_range, individual_effects, worlds
from ppl_disentangle.conditions import Arguments, arguments_of
from ppl_disentangle.data import as_dataset, from_arrays, with_conditions
from ppl_disentangle.inference import decompose, elbo_per_datum, fit, log_marginal
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.representation import decode
from tests.models.test_stories import GAMES, STORIES, conditions_of, observations

W = torch.tensor([1.0, -0.5, 2.0])
V = torch.tensor([0.5, 1.0, -1.0])
S = 0.5
PRECISION = 1 + (W @ W) / S**2
NUM = 40
C = torch.randn(NUM, 1, generator=torch.Generator().manual_seed(1))
X = torch.randn(NUM, 3, generator=torch.Generator().manual_seed(2)) + C * V
FACTORS = torch.arange(NUM)[:, None] % 4


def likelihood(z, c):
    return dist.Normal(z[..., None] * W + c * V, S).to_event(1)


def posterior(x, c):
    """q(z | x, c), which is the exact posterior."""
    return dist.Normal((x - c * V) @ W / S**2 / PRECISION, PRECISION**-0.5)


class Required(GenerativeStory):
    """z ~ N(0, 1), x | z, c ~ N(z W + c V, S²), with its exact posterior."""

    latents = ("z",)

    def model(self, x=None, *, batch_size=1, c):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", likelihood(z, c), obs=x)

    def guide(self, x, *, c):
        with self.data_plate(x):
            pyro.sample("z", posterior(x, c))


class Optional(GenerativeStory):
    latents = ("z",)

    def model(self, x=None, *, batch_size=1, c=None):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", likelihood(z, 0.0 if c is None else c), obs=x)

    def guide(self, x, *, c=None):
        with self.data_plate(x):
            pyro.sample("z", posterior(x, 0.0 if c is None else c))


def plain_model(x, c):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", likelihood(z, c), obs=x)


def plain_guide(x, c):
    with pyro.plate("data", len(x)):
        pyro.sample("z", posterior(x, c))


class Plain:
    """Pyro's usual form: an object with two functions of x and c."""

    model, guide = staticmethod(plain_model), staticmethod(plain_guide)


class OfOneEach(GenerativeStory):
    """Its model takes c and its guide takes d, which are the same here."""

    latents = ("z",)
    model = Required.model

    def guide(self, x, *, d):
        with self.data_plate(x):
            pyro.sample("z", posterior(x, d))


def positional_model(x, c, /):
    plain_model(x, c)


def positional_guide(x, c, /):
    plain_guide(x, c)


NEEDING = {
    "arguments by position": lambda: as_story(positional_model, positional_guide, example=X, c=C),
    "a story": Required,
    "plain functions": lambda: as_story(plain_model, plain_guide, example=X, c=C),
    "an object": Plain,
}
MAKERS = NEEDING | {"an optional condition": Optional}
MEAN = posterior(X, C).mean
EXACT = dist.MultivariateNormal(torch.zeros(3), torch.outer(W, W) + S**2 * torch.eye(3)).log_prob(
    X - C * V
)


@pytest.fixture(params=MAKERS.values(), ids=list(MAKERS))
def story(request):
    return request.param()


@pytest.fixture(params=NEEDING.values(), ids=list(NEEDING))
def needing(request):
    return request.param()


def values(result):
    return torch.as_tensor(np.asarray(result))


def mean_of_draws(story, x, **c):
    tree = to_datatree(story, x, draws=20, num_data=NUM, **c)
    return values(tree["posterior"]["z"].sortby("data").mean("draw")[0])


FUNCTIONS = {
    "encode": (lambda s, x, **c: values(encode(s, x, **c)["mean"])[:, 0], MEAN, 1e-5),
    "reconstruct": (reconstruct, MEAN[:, None] * W + C * V, 1e-5),
    "elbo_per_datum": (
        lambda s, x, **c: values(elbo_per_datum(s, x, num_samples=2, **c)["elbo"]),
        None,
        None,
    ),
    "log_marginal": (
        lambda s, x, **c: values(log_marginal(s, x, num_samples=2, **c)["log_marginal"]),
        EXACT,
        1e-4,
    ),
    "counterfactual": (
        lambda s, x, **c: values(
            counterfactual(s, x, {"z": 2.0}, num_samples=None, **c)["x"][0, 0]
        ),
        X + (2 - MEAN)[:, None] * W,
        1e-5,
    ),
    "data_range": (lambda s, x, **c: values(data_range(s, x, **c).mean), MEAN.mean()[None], 0.2),
    "to_datatree": (mean_of_draws, MEAN, 0.2),
}
"""Functions of observations, with their right value and a tolerance."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_conditions_by_keyword_give_the_exact_answer(story, name):
    function, right, tolerance = FUNCTIONS[name]
    answer = function(story, X, c=C)
    if right is not None:
        torch.testing.assert_close(answer.to(right.dtype), right, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_conditions_that_the_data_carry_give_the_same_answer(story, name):
    function, _, _ = FUNCTIONS[name]
    carried = function(story, with_conditions(from_arrays(X), c=C))
    assert torch.equal(carried, function(story, X, c=C))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_keywords_win_over_what_the_data_carry(name):
    function, _, _ = FUNCTIONS[name]
    other = with_conditions(from_arrays(X), c=C + 3.0)
    assert torch.equal(function(Required(), other, c=C), function(Required(), X, c=C))
    assert not torch.equal(function(Required(), other), function(Required(), X, c=C))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_condition_that_is_missing_is_named(needing, name):
    function, _, _ = FUNCTIONS[name]
    way_out = r"needs the condition 'c' for each datum; pass c=… or with_conditions\(data, c=…\)"
    with pytest.raises(ValueError, match=way_out):
        function(needing, X)


def test_nothing_is_no_condition_and_no_data_are_refused(needing):
    with pytest.raises(ValueError, match="needs the condition 'c'"):
        encode(needing, X, c=None)
    with pytest.raises(ValueError, match="at least one datum, got none"):
        encode(needing, X[:0], c=C[:0])
    with pytest.raises(
        TypeError, match="condition 'c': expected an array of numbers, got ndarray of <U"
    ):
        encode(needing, X, c=np.array(["red"] * NUM))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_condition_that_nobody_takes_is_a_type_error(story, name):
    function, _, _ = FUNCTIONS[name]
    with pytest.raises(TypeError, match="takes no 'colour': its model takes 'c', its guide 'c'"):
        function(story, X, c=C, colour=C)
    with pytest.raises(TypeError, match="takes no 'colour'"):
        function(story, with_conditions(from_arrays(X), c=C, colour=C))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_condition_with_another_number_of_rows_is_refused(story, name):
    function, _, _ = FUNCTIONS[name]
    with pytest.raises(ValueError, match=r"each of 40 data, got shape \(39, 1\)"):
        function(story, X, c=C[1:])


def test_the_elbo_of_the_exact_posterior_is_exact_given_the_condition():
    elbo = elbo_per_datum(Required(), X, num_samples=100, c=C)["elbo"]
    assert elbo.mean().item() == pytest.approx(EXACT.mean().item(), abs=0.1)
    other = elbo_per_datum(Required(), X, num_samples=100, c=0 * C)["elbo"]
    assert other.mean() < elbo.mean() - 0.5


@pytest.mark.parametrize(
    "c", [C.numpy(), C.double().numpy(), C.tolist()], ids=["float", "double", "list"]
)
def test_arrays_and_lists_are_conditions_too(c):
    np.testing.assert_allclose(encode(Required(), X, c=c)["mean"][:, 0], MEAN, atol=1e-5)


def test_all_forms_of_data_carry_conditions():
    loader = DataLoader(TensorDataset(X, C), batch_size=8, shuffle=True)
    data = as_dataset(loader, conditions=("c",))
    np.testing.assert_allclose(encode(Required(), data)["mean"][:, 0], MEAN, atol=1e-5)
    what_if = counterfactual(Required(), data, {"z": 2.0}, num_samples=None)
    torch.testing.assert_close(values(what_if["x"][0, 0]), X + (2 - MEAN)[:, None] * W)


def test_evaluate_encodes_with_the_conditions(story):
    codes = encode(story, X, c=C)["mean"].values
    settings = {"metrics": ["sap_continuous", "linear_probe_10"], "progress": False, "resamples": 0}
    right = evaluate(codes, FACTORS, **settings)["estimate"].values
    data = from_arrays(X, FACTORS)
    by_keyword = evaluate(story, data, c=C, **settings)["estimate"].values
    carried = evaluate(story, with_conditions(data, c=C), **settings)["estimate"].values
    np.testing.assert_allclose(by_keyword, right, atol=1e-5)
    np.testing.assert_allclose(carried, right, atol=1e-5)


def test_evaluate_refuses_what_is_missing_or_unknown(needing):
    data = from_arrays(X, FACTORS)
    with pytest.raises(ValueError, match="needs the condition 'c'"):
        evaluate(needing, data, metrics="mig", progress=False)
    with pytest.raises(TypeError, match="takes no 'colour'"):
        evaluate(needing, data, metrics="mig", progress=False, c=C, colour=C)
    with pytest.raises(TypeError, match="conditions are for a story, ndarray takes no 'c'"):
        evaluate(X.numpy(), data, metrics="mig", progress=False, c=C)


def test_a_traversal_keeps_the_condition(story):
    images = traverse(story, X[:1], {"z": [-1.0, 0.0, 2.0]}, c=C[:1])
    right = torch.tensor([-1.0, 0.0, 2.0])[:, None] * W + C[:1] * V
    torch.testing.assert_close(values(images[0]), right)
    carried = traverse(story, with_conditions(from_arrays(X[:1]), c=C[:1]), {"z": [-1.0, 0.0, 2.0]})
    assert torch.equal(values(carried), values(images))


def test_decode_takes_the_condition():
    torch.testing.assert_close(decode(Required(), {"z": MEAN}, c=C), MEAN[:, None] * W + C * V)


@pytest.mark.parametrize("make", [Required, NEEDING["plain functions"]], ids=["story", "functions"])
def test_do_runs_under_its_own_conditions_or_those_of_a_run(make):
    def mean(intervened, **given):
        trace = poutine.trace(intervened.model).get_trace(batch_size=NUM, **given)
        return trace.nodes["x"]["fn"].mean

    right = 2 * W + C * V
    torch.testing.assert_close(mean(do(make(), {"z": 2.0}, c=C)), right)
    torch.testing.assert_close(mean(do(make(), {"z": 2.0}, c=C), c=C + 1), right + V)
    torch.testing.assert_close(reconstruct(do(make(), {"z": 2.0}, c=C), X), right)
    with pytest.raises(ValueError, match=r"each of 5 data, got shape \(40, 1\)"):
        do(make(), {"z": 2.0}, c=C).model(batch_size=5)


def test_plain_functions_draw_nothing_under_the_conditions_of_their_example():
    story = as_story(plain_model, plain_guide, example=X, c=C)
    with pytest.raises(
        ValueError, match=r"the model of the pair \(plain_model, plain_guide\) needs"
    ):
        story.model(batch_size=3)
    with pytest.raises(ValueError, match="needs the condition 'c'"):
        do(story, {"z": 1.0}).model(batch_size=3)
    torch.manual_seed(0)
    draws = story.model(batch_size=20_000, c=torch.full((20_000, 1), 4.0))
    torch.testing.assert_close(draws.mean(0), 4 * V, atol=0.06, rtol=0)


def test_worlds_share_noise_under_one_condition():
    three = worlds(Required(), [{}, {"z": 0.0}, {"z": 3.0}], c=C)
    x = three.values(batch_size=NUM, c=C)["x"]
    torch.testing.assert_close(x[2] - x[1], (3 * W).expand(NUM, 3))


def test_effects_on_data_hold_given_the_condition():
    """Y = sum of squares, so that the effect on it depends on the condition."""
    options = {"values": (0.0, 2.0), "num_samples": 400}
    effect = individual_effects(
        Required(), "z", lambda x: x.square().sum(-1), X, conditions={"c": C}, **options
    )["mean"]
    noise = X - MEAN[:, None] * W - C * V
    of = [((z * W + C * V + noise).square().sum(-1)) for z in (0.0, 2.0)]
    torch.testing.assert_close(values(effect), of[1] - of[0], atol=1.0, rtol=0)
    drawn = average_effect(
        Required(), "z", lambda x: x.sum(-1), values=(0.0, 2.0), num_units=NUM, conditions={"c": C}
    )["mean"]
    assert drawn.item() == pytest.approx(2 * W.sum().item(), abs=1e-4)
    with pytest.raises(ValueError, match="needs the condition 'c'"):
        average_effect(Required(), "z", "z", values=(0.0, 2.0))


def test_decompose_takes_conditions():
    by_keyword = decompose(Required(), X, num_samples=2, c=C)
    carried = decompose(Required(), with_conditions(from_arrays(X), c=C), num_samples=2)
    assert by_keyword.equals(carried)
    some = decompose(Required(), X, num_samples=2, c=C, exact_below=0, num_components=20)
    assert some.attrs["num_components"] == 20


def test_each_program_gets_the_conditions_that_it_takes():
    data = with_conditions(from_arrays(X), c=C, d=C)
    np.testing.assert_allclose(encode(OfOneEach(), data)["mean"][:, 0], MEAN, atol=1e-5)
    torch.testing.assert_close(reconstruct(OfOneEach(), data), MEAN[:, None] * W + C * V)
    bound = log_marginal(OfOneEach(), data, num_samples=2)["log_marginal"]
    torch.testing.assert_close(values(bound), EXACT.double(), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="the guide of OfOneEach needs the condition 'd'"):
        encode(OfOneEach(), X, c=C)


class Shifted(GenerativeStory):
    """A model that takes c, and a guide with a parameter that takes d: for training."""

    latents = ("z",)

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(3.0))

    model = Required.model

    def guide(self, x, *, d):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(posterior(x, d).mean + self.shift, PRECISION**-0.5))


def test_fit_gives_each_program_its_conditions_and_refuses_others():
    story = Shifted()
    data = with_conditions(from_arrays(X), c=C, d=C)
    fit(story, data, steps=300, batch_size=NUM, lr=0.05, progress=False)
    assert abs(story.shift.item()) < 0.05  # the exact posterior
    with pytest.raises(TypeError, match="Shifted takes no 'colour'"):
        fit(Shifted(), with_conditions(data, colour=C), steps=1, batch_size=8, progress=False)
    with pytest.raises(ValueError, match="the guide of Shifted needs the condition 'd'"):
        fit(
            Shifted(),
            with_conditions(from_arrays(X), c=C),
            steps=1,
            batch_size=8,
            progress=False,
        )


# -- other conditions ----------------------------------------------------------------------------
def masked_model(x, mask):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        steps = dist.Normal(z[..., None].expand(z.shape + x.shape[1:]), 1.0)
        pyro.sample("x", steps.mask(mask).to_event(1), obs=x)


def masked_guide(x, mask):
    known = mask.float().sum(-1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((x * mask).sum(-1) / (1 + known), (1 + known) ** -0.5))


def padded_model(x, lengths):
    return masked_model(x, torch.arange(x.shape[1]) < lengths[:, None])


def padded_guide(x, lengths):
    return masked_guide(x, torch.arange(x.shape[1]) < lengths[:, None])


LENGTHS = torch.arange(1, NUM + 1) % 6
MASK = torch.arange(6) < LENGTHS[:, None]
SERIES = torch.randn(NUM, 6, generator=torch.Generator().manual_seed(3))
OF_SEQUENCES = {
    "mask": (masked_model, masked_guide, {"mask": MASK}),
    "lengths": (padded_model, padded_guide, {"lengths": LENGTHS}),
}


@pytest.mark.parametrize(("model", "guide", "told"), OF_SEQUENCES.values(), ids=list(OF_SEQUENCES))
def test_masks_and_lengths_reach_the_guide(model, guide, told):
    pair = as_story(model, guide, example=SERIES, **told)
    right = (SERIES * MASK).sum(-1) / (1 + MASK.sum(-1))
    np.testing.assert_allclose(encode(pair, SERIES, **told)["mean"][:, 0], right, atol=1e-5)
    carried = with_conditions(from_arrays(SERIES), **told)
    np.testing.assert_allclose(encode(pair, carried)["mean"][:, 0], right, atol=1e-5)
    torch.testing.assert_close(reconstruct(pair, SERIES, **told), right[:, None].expand(NUM, 6))
    exact = torch.stack(
        [
            dist.MultivariateNormal(torch.zeros(k), torch.ones(k, k) + torch.eye(k)).log_prob(
                row[:k]
            )
            if k
            else torch.zeros(())
            for row, k in zip(SERIES, LENGTHS.tolist(), strict=True)
        ]
    )
    bound = values(log_marginal(pair, SERIES, num_samples=2, **told)["log_marginal"])
    torch.testing.assert_close(bound, exact.double(), atol=1e-4, rtol=0)


def test_conditions_keep_double_precision_in_a_story_of_doubles():
    class Double(Required):
        def guide(self, x, *, c):
            assert c.dtype == x.dtype == torch.float64
            with self.data_plate(x):
                pyro.sample("z", dist.Normal(c[:, 0], 1.0))

    third = np.full((NUM, 1), 1 / 3)
    third.flags.writeable = False
    codes = encode(Double(), X.double(), c=third)
    assert (codes["mean"].values == 1 / 3).all()


def test_a_number_for_all_data_is_passed_as_it_is():
    codes = encode(Optional(), X, c=2.0)["mean"][:, 0]
    np.testing.assert_allclose(codes, posterior(X, 2.0).mean, atol=1e-5)


def test_the_arguments_of_a_program_are_read_from_its_signature():
    assert arguments_of(plain_guide, "g") == Arguments("g", ("c",))
    assert arguments_of(poutine.scale(plain_guide, scale=2.0), "g") == Arguments("g", ("c",))
    assert arguments_of(Optional().guide, "g") == Arguments("g", (), ("c",))
    assert arguments_of(lambda x, **kwargs: None, "g") == Arguments("g", (), (), True)


# -- every story of the zoo that takes conditions ------------------------------------------------
def conditions_with_interventions(story):
    told = conditions_of(story, NUM)
    if "interventions" in inspect.signature(story.model).parameters:
        set_to = torch.full((NUM, 4), torch.nan)
        set_to[::2, 1] = 0.5
        told["interventions"] = set_to
    return told


TAKING = {
    name: make for name, make in (STORIES | GAMES).items() if conditions_with_interventions(make())
}


@pytest.mark.parametrize("make", TAKING.values(), ids=list(TAKING))
def test_stories_of_the_zoo_take_conditions_by_keyword_and_with_the_data(make):
    torch.manual_seed(0)
    story, x = make(), observations(NUM)
    told = conditions_with_interventions(story)
    in_order = {"columns": story.columns} if {"labels", "interventions"} & set(told) else {}
    data = with_conditions(from_arrays(x), **told, **in_order)
    with torch.no_grad():
        right = torch.cat([q.mean for q in story.representation(x, **told).values()], -1)
    for codes in (encode(story, data), encode(story, x, **told)):
        np.testing.assert_allclose(codes["mean"].values, right, atol=1e-5)
    assert torch.equal(reconstruct(story, data), reconstruct(story, x, **told))
    if story.has_bound:
        assert elbo_per_datum(story, data)["elbo"].values == pytest.approx(
            elbo_per_datum(story, x, **told)["elbo"].values
        )
    tree = to_datatree(story, x, draws=2, num_data=5, **told)
    assert tree.identical(to_datatree(story, data, draws=2, num_data=5))
    with pytest.raises(TypeError, match=f"{type(story).__name__} takes no 'colour'"):
        encode(story, x, colour=x)


def test_known_classes_are_certain_codes():
    story, x = STORIES["m2"](), observations(NUM)
    classes = conditions_of(story, NUM)["classes"]
    codes = encode(story, x, classes=classes)
    known = ~classes[:, 0].isnan()
    np.testing.assert_allclose(
        codes["mean"].values[known, :3], np.eye(3)[classes[known, 0].long()], atol=1e-5
    )
    alone = encode(story, x)
    assert codes["mean"].values[~known] == pytest.approx(alone["mean"].values[~known], abs=1e-6)


@pytest.mark.parametrize("name", ["causal_vae", "causal_vae of noise"])
def test_nodes_that_were_set_have_the_values_they_were_set_to(name):
    story, x = STORIES[name](), observations(NUM)
    told = {"interventions": conditions_with_interventions(story)["interventions"]}
    column = list(encode(story, x)["code"].values).index(story.columns[1])
    codes, alone = encode(story, x, **told), encode(story, x)
    assert codes["mean"].values[::2, column] == pytest.approx(0.5)
    assert codes["scale"].values[::2, column] == pytest.approx(0.0, abs=1e-6)
    assert codes["mean"].values[1::2] == pytest.approx(alone["mean"].values[1::2], abs=1e-6)
    what = counterfactual(story, x, {}, num_samples=None, **told)
    assert what[story.columns[1]].values[0, 0, ::2] == pytest.approx(0.5)
