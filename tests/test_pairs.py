"""Plain pairs as stories: their parameters, modules, AutoGuides, and Pyro's parameter store."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalizingFlow,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
    AutoStructured,
)
from pyro.nn import PyroModule, PyroParam
from pyro.optim import PyroOptim
from torch import nn
from torch.distributions import constraints

from ppl_disentangle import as_story, encode, reconstruct
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import BetaELBO, elbo_per_datum, fit
from ppl_disentangle.inference.training import loop

SIZE, DIM = 6, 2
X = torch.randn(SIZE, DIM, generator=torch.Generator().manual_seed(0)) + 1
EVIDENCE = float(dist.Normal(0.0, 2**0.5).log_prob(X).sum())


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def flow_guide(model):
    return AutoNormalizingFlow(model, dist.transforms.affine_autoregressive)


def structured_guide(model):
    return AutoStructured(model, conditionals={"z": "normal"}, dependencies={})


def listed_guide(model):
    guide = AutoGuideList(model)
    guide.append(AutoNormal(pyro.poutine.block(model, expose=["z"])))
    return guide


REACHING = [
    AutoNormal,
    AutoDiagonalNormal,
    AutoNormalMessenger,
    pytest.param(AutoMultivariateNormal, marks=pytest.mark.slow),
    pytest.param(AutoLowRankMultivariateNormal, marks=pytest.mark.slow),
    pytest.param(structured_guide, marks=pytest.mark.slow),
    pytest.param(listed_guide, marks=pytest.mark.slow),
    pytest.param(AutoHierarchicalNormalMessenger, marks=pytest.mark.slow),
    pytest.param(AutoRegressiveMessenger, marks=pytest.mark.slow),
]
"""Guides whose family has the exact posterior."""
AUTO_GUIDES = [
    AutoNormal,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoLowRankMultivariateNormal,
    structured_guide,
    listed_guide,
    AutoNormalMessenger,
    AutoHierarchicalNormalMessenger,
    AutoRegressiveMessenger,
    AutoDelta,
    AutoLaplaceApproximation,
    AutoIAFNormal,
    flow_guide,
]


def linear_schedule(optimizer):
    return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, 250)


@pytest.fixture(autouse=True)
def empty_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.mark.parametrize("objective", [Trace_ELBO(), BetaELBO(1.0)], ids=["Trace", "Beta"])
@pytest.mark.parametrize("make", REACHING)
def test_fit_of_an_auto_guide_reaches_the_evidence_and_the_posterior(make, objective):
    torch.manual_seed(0)
    story = as_story(model, make(model))
    history = fit(
        story,
        X,
        steps=250,
        lr=0.06,
        scheduler=linear_schedule,
        objective=objective,
        progress=False,
    )
    assert float(history["loss"][-50:].mean()) * SIZE == pytest.approx(-EVIDENCE, abs=0.6)
    codes = encode(story, X)
    torch.testing.assert_close(torch.from_numpy(codes["mean"].values), X / 2, atol=0.25, rtol=0)
    assert float(codes["scale"].mean()) == pytest.approx(0.5**0.5, abs=0.12)
    assert reconstruct(story, X).shape == X.shape
    assert not pyro.get_param_store()


@pytest.mark.parametrize("make", AUTO_GUIDES)
def test_the_parameters_of_an_auto_guide_are_those_of_the_story(make):
    torch.manual_seed(0)
    story = as_story(model, make(model), example=X)
    assert story.latents == ("z",)
    before = copy.deepcopy(story.state_dict())
    fit(story, X, steps=2, lr=0.05, objective=Trace_ELBO(), progress=False)
    changed = [name for name, value in story.state_dict().items() if (value != before[name]).any()]
    assert changed
    # The guide that was passed is the one that is trained.
    trained = {id(parameter) for parameter in story.parameters()}
    assert {id(p) for p in story.owners[0].parameters()} <= trained
    assert not pyro.get_param_store()


@pytest.mark.parametrize("make", AUTO_GUIDES)
def test_a_guide_of_fixed_data_cannot_encode_others(make):
    story = as_story(model, make(model), example=X)
    assert story.fixed_size == SIZE
    with pytest.raises(ValueError, match=f"one value for each of the {SIZE} data .* got 5"):
        encode(story, X[:5])
    with pytest.raises(ValueError, match=f"one value for each of {SIZE} data, and there are 12"):
        fit(story, torch.cat([X, X]), steps=1, progress=False)
    with pytest.raises(ValueError, match="none for held-out data: leave held_out away"):
        fit(story, X, steps=1, held_out=X, objective=Trace_ELBO(), progress=False)


def test_an_auto_normal_is_encoded_as_its_parameters():
    guide = AutoNormal(model)
    story = as_story(model, guide, example=X)
    fit(story, X, steps=3, lr=0.1, objective=Trace_ELBO(), progress=False)
    codes = encode(story, X)
    locs, scales = guide.locs.z.detach(), guide.scales.z.detach()
    torch.testing.assert_close(torch.from_numpy(codes["mean"].values), locs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.from_numpy(codes["scale"].values), scales, rtol=1e-4, atol=0)


def test_a_laplace_approximation_is_encoded_by_its_normal():
    story = as_story(model, AutoLaplaceApproximation(model), example=X)
    fit(story, X, steps=150, lr=0.1, scheduler=linear_schedule, progress=False)
    codes = encode(story, X)
    torch.testing.assert_close(torch.from_numpy(codes["mean"].values), X / 2, atol=0.02, rtol=0)
    assert codes["scale"].values == pytest.approx(0.5**0.5, rel=1e-3)
    assert not pyro.get_param_store()


def rates(x):
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        pyro.sample("x", dist.Poisson(rate), obs=x)


@pytest.mark.parametrize("make", [AutoNormal, AutoDiagonalNormal, AutoNormalMessenger])
def test_a_positive_latent_is_encoded_by_the_mean_of_its_log_normal(make):
    counts = torch.tensor([0.0, 3.0, 10.0])
    guide = make(rates)
    story = as_story(rates, guide, example=counts)
    fit(story, counts, steps=60, lr=0.1, objective=Trace_ELBO(), progress=False)
    is_flat = isinstance(guide, AutoDiagonalNormal)
    loc, scale = (guide.loc, guide.scale) if is_flat else (guide.locs.rate, guide.scales.rate)
    expected = dist.LogNormal(loc.detach(), scale.detach())
    codes = encode(story, counts)
    mean = torch.from_numpy(codes["mean"].values[:, 0])
    assert ((mean - expected.mean).abs() < 0.15 * expected.stddev).all()


def test_global_latents_leave_the_guide_free_to_take_other_data():
    def regression(x):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("data", SIZE, subsample_size=len(x)):
            pyro.sample("x", dist.Normal(slope, 1.0), obs=x[:, 0])

    story = as_story(regression, AutoNormal(regression), example=X[:4])
    assert story.fixed_size is None
    history = fit(
        story, X, steps=150, batch_size=4, lr=0.05, objective=Trace_ELBO(), progress=False
    )
    assert float(history["loss"][-1]) > 0
    guide = story.owners[0]
    exact = X[:, 0].sum() / (SIZE + 1)
    assert guide.locs.slope.item() == pytest.approx(exact.item(), abs=0.15)


class Slope(PyroModule):
    def __init__(self):
        super().__init__()
        self.slope = PyroParam(torch.tensor(0.4), constraints.positive)
        self.bias = nn.Parameter(torch.zeros(DIM))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x + self.bias, self.slope).to_event(1))


def stock_losses(model, guide, lr, steps):
    pyro.clear_param_store()
    guide(X)  # which makes its parameters, and may draw for that
    torch.manual_seed(0)
    svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": lr}), Trace_ELBO())
    return torch.tensor([svi.step(X) for _ in range(steps)])


@pytest.mark.parametrize("make", [lambda: AutoNormalMessenger(model), lambda: AutoNormal(model)])
def test_losses_of_a_guide_of_fixed_data_are_those_of_stock_svi(make):
    stock = stock_losses(model, make(), 0.05, 5)
    pyro.clear_param_store()
    story = as_story(model, make(), example=X)
    history = fit(story, X, steps=5, lr=0.05, objective=Trace_ELBO(), progress=False)
    torch.testing.assert_close(
        torch.from_numpy(history["loss"].values) * SIZE, stock, rtol=1e-4, atol=0
    )


def test_a_pyro_module_is_trained_as_by_stock_svi_and_leaves_the_store_as_it_was():
    pyro.param("slope", torch.tensor(7.0))  # of somebody else
    kept = dict(pyro.get_param_store().named_parameters())
    guide = Slope()
    story = as_story(model, guide, example=X)
    assert sorted(name for name, _ in story.named_parameters()) == [
        "owners.0.bias",
        "owners.0.slope_unconstrained",
    ]
    fit(story, X, steps=5, lr=0.05, batch_size=SIZE, objective=Trace_ELBO(), progress=False)
    encode(story, X)
    story.guide(X)
    store = dict(pyro.get_param_store().named_parameters())
    assert store.pop("slope") is kept["slope"]
    assert pyro.param("slope").item() == 7.0
    assert all(name.startswith(story._pyro_name) for name in store)  # bare calls register
    assert guide.slope.item() not in (7.0, pytest.approx(0.4))


def test_modules_of_two_pairs_do_not_share_parameters():
    first, second = (as_story(model, Slope(), example=X) for _ in range(2))
    fit(first, X, steps=3, lr=0.1, batch_size=SIZE, progress=False)
    assert second.owners[0].slope.item() == pytest.approx(0.4)


def test_a_pyro_module_within_functions_is_a_part_of_the_story():
    net = PyroModule[nn.Linear](DIM, DIM)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    story = as_story(model, guide, example=X)
    before = net.weight.detach().clone()
    fit(story, X, steps=2, lr=0.1, batch_size=4, progress=False)
    assert not torch.equal(net.weight, before)
    assert {id(p) for p in story.parameters()} == {id(p) for p in net.parameters()}


def networks(drop=0.0, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(DIM, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(drop)]
    encoder = nn.Sequential(*layers, nn.Linear(8, 2 * DIM))

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return encoder, as_story(model, guide)


DATA = from_arrays(torch.randn(48, DIM, generator=torch.Generator().manual_seed(1)) + 2)


def test_modes_of_registered_modules_are_switched_and_restored_one_by_one():
    encoder, story = networks(drop=0.5)
    encoder[1].eval()
    modes = [part.training for part in encoder.modules()]
    with torch.no_grad():
        expected = copy.deepcopy(encoder).eval()(X)[:, :DIM]
    codes = encode(story, X)["mean"].values  # the first time that the story runs
    torch.testing.assert_close(torch.from_numpy(codes), expected)
    elbo_per_datum(story, X)
    fit(story, DATA, steps=3, batch_size=8, held_out=DATA, evaluate_every=1, progress=False)
    assert [part.training for part in encoder.modules()] == modes
    assert int(encoder[1].num_batches_tracked) == 0  # in evaluation mode all the time


@pytest.mark.parametrize("compile", [False, "auto"])
def test_so_many_steps_are_so_many_updates_of_running_statistics(compile, monkeypatch):
    monkeypatch.setattr(loop, "MIN_GRAPH_STEPS", 0)
    encoder, story = networks()
    steps = 12
    history = fit(
        story,
        DATA,
        steps=steps,
        batch_size=16,
        held_out=DATA,
        evaluate_every=5,
        compile=compile,
        progress=False,
    )
    assert history.attrs["captured"] == ("graph" if compile else "no")
    encode(story, X)
    assert int(encoder[1].num_batches_tracked) == steps


def test_running_statistics_are_part_of_checkpoints_and_resumed_bit_for_bit(tmp_path):
    def trained(steps, name):
        encoder, story = networks(drop=0.3)
        path = tmp_path / name
        fit(story, DATA, steps=steps, batch_size=16, checkpoint=path, resume=True, progress=False)
        return encoder, story

    whole, story = trained(9, "whole")
    trained(4, "parts")
    resumed, _ = trained(9, "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    names = {name.removeprefix("registered.encoder.") for name in story.state_dict()}
    assert names >= whole.state_dict().keys()


def test_an_auto_guide_is_resumed_bit_for_bit(tmp_path):
    def trained(steps, name):
        story = as_story(model, AutoNormal(model))
        path = tmp_path / name
        fit(
            story,
            X,
            steps=steps,
            checkpoint=path,
            resume=True,
            objective=Trace_ELBO(),
            progress=False,
        )
        return story.state_dict()

    whole = trained(8, "whole")
    trained(3, "parts")
    resumed = trained(8, "parts")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_published_parameters_keep_their_constraints():
    class Plain:
        @staticmethod
        def model(x):
            model(x)

        @staticmethod
        def guide(x):
            scale = pyro.param("scale", torch.tensor(2.0), constraint=constraints.positive)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x, scale).to_event(1))

    fit(Plain(), X, steps=50, lr=0.1, batch_size=SIZE, progress=False)
    scale = pyro.param("scale").detach()
    assert 0 < float(scale) < 2
    unconstrained = dict(pyro.get_param_store().named_parameters())["scale"]
    assert unconstrained.exp().item() == pytest.approx(float(scale))
    fit(Plain(), X, steps=1, lr=1e-9, batch_size=SIZE, progress=False)  # goes on from there
    assert pyro.param("scale").item() == pytest.approx(float(scale), rel=1e-5)


def test_parameters_may_have_names_that_torch_has_itself():
    def guide(x):
        loc = pyro.param("type", torch.zeros(DIM)) + pyro.param("a.values", torch.zeros(DIM))
        with pyro.plate("data", len(x)):
            pyro.sample(
                "z", dist.Normal(loc + pyro.param("values", torch.zeros(DIM)), 1.0).to_event(1)
            )

    story = as_story(model, guide, example=X)
    assert len(list(story.parameters())) == 3
    fit(story, X, steps=2, batch_size=SIZE, progress=False)
    assert all((parameter != 0).all() for parameter in story.parameters())


def test_a_parameter_that_is_stated_as_a_torch_parameter_is_the_first_one():
    def guide(x):
        loc = pyro.param("loc", nn.Parameter(torch.zeros(DIM)))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    story = as_story(model, guide, example=X)
    fit(story, X, steps=300, lr=0.05, batch_size=SIZE, progress=False)
    codes = torch.from_numpy(encode(story, X)["mean"].values)
    torch.testing.assert_close(codes, (X.mean(0) / 2).expand(SIZE, DIM), atol=0.2, rtol=0)


def test_a_flow_is_encoded_by_the_moments_of_its_draws():
    shift = torch.tensor([3.0, -1.0])
    affine = dist.transforms.AffineTransform(shift, torch.tensor([2.0, 0.5]), event_dim=1)

    def guide(x):
        with pyro.plate("data", len(x)):
            base = dist.Normal(x, 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [affine]))

    codes = encode(as_story(model, guide), X)
    scale = torch.tensor([2.0, 0.5])
    mean, deviation = (torch.from_numpy(codes[name].values) for name in ("mean", "scale"))
    torch.testing.assert_close(mean, shift + scale * X, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(deviation, scale.expand(SIZE, DIM), rtol=1e-2, atol=0)


def test_modules_that_nobody_registers_are_in_evaluation_mode_but_not_trained():
    pretrained = nn.Sequential(nn.Linear(DIM, DIM), nn.Dropout(0.5))

    def guide(x):
        with pyro.plate("data", len(x)):
            loc = pyro.param("shift", torch.zeros(DIM)) + pretrained(x)
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    story = as_story(model, guide)
    with torch.no_grad():
        expected = copy.deepcopy(pretrained).eval()(X)
    for _ in range(2):  # the first time reads the pair
        codes = torch.from_numpy(encode(story, X)["mean"].values)
        torch.testing.assert_close(codes, expected)
    before = copy.deepcopy(pretrained.state_dict())
    fit(story, DATA, steps=3, batch_size=8, lr=0.1, progress=False)
    assert pretrained.training
    assert all(torch.equal(value, before[name]) for name, value in pretrained.state_dict().items())
    assert [name for name, _ in story.named_parameters()] == ["lifted.shift"]


def test_weights_of_a_pair_that_has_not_run_say_how_to_load_them():
    _, trained = networks()
    trained.guide(X)
    weights = trained.state_dict()
    _, other = networks(seed=1)
    with pytest.raises(RuntimeError, match="pass example=x to as_story before you load them"):
        other.load_state_dict(weights)
    other.guide(X)
    other.load_state_dict(weights)
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


def test_a_guide_of_some_data_is_refused_on_other_data_of_the_same_number():
    x = torch.randn(6, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    story = as_story(model, AutoNormal(model), example=torch.zeros(6, 3))
    fit(story, x, steps=5, batch_size=6, progress=False)
    codes = encode(story, x)["mean"]
    assert codes.shape == (6, 3)
    with pytest.raises(ValueError, match="got other data: pass the same data"):
        encode(story, x + 1)
    with pytest.raises(ValueError, match="got other data: pass the same data"):
        encode(story, x.flip(0))
