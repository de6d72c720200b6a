"""fit with objectives and optimisers of Pyro, schedules, clipping and double precision."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    SVI,
    EnergyDistance,
    JitTrace_ELBO,
    JitTraceGraph_ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
    config_enumerate,
)
from pyro.optim import PyroLRScheduler, PyroOptim
from pyro.optim.multi import Newton
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from ppl_disentangle import GenerativeStory, as_story, encode
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.training import loop
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.models import BetaVAE

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*no sample sites configured for enumeration"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
X = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
DATA = from_arrays(X)
BATCHES = Batches(DATA, 16, seed=0, device=torch.device("cpu"))


def batch_of(step):
    """The data in the order in which ``fit`` takes them in that step."""
    return X[BATCHES.index(step)]


@pytest.fixture(autouse=True)
def empty_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def model(x, observations=None):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        return pyro.sample("x", dist.Normal(z, scale).to_event(1), obs=x)


def guide(x, observations=None):
    with pyro.plate("data", len(x)):
        loc = x * pyro.param("k", torch.tensor(0.5))
        pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))


def simple_loss(model, guide, *args):
    drawn = pyro.poutine.trace(guide).get_trace(*args)
    played = pyro.poutine.trace(pyro.poutine.replay(model, trace=drawn)).get_trace(*args)
    return drawn.log_prob_sum() - played.log_prob_sum()


STOCHASTIC = {
    "Trace": Trace_ELBO,
    "TraceGraph": TraceGraph_ELBO,
    "TraceMeanField": TraceMeanField_ELBO,
    "TraceEnum": functools.partial(TraceEnum_ELBO, max_plate_nesting=1),
    "TraceTMC": functools.partial(TraceTMC_ELBO, max_plate_nesting=1),
    "Renyi": functools.partial(RenyiELBO, num_particles=3),
    "several particles": functools.partial(Trace_ELBO, num_particles=2),
    "JitTrace": JitTrace_ELBO,
    "JitTraceGraph": JitTraceGraph_ELBO,
    "wake-sleep": functools.partial(
        ReweightedWakeSleep, num_particles=3, vectorize_particles=False, insomnia=0.5
    ),
    "energy distance": EnergyDistance,
    "a function": lambda: simple_loss,
}


def stock(objective, optimiser, steps, model=model, guide=guide):
    """Losses of stock SVI per datum, and the parameters that it ends with."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    svi = SVI(model, guide, optimiser, objective)
    losses = [svi.step(batch_of(step)) for step in range(steps)]
    totals = [sum(loss) if isinstance(loss, tuple) else loss for loss in losses]
    values = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    pyro.clear_param_store()
    return torch.tensor(totals) / 16, values


def fitted(story=None, steps=5, **options):
    story = as_story(model, guide) if story is None else story
    options = {"batch_size": 16, "progress": False, "objective": Trace_ELBO()} | options
    return story, fit(story, DATA, steps=steps, **options)


def parameters(story):
    values = {story.names[key]: story.constraints[key] for key in story.lifted}
    constrained = torch.distributions.transform_to
    return {
        name: constrained(values[name])(story.lifted[key].detach())
        for key, name in story.names.items()
    }


def assert_as_stock(story, history, losses, values, rtol=1e-4):
    torch.testing.assert_close(
        torch.from_numpy(history["loss"].values), losses.float(), rtol=rtol, atol=1e-6
    )
    for name, value in parameters(story).items():
        torch.testing.assert_close(value, values[name], rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("make", STOCHASTIC.values(), ids=list(STOCHASTIC))
def test_losses_and_parameters_are_those_of_stock_svi(make):
    losses, values = stock(make(), PyroOptim(torch.optim.Adam, {"lr": 0.05}), 5)
    story, history = fitted(objective=make(), lr=0.05)
    assert_as_stock(story, history, losses, values)
    assert not pyro.get_param_store()


def test_wake_sleep_has_a_loss_for_the_model_and_one_for_the_guide():
    objective = ReweightedWakeSleep(num_particles=2, vectorize_particles=False)
    _, history = fitted(objective=objective)
    total = history["model_loss"] + history["guide_loss"]
    assert total.values == pytest.approx(history["loss"].values)


def test_an_objective_without_a_value_is_trained_all_the_same():
    options = {"num_particles": 3, "vectorize_particles": True}
    optimiser = PyroOptim(torch.optim.Adam, {"lr": 0.05})
    _, values = stock(TraceTailAdaptive_ELBO(**options, max_plate_nesting=1), optimiser, 5)
    objective = TraceTailAdaptive_ELBO(**options, max_plate_nesting=1)
    story, history = fitted(objective=objective, lr=0.05)
    assert bool(history["loss"].isnull().all())
    for name, value in parameters(story).items():
        torch.testing.assert_close(value, values[name], rtol=1e-4, atol=1e-5)


def test_enumerated_classes_are_summed_out_as_by_stock_svi():
    def mixture(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)), infer={"enumerate": "parallel"})
            locs = pyro.param("locs", torch.tensor([-1.0, 1.0]))
            pyro.sample("x", dist.Normal(locs[k], 1.0), obs=x[:, 0])

    @config_enumerate
    def classes(x):
        with pyro.plate("data", len(x)):
            logit = pyro.param("logit", torch.tensor(0.3)) * x[:, 0]
            pyro.sample("k", dist.Categorical(logits=torch.stack([-logit, logit], -1)))

    def nothing(x):
        return None

    for guide in (classes, nothing):
        optimiser = PyroOptim(torch.optim.Adam, {"lr": 0.05})
        stocks = stock(TraceEnum_ELBO(max_plate_nesting=1), optimiser, 4, mixture, guide)
        story = as_story(mixture, guide, example=X)
        story, history = fitted(story, 4, objective=TraceEnum_ELBO(), lr=0.05)
        assert_as_stock(story, history, *stocks)


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    return BetaVAE(Gaussian(layers), GaussianLearnedScale(nn.Linear(2, 3)), 2)


