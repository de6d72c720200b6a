"""Adaptive weights against Lagrange multipliers in closed form and the controller as a loop."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.optim import PyroOptim

from ppl_disentangle import as_story
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.elbo.schedules import Linear
from ppl_disentangle.inference.objectives.constrained import ConstrainedELBO
from ppl_disentangle.inference.objectives.control_vae import ControlELBO
from tests.inference.pairs import (
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
    terms,
)

OBJECTIVES = {
    "kl": lambda **k: ConstrainedELBO(kl=2.0, **k),
    "log_likelihood": lambda **k: ConstrainedELBO(log_likelihood=-2.0, **k),
    "control": lambda **k: ControlELBO(2.0, **k),
}


class Toy:
    r"""z ~ N(0, 1), x ~ N(z, s^2), q(z | x) = N(a x, v), whose optimum under a weighted divergence is known.

    Setting the derivatives by a and v of E log p(x | z) - beta KL to zero gives, with r = beta s^2,
    a = 1 / (1 + r) and v = r / (1 + r); m is the mean of x^2.
    """

    def __init__(self):
        self.x = 1.5 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
        self.slope, self.log_variance = (torch.tensor(v, requires_grad=True) for v in (0.5, -1.0))

    def model(self):
        with pyro.plate("data", len(self.x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=self.x)

    def guide(self):
        with pyro.plate("data", len(self.x)):
            pyro.sample("z", dist.Normal(self.slope * self.x, (0.5 * self.log_variance).exp()))

    def optimum(self, beta):
        """KL and log likelihood, in nats per datum, where beta is the weight of the KL."""
        m, r = self.x.square().mean().item(), 0.25 * beta
        a, v = 1 / (1 + r), r / (1 + r)
        kl = 0.5 * (a * a * m + v - math.log(v) - 1)
        return kl, -0.5 * math.log(2 * math.pi * 0.25) - ((1 - a) ** 2 * m + v) / 0.5

    def train(self, elbo, steps=700):
        """Multiplier, KL and log likelihood per datum, means over the last steps."""
        pyro.enable_validation(False)
        module, optimizer = (
            elbo(self.model, self.guide),
            torch.optim.Adam([self.slope, self.log_variance], lr=0.05),
        )
        seen = []
        for _ in range(steps):
            optimizer.zero_grad()
            module().div(len(self.x)).backward()
            optimizer.step()
            per_datum = [elbo.last_terms[k] / len(self.x) for k in ("kl", "log_likelihood")]
            seen.append(torch.stack([elbo.multiplier.clone(), *per_datum]))
        multiplier, kl, log_likelihood = torch.stack(seen[-200:]).mean(0).tolist()
        return multiplier, -kl, log_likelihood


@pytest.mark.parametrize("beta", [3.0, 0.5])
def test_a_bound_on_the_kl_is_met_with_its_lagrange_multiplier(beta):
    toy = Toy()
    kl, log_likelihood = toy.optimum(beta)
    reached = toy.train(ConstrainedELBO(kl=kl, rate=0.05, decay=0.9))
    assert reached == pytest.approx((beta, kl, log_likelihood), rel=0.02)


@pytest.mark.parametrize("beta", [3.0, 0.5])
def test_a_bound_on_the_log_likelihood_is_met_with_its_lagrange_multiplier(beta):
    toy = Toy()
    kl, log_likelihood = toy.optimum(beta)
    reached = toy.train(ConstrainedELBO(log_likelihood=log_likelihood, rate=0.05, decay=0.9))
    assert reached == pytest.approx((1 / beta, kl, log_likelihood), rel=0.02)


def test_the_controller_converges_to_its_target_and_the_beta_of_that_target():
    toy = Toy()
    kl, log_likelihood = toy.optimum(3.0)
    reached = toy.train(ControlELBO(kl, integral=0.05))
    assert reached == pytest.approx((3.0, kl, log_likelihood), rel=0.02)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_the_bound_equals_pyros_before_the_weight_adapts(objective, setting, particles):
    pair = Pair(**setting)
    reference = loss_and_gradients(TraceMeanField_ELBO(**particles), pair)
    for value, expected in zip(
        loss_and_gradients(objective(**particles), pair), reference, strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("term", ["kl", "log_likelihood"])
def test_constraints_are_in_nats_per_datum_in_all_settings(term, setting, particles):
    pair = Pair(**setting)
    elbo = ConstrainedELBO(**{term: 2.0}, rate=0.1, **particles)
    loss_and_gradients(elbo, pair)
    # The plate over the data says how many there are, whatever the scale and the mask of latents.
    value = elbo.last_terms[term].item() / NUM_DATA
    violation = -value - 2.0 if term == "kl" else 2.0 - value
    assert elbo.average.item() == pytest.approx(violation, rel=1e-5)
    assert elbo.multiplier.item() == pytest.approx(math.exp(0.1 * violation), rel=1e-5)


def adapt_to(elbo, values):
    """Multipliers of an objective on its own, fed with recorded values of its term."""
    seen = []
    for value in values:
        elbo.adapt(torch.tensor(value))
        elbo.step += 1
        seen.append(elbo.multiplier.item())
    return seen


KLS = [
    0.1,
    0.5,
    2.0,
    9.0,
    30.0,
    25.0,
    12.0,
    9.0,
    7.0,
    4.0,
    1.0,
    0.5,
    3.0,
    5.0,
    5.5,
    4.5,
    5.0,
    5.0,
] * 2


def test_the_multiplier_follows_the_moving_average_of_the_violation():
    average, multiplier, expected = None, 2.0, []
    for step, kl in enumerate(KLS):
        violation = kl - (4.0 + min(step / 10, 1.0))
        average = violation if average is None else 0.8 * average + 0.2 * violation
        multiplier = min(max(multiplier * math.exp(0.3 * average), 0.05), 50.0)
        expected.append(multiplier)
    elbo = ConstrainedELBO(
        kl=Linear(4.0, 5.0, 10), rate=0.3, decay=0.8, multiplier=2.0, minimum=0.05, maximum=50.0
    )
    assert min(expected) == 0.05
    assert max(expected) == 50.0
    assert adapt_to(elbo, [-kl for kl in KLS]) == pytest.approx(expected, rel=1e-4)


def controller(kls, target, proportional, integral, minimum, maximum):
    """ControlVAE's controller; while it is out of its range, errors that drive it farther out are not summed."""
    total, betas = 0.0, []
    for kl in kls:
        error = target - kl
        first = proportional / (1 + math.exp(error))
        beta = minimum + first + total
        if not (beta < minimum and error > 0) and not (beta > maximum and error < 0):
            total -= integral * error
        betas.append(min(max(minimum + first + total, minimum), maximum))
    return betas


