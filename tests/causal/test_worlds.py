"""Worlds: each equals a single intervention with the same noise, and all are computed in one pass."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppl_disentangle import GenerativeStory, as_story, do
from ppl_disentangle.causal.actions import shift
from ppl_disentangle.causal.branching import Branch
from ppl_disentangle.causal.mechanisms import LocationScale
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.causal.worlds import worlds
from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.models import BetaVAE, CausalVAE
from ppl_disentangle.sites import site_values

BATCH, FEATURES = 7, 6


def structural(decoder=GaussianLearnedScale):
    prior = StructuralPrior(
        "angle, light -> length, position",
        {"length": LocationScale, "position": LocationScale},
        dims={"position": 2},
    )
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, FEATURES))
    return CausalVAE(prior, Gaussian(nn.Linear(FEATURES, 10)), decoder(net))


class Hierarchical(GenerativeStory):
    """Latents that are sampled given another latent, and a scalar one: hue -> shape -> x <- size."""

    latents = ("hue", "shape", "size")

    def __init__(self, distribution=dist.Normal):
        super().__init__()
        self.distribution, self.net, self.decoder = (
            distribution,
            nn.Linear(2, 2),
            GaussianLearnedScale(nn.Linear(3, FEATURES)),
        )

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            hue = pyro.sample("hue", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            shape = pyro.sample(
                "shape",
                self.distribution(self.net(hue), hue.square().sum(-1, keepdim=True) + 0.1).to_event(
                    1
                ),
            )
            size = pyro.sample("size", dist.Normal(0.0, 1.0))
            together = torch.broadcast_tensors(shape[..., 0], shape[..., 1], size)
            return pyro.sample("x", self.decoder(torch.stack(together, -1)), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("hue", dist.Normal(x[:, :2], 1.0).to_event(1))
            pyro.sample("shape", dist.Normal(x[:, 2:4], 1.0).to_event(1))
            pyro.sample("size", dist.Normal(x[:, 4], 1.0))


def plain_pair():
    linear = nn.Linear(2, FEATURES)

    def model(x):
        pyro.module("linear", linear)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            double = pyro.deterministic("double", 2 * z, event_dim=1)
            return pyro.sample("x", dist.Normal(linear(double), 0.1).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))

    return as_story(model, guide, example=torch.zeros(1, FEATURES))


def two_plates():
    """Three parts of each datum follow from its latent: z -> part -> x."""

    def model(x):
        with pyro.plate("data", x.shape[-1], dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("parts", 3, dim=-2):
                part = pyro.sample("part", dist.Normal(z, 1.0))
                return pyro.sample("x", dist.Normal(2 * part, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[-1], dim=-1):
            pyro.sample("z", dist.Normal(x.mean(0), 1.0))
            with pyro.plate("parts", 3, dim=-2):
                pyro.sample("part", dist.Normal(x / 2, 0.1))

    class TwoPlates(GenerativeStory):
        latents = ("z", "part")

        def model(self, x=None, *, batch_size=1):
            return (
                model(x)
                if x is not None
                else poutine.uncondition(model)(torch.zeros(3, batch_size))
            )

        def guide(self, x):
            guide(x)

    return TwoPlates()


SETS = [
    {},
    {"light": 1.0},
    {"angle": shift(0.2)},
    {"length": torch.arange(float(BATCH)), "light": -1},
    {"position[1]": 2.0},
    {
        "angle": torch.square,
        "position": torch.randn(BATCH, 2, generator=torch.Generator().manual_seed(0)),
    },
]
STORIES = {
    "structural": (structural, SETS),
    "structural, Bernoulli pixels": (lambda: structural(Bernoulli), SETS),
    "isotropic": (
        lambda: BetaVAE(Gaussian(nn.Linear(FEATURES, 8)), Bernoulli(nn.Linear(4, FEATURES)), 4),
        [
            {},
            {"z": torch.randn(4)},
            {"z[3]": 1.0, "z[0]": shift(-1.0)},
            {"z[2]": torch.arange(float(BATCH))},
        ],
    ),
    "hierarchical": (
        Hierarchical,
        [{"hue": 1.0}, {}, {"hue[0]": shift(2.0)}, {"shape[1]": 3.0, "size": 1.0}],
    ),
    "two plates": (two_plates, [{}, {"z": 1.0}, {"part": shift(1.0)}]),
    "a pair of functions": (plain_pair, [{"z": 1.0}, {"double[0]": 2.0}, {}]),
}


@pytest.fixture(params=STORIES.values(), ids=list(STORIES))
def case(request):
    torch.manual_seed(0)
    make, actions = request.param
    return make(), actions


@pytest.fixture
def story():
    torch.manual_seed(0)
    return structural()


def alone(story, actions):
    pyro.set_rng_seed(3)
    return site_values(poutine.trace(do(story, actions).model).get_trace(batch_size=BATCH))


# angle   light
#   | \   / |
#   |  \ /  |
#   |  / \  |
#   v v   v v
# length  position
def test_every_world_is_the_single_intervention_at_the_same_noise(case):
    story, actions = case
    pyro.set_rng_seed(3)
    together = worlds(story, actions).values(batch_size=BATCH)
    for k, world in enumerate(actions):
        single = alone(story, world)
        for name, value in together.items():
            # not bit for bit: on some processors a matrix product of several worlds rounds otherwise than that of one
            torch.testing.assert_close(
                value[k], single[name].expand_as(value[k]), rtol=0, atol=5e-7
            )


def test_values_of_every_site_have_worlds_then_units(case):
    story, actions = case
    run = worlds(story, actions)
    values = run.values(batch_size=BATCH)
    single = alone(story, {})
    plates = torch.broadcast_shapes(single["x"].shape[: run.plates])
    for name, value in values.items():
        event = single[name].shape[single[name].dim() - (value.dim() - 1 - run.plates) :]
        assert value.shape == (len(actions), *plates, *event)
    assert values["x"].shape == (len(actions), *single["x"].shape)
    assert values.keys() >= set(story.latents)
    assert run.model(batch_size=BATCH).shape == run(batch_size=BATCH).shape == values["x"].shape
    assert len(run) == len(run.names) == len(actions)


def test_what_no_world_reaches_is_computed_once_and_is_the_same_in_all(story):
    run = worlds(story, [{}, {"light": 1.0}])
    with Branch(run.changes, run.plates) as branch:
        story.model(batch_size=BATCH)
    assert branch.values["angle"].shape == (BATCH, 1)
    assert branch.values["light_noise"].shape == (BATCH, 1)
    assert branch.values["length"].shape == (2, BATCH, 1)
    values = run.values(batch_size=BATCH)
    assert torch.equal(values["angle"][0], values["angle"][1])
    assert not torch.isclose(values["length"][0], values["length"][1]).any()
    assert (values["light"][1] == 1).all()


def test_pixels_have_one_noise_in_all_worlds(story):
    trace = poutine.trace(worlds(story, [{}, {"light": 1.0}]).model).get_trace(batch_size=BATCH)
    distribution, x = trace.nodes["x"]["fn"].base_dist, trace.nodes["x"]["value"]
    noise = (x - distribution.loc) / distribution.scale
    torch.testing.assert_close(noise[0], noise[1], rtol=0, atol=1e-6)
    assert noise.std() > 0.5
    assert not torch.isclose(x[0], x[1]).all()


def test_brighter_worlds_light_more_pixels_and_darken_none():
    story = BetaVAE(Gaussian(nn.Linear(FEATURES, 2)), Bernoulli(nn.Linear(1, FEATURES)), 1)
    nn.init.constant_(story.decoder.net.weight, 1.0)
    x = worlds(story, [{"z": v} for v in (-1.0, 0.0, 1.0)]).values(batch_size=200)["x"]
    assert (x[1:] >= x[:-1]).all()
    assert x.mean((1, 2)).diff().gt(0.1).all()


def test_a_draw_is_made_for_each_unit_of_each_world(story):
    values = worlds(
        story, [{"light": dist.Normal(5.0, 0.1)}, {"light": dist.Normal(5.0, 0.1)}]
    ).values(batch_size=500)
    light = values["light"]
    assert (light.mean((1, 2)) - 5).abs().max() < 0.03
    assert (light.std((1, 2)) - 0.1).abs().max() < 0.02
    assert not (light[0] == light[1]).any()


def test_a_trace_has_the_effective_value_and_the_natural_one(story):
    run = worlds(story, [{}, {"light": 1.0}])
    values = site_values(poutine.trace(run.model).get_trace(batch_size=BATCH))
    assert (values["light"][1] == 1).all()
    assert torch.equal(values["light"][0], values["light_natural"])
    assert values["angle"].shape == (BATCH, 1)


def test_the_last_of_two_changes_of_one_world_reads_what_the_first_made():
    # z -> double
    story = plain_pair()
    values = worlds(story, [{"z": 1.0, "double": shift(1.0)}]).values(batch_size=2)
    assert (values["double"] == 3).all()


def test_worlds_of_an_intervened_story_keep_its_intervention(story):
    values = worlds(do(story, {"angle": 2.0}), [{}, {"light": 1.0}]).values(batch_size=BATCH)
    assert (values["angle"] == 2).all()
    assert (values["light"][1] == 1).all()
    pyro.set_rng_seed(3)
    nested = worlds(do(story, {"angle": 2.0}), [{"light": 1.0}]).values(batch_size=BATCH)["x"][0]
    torch.testing.assert_close(
        nested, alone(story, {"angle": 2.0, "light": 1.0})["x"], rtol=0, atol=5e-7
    )


def test_gradients_pass_through_values_that_are_set(story):
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    worlds(story, [{"light": value[0]}, {"light": value[1]}]).values(batch_size=3)[
        "length"
    ].sum().backward()
    assert (value.grad != 0).all()


def test_making_worlds_uses_no_random_numbers(story):
    state = torch.get_rng_state()
    worlds(story, [{}, {"light": dist.Normal(0.0, 1.0)}])
    assert torch.equal(state, torch.get_rng_state())


def test_worlds_are_named_by_what_is_done():
    torch.manual_seed(0)
    actions = [
        *SETS,
        {"light": dist.Normal(torch.zeros(1), 1.0).to_event(1)},
        {"angle": lambda natural: natural},
    ]
    assert worlds(structural(), actions).names == (
        "factual",
        "light = 1",
        "angle += 0.2",
        "length = [0,1,2,3,4,5,6], light = -1",
        "position[1] = 2",
        "angle = square(angle), position = values of shape (7, 2)",
        "light ~ Normal",
        "angle = <lambda>(angle)",
    )


BAD = {
    "an unknown name": (
        [{}, {"lihgt": 1.0}],
        KeyError,
        "no latent named 'lihgt'; .* did you mean 'light'",
    ),
    "no world": ([], ValueError, "at least one world; {} is the factual one"),
    "one mapping": ({"light": 1.0}, TypeError, "expected a list of worlds"),
    "a coordinate too far": ([{"position[2]": 1.0}], KeyError, "'position' has 2 coordinates"),
}


@pytest.mark.parametrize(("actions", "error", "message"), BAD.values(), ids=list(BAD))
def test_bad_worlds_say_what_is_wrong(story, actions, error, message):
    with pytest.raises(error, match=message):
        worlds(story, actions)


def test_a_value_of_another_batch_is_refused_at_the_call(story):
    with pytest.raises(
        ValueError,
        match=r"do\('light'\): expected a value that broadcasts to \(3, 1\), got \(5, 1\)",
    ):
        worlds(story, [{}, {"light": torch.zeros(5)}]).values(batch_size=3)


def test_a_latent_whose_noise_cannot_be_shared_is_refused():
    story = Hierarchical(dist.VonMises)
    with pytest.raises(
        ValueError, match="site 'shape' follows from an intervention: VonMises has no noise"
    ):
        worlds(story, [{}, {"hue": 1.0}]).values(batch_size=2)
    assert worlds(story, [{}, {"size": 1.0}]).values(batch_size=2)["size"].shape == (2, 2)


def test_parameters_of_distributions_are_checked_in_the_first_pass_of_worlds_made(story):
    bad = worlds(story, [{}, {"light": 1.0}])
    story.decoder.net.register_forward_hook(lambda net, args, output: output * torch.nan)
    for _ in range(2):  # a pass that failed was none
        with pytest.raises(ValueError, match="to satisfy the constraint"):
            bad.values(batch_size=3)
    story.decoder.net._forward_hooks.clear()
    bad.values(batch_size=3)
    story.decoder.net.register_forward_hook(lambda net, args, output: output * torch.nan)
    assert bad.values(batch_size=3)["x"].isnan().all()
    assert dist.is_validation_enabled()