@pytest.mark.parametrize("make", [TraceGraph_ELBO, TraceEnum_ELBO, Trace_ELBO])
def test_running_statistics_have_one_update_for_each_step(make):
    story, _ = fitted(network(), 6, objective=make(), batch_size=8)
    assert int(story.encoder.net[1].num_batches_tracked) == 6


def test_a_jit_objective_refuses_running_statistics():
    with pytest.raises(ValueError, match="not update the running statistics of 'encoder.net.1'"):
        fitted(network(), 6, objective=JitTrace_ELBO())


OPTIMISERS = {
    "ClippedAdam": lambda: pyro.optim.ClippedAdam({"lr": 0.05, "clip_norm": 0.1, "lrd": 0.9}),
    "SGD with clipping": lambda: PyroOptim(torch.optim.SGD, {"lr": 0.01}, {"clip_norm": 0.5}),
    "by parameter": lambda: PyroOptim(
        torch.optim.Adam, lambda name: {"lr": 0.1 if name == "k" else 0.01}
    ),
    "by module and parameter": lambda: PyroOptim(
        torch.optim.Adam, lambda module, name: {"lr": 0.1 if name == "k" else 0.01}
    ),
}


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=list(OPTIMISERS))
def test_optimisers_of_pyro_take_the_steps_that_they_take_in_svi(make):
    losses, values = stock(Trace_ELBO(), make(), 5)
    story, history = fitted(optimizer=make())
    assert_as_stock(story, history, losses, values)


def test_a_scheduler_of_pyro_advances_after_every_step():
    def make():
        options = {"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.01}, "gamma": 0.5}
        return PyroLRScheduler(ExponentialLR, options)

    torch.manual_seed(0)
    scheduler = make()
    svi = SVI(model, guide, scheduler, Trace_ELBO())
    losses = []
    for step in range(5):
        losses.append(svi.step(batch_of(step)) / 16)
        scheduler.step()
    values = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    pyro.clear_param_store()
    assert_as_stock(*fitted(optimizer=make()), torch.tensor(losses), values)


def cosine_after_rise(optimizer):
    rise = LambdaLR(optimizer, lambda step: (step + 1) / 3)
    return SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, 6)], milestones=[3])


SCHEDULES = {
    "steps": lambda optimizer: StepLR(optimizer, 2, 0.5),
    "milestones": lambda optimizer: MultiStepLR(optimizer, [2, 5], 0.1),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=10),
    "a sequence": cosine_after_rise,
    "a product": lambda optimizer: LambdaLR(optimizer, lambda step: 0.7**step),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=list(SCHEDULES))
def test_schedules_and_clipping_are_resumed_bit_for_bit(make, tmp_path):
    def trained(steps, name, capture=False):
        options = {"scheduler": make, "clip_norm": 0.3, "lr": 0.05, "compile": capture}
        story, _ = fitted(network(), steps, checkpoint=tmp_path / name, resume=True, **options)
        return story.state_dict()

    whole = trained(8, "whole")
    trained(4, "parts")
    resumed = trained(8, "parts")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_schedule_and_clipping_give_the_steps_of_a_hand_written_loop():
    story, _ = fitted(network(), 6, batch_size=16, objective=Trace_ELBO(), **HAND_WRITTEN)
    other = network()
    other.num_data = 16
    optimizer = torch.optim.SGD(other.parameters(), lr=0.5)
    scheduler = HAND_WRITTEN["scheduler"](optimizer)
    torch.manual_seed(0)
    for step in range(6):
        optimizer.zero_grad()
        loss = Trace_ELBO().differentiable_loss(other.model, other.guide, batch_of(step))
        (loss / 16).backward()
        nn.utils.clip_grad_norm_(other.parameters(), 0.2)
        optimizer.step()
        scheduler.step()
    for value, expected in zip(story.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


HAND_WRITTEN = {
    "optimizer": torch.optim.SGD,
    "lr": 0.5,
    "scheduler": lambda optimizer: StepLR(optimizer, 2, 0.5),
    "clip_norm": 0.2,
}


@pytest.mark.parametrize("options", [{"scheduler": SCHEDULES["steps"]}, {"clip_value": 0.01}])
def test_captured_steps_have_schedules_and_clipping(options, monkeypatch):
    monkeypatch.setattr(loop, "MIN_GRAPH_STEPS", 0)
    options = options | {"objective": None, "batch_size": 8, "steps": 30}
    eager, _ = fitted(network(), compile=False, **options)
    captured, history = fitted(network(), compile="auto", **options)
    assert history.attrs["captured"] == "graph"
    expected = eager.state_dict()
    assert all(torch.equal(v, expected[name]) for name, v in captured.state_dict().items())


def test_a_plateau_of_the_held_out_bound_lowers_the_learning_rate():
    rates = []

    def make(optimizer):
        rates.append(optimizer.param_groups[0])
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=1e9)

    fitted(network(), 4, scheduler=make, held_out=DATA, evaluate_every=1, objective=None, lr=0.01)
    assert rates[0]["lr"] < 0.01
    with pytest.raises(ValueError, match="follows the held-out bound: pass held_out data"):
        fitted(network(), 4, scheduler=make)