@pytest.mark.parametrize("limits", [(1.0, 100.0), (0.0, 1.5), (1.0, 1.05)], ids=str)
@pytest.mark.parametrize("gains", [(0.01, 0.001), (0.5, 0.1), (0.01, 0.0)], ids=str)
def test_the_controller_is_its_loop_over_recorded_divergences(gains, limits):
    expected = controller(KLS, 5.0, *gains, *limits)
    elbo = ControlELBO(
        5.0, proportional=gains[0], integral=gains[1], minimum=limits[0], maximum=limits[1]
    )
    assert adapt_to(elbo, [-kl for kl in KLS]) == pytest.approx(expected, rel=1e-5)


def test_within_its_range_the_controller_sums_every_error():
    kls = [6.0, 9.0, 8.0, 4.0, 7.0]
    errors = [5.0 - kl for kl in kls]
    expected = [
        1.0 + 0.5 / (1 + math.exp(e)) - 0.1 * sum(errors[: t + 1]) for t, e in enumerate(errors)
    ]
    elbo = ControlELBO(5.0, proportional=0.5, integral=0.1)
    assert adapt_to(elbo, [-kl for kl in kls]) == pytest.approx(expected, rel=1e-5)


def test_the_controller_does_not_wind_up_and_does_not_lock():
    elbo = ControlELBO(5.0, integral=0.1, maximum=3.0)
    assert adapt_to(elbo, [-0.1] * 500)[-1] == pytest.approx(1.0, abs=0.01)
    assert adapt_to(elbo, [-10.0] * 2)[-1] > 1.5
    assert adapt_to(elbo, [-10.0] * 500)[-1] == 3.0
    assert adapt_to(elbo, [-1.0] * 2)[-1] < 2.5