def test_double_precision_from_the_first_step_to_the_codes():
    story, history = fitted(network(), 3, dtype=torch.float64, objective=None, held_out=DATA)
    assert {value.dtype for value in story.parameters()} == {torch.float64}
    assert history["loss"].dtype == "float64"
    assert encode(story, DATA)["mean"].dtype == "float64"
    assert torch.get_default_dtype() == torch.float32
    again, _ = fitted(network().double(), 3, objective=None)
    for value, other in zip(story.parameters(), again.parameters(), strict=True):
        assert torch.equal(value, other)
    single, _ = fitted(network(), 3, objective=None)
    for value, other in zip(story.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(value.float(), other, rtol=1e-2, atol=1e-2)
    pair, _ = fitted(steps=2, dtype=torch.float64)
    assert {value.dtype for value in pair.parameters()} == {torch.float64}


def test_a_number_of_held_out_data_is_split_off():
    story, history = fitted(network(), 2, held_out=4, batch_size=12, evaluate_every=1)
    assert "held_out_elbo" in history
    with pytest.raises(ValueError, match="batch_size=13 is more than the 12 data"):
        fitted(network(), 2, held_out=4, batch_size=13)


class States(GenerativeStory):
    latents = ("z",)

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            scale = pyro.param("scale", torch.tensor(1.0))
            pyro.sample("x", dist.Normal(z[:, None].expand(x.shape), scale).to_event(1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))


def made_elsewhere():
    return torch.optim.Adam(network().parameters())


REFUSED = {
    "a class": ({"objective": Trace_ELBO}, "pass an instance, Trace_ELBO()"),
    "no objective": ({"objective": 3}, "expected an objective .* got int"),
    "an optimiser": ({"optimizer": made_elsewhere()}, "pass the class, torch.optim.Adam"),
    "a scheduler": (
        {"optimizer": StepLR(made_elsewhere(), 2)},
        "pass scheduler=lambda optimizer: StepLR",
    ),
    "Newton": ({"optimizer": Newton()}, "Newton is not taken"),
    "LBFGS": ({"optimizer": torch.optim.LBFGS}, "LBFGS evaluates the loss several times"),
    "a number": ({"optimizer": 3}, "expected a function that makes an optimiser, got int"),
    "no scheduler": ({"scheduler": lambda optimizer: 3}, "to be a torch LRScheduler, got int"),
    "two rates": (
        {"optimizer": pyro.optim.ClippedAdam({"lr": 1.0}), "lr": 0.1},
        "has a learning rate of its own: leave lr away",
    ),
    "two bounds": ({"clip_norm": 1.0, "clip_value": 1.0}, "clip_norm or clip_value, not both"),
    "a negative bound": ({"clip_norm": -1.0}, "expected clip_norm > 0, got -1.0"),
    "half precision": ({"dtype": torch.float16}, "expected dtype torch.float32 or torch.float64"),
    "two precisions": (
        {"dtype": torch.float64, "precision": "bfloat16"},
        "exclude each other",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_trained_with_is_refused_by_name(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fitted(**options)


def test_a_parameter_that_would_not_be_trained_is_refused():
    with pytest.raises(ValueError, match=r"States states pyro.param\('scale'\)"):
        fitted(States())


def test_a_jit_objective_refuses_conditions():
    class Conditioned(States):
        def model(self, x=None, *, batch_size=1, c=None):
            super().model(x, batch_size=batch_size)

    data = with_conditions(DATA, c=torch.zeros(16, 1))
    with pytest.raises(ValueError, match="JitTrace_ELBO would keep the conditions .*, c; use Tr"):
        fit(Conditioned(), data, steps=1, batch_size=8, objective=JitTrace_ELBO(), progress=False)


def test_other_settings_of_schedule_and_clipping_are_not_resumed(tmp_path):
    path = tmp_path / "c"
    fitted(steps=2, checkpoint=path, clip_norm=1.0)
    with pytest.raises(ValueError, match="is of another run: clip_norm was 1.0, now None"):
        fitted(steps=3, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="scheduler was None, now 'StepLR'"):
        fitted(
            steps=3,
            checkpoint=path,
            resume=True,
            clip_norm=1.0,
            scheduler=lambda optimizer: StepLR(optimizer, 2),
        )