def test_the_target_may_be_a_schedule():
    elbo = ControlELBO(Linear(1.0, 9.0, 4), proportional=0.0, integral=0.1, minimum=1.0)
    betas = adapt_to(elbo, [-10.0] * 5)
    assert betas == pytest.approx([1.9, 2.6, 3.1, 3.4, 3.5], rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_training_moves_the_weight_and_evaluation_does_not(objective):
    pair, elbo = Pair(), objective()
    module = elbo(pair.model, pair.guide)
    for _ in range(3):
        elbo.loss(pair.model, pair.guide)
        with torch.no_grad():
            module()
    assert elbo.multiplier == 1.0
    before = elbo.last_terms
    optim = PyroOptim(torch.optim.SGD, {"lr": 0.0})
    pyro.set_rng_seed(0)
    svi = SVI(pair.model, pair.guide, optim, elbo)
    svi.step()
    moved = elbo.multiplier.clone()
    assert moved != 1.0
    svi.evaluate_loss()
    assert elbo.multiplier == moved
    assert elbo.step == 1
    assert set(before) == {"log_likelihood", "kl"}
    loss, parts = loss_and_gradients(elbo, pair)[0], elbo.last_terms
    weights = {elbo.term: moved.item()}
    assert loss.item() == pytest.approx(
        -sum(weights.get(k, 1.0) * v.item() for k, v in parts.items()), rel=1e-6
    )


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_the_state_is_saved_and_goes_on(objective):
    pair, first = Pair(), objective()
    for _ in range(3):
        loss_and_gradients(first, pair)
    second = objective()
    second.load_state_dict(first.state_dict())
    for elbo in (first, second):
        loss_and_gradients(elbo, pair)
    assert first.multiplier != 1.0
    assert second.multiplier == first.multiplier
    assert second.state_dict().keys() >= {"multiplier", "step"}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_fit_adapts_and_resumes_the_weight(objective, tmp_path):
    def model(x):
        with pyro.plate("data", NUM_DATA, subsample=range(len(x))):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", NUM_DATA, subsample=range(len(x))):
            scale = pyro.param("scale", torch.ones(2), constraint=dist.constraints.positive)
            pyro.sample("z", dist.Normal(3.0 * x, scale.expand(len(x), -1)).to_event(1))

    x = torch.randn(NUM_DATA, 2)
    settings = {"batch_size": 100, "progress": False, "checkpoint": tmp_path / "run"}
    half, whole, once = objective(), objective(), objective()
    fit(as_story(model, guide, example=x), from_arrays(x), steps=4, objective=half, **settings)
    fit(
        as_story(model, guide, example=x),
        from_arrays(x),
        steps=8,
        objective=whole,
        resume=True,
        **settings,
    )
    fit(
        as_story(model, guide, example=x),
        from_arrays(x),
        steps=8,
        objective=once,
        batch_size=100,
        progress=False,
    )
    assert torch.equal(whole.multiplier, once.multiplier)
    assert whole.multiplier != half.multiplier != 1.0


def test_terms_are_in_nats_and_named_by_the_checkpoint():
    pair = Pair(dtype=torch.float64)
    parts = terms(ControlELBO(Linear(0.5, 18.0, 10)), pair)
    assert parts["kl"].dtype == torch.float64
    assert "kl=Linear(start=0.5, end=18.0, steps=10), proportional=0.01" in repr(
        ControlELBO(Linear(0.5, 18.0, 10))
    )
    assert "log_likelihood=-3.0, rate=0.01, decay=0.99" in repr(
        ConstrainedELBO(log_likelihood=-3.0)
    )


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="one constraint, got kl=None and log_likelihood=None"):
        ConstrainedELBO()
    with pytest.raises(ValueError, match="one constraint, got kl=1.0 and log_likelihood=-2.0"):
        ConstrainedELBO(kl=1.0, log_likelihood=-2.0)
    with pytest.raises(ValueError, match="kl > 0, in nats per datum, got -1"):
        ConstrainedELBO(kl=-1.0)
    with pytest.raises(
        ValueError, match="rate > 0 and decay from 0 to below 1, got rate=0.0, decay=0.99"
    ):
        ConstrainedELBO(kl=1.0, rate=0.0)
    with pytest.raises(ValueError, match="decay=1.0"):
        ConstrainedELBO(kl=1.0, decay=1.0)
    with pytest.raises(
        ValueError, match="0 < minimum <= multiplier <= maximum, got 1e-06, 1.0, 0.5"
    ):
        ConstrainedELBO(kl=1.0, maximum=0.5)
    with pytest.raises(
        ValueError, match="the weight of 'kl' adapts by itself; expected no warm_up, got 10"
    ):
        ConstrainedELBO(kl=1.0, warm_up=10)
    with pytest.raises(ValueError, match="kl > 0, in nats per datum, got 0"):
        ControlELBO(0.0)
    with pytest.raises(
        ValueError, match="gains that are not negative, got proportional=0.01, integral=-0.1"
    ):
        ControlELBO(1.0, integral=-0.1)
    with pytest.raises(ValueError, match="0 <= minimum <= maximum, got 5.0, 2.0"):
        ControlELBO(1.0, minimum=5.0, maximum=2.0)
