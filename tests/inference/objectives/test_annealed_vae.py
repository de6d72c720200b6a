"""Objectives with capacities against loops over their definitions and Pyro's bounds."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

from ppl_disentangle.inference.elbo.schedules import Linear
from ppl_disentangle.inference.objectives.annealed_vae import CapacityELBO
from ppl_disentangle.inference.objectives.beta_vae import BetaELBO
from ppl_disentangle.inference.objectives.joint_vae import JointELBO
from tests.inference.pairs import (
    BATCH,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
    terms,
)


def kl_by_datum(pair):
    """The divergence of each datum that is not masked, scaled like the latents, by hand."""
    loc, log_scale = pair.loc.tolist(), pair.log_scale.tolist()
    kept = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    normal = lambda m, s: 0.5 * (m * m + math.exp(2 * s) - 2 * s - 1)  # noqa: E731
    divergences = [
        sum(normal(m, s) for m, s in zip(loc[n], log_scale[n], strict=True)) for n in kept
    ]
    return [pair.scale * divergence for divergence in divergences]


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_the_capacity_gap_is_its_definition_and_without_it_the_bound_is_pyros(
    setting, particles, per_sample
):
    pair, elbo = Pair(**setting), CapacityELBO(3.0, per_sample=per_sample, **particles)
    divergences = kl_by_datum(pair)
    mean = sum(divergences) / BATCH  # a masked datum has no divergence, and counts
    distances = sum(abs(d - 3.0) for d in divergences) / BATCH
    expected = distances if per_sample else abs(mean - 3.0)
    parts = terms(elbo, pair)
    assert parts["capacity_gap"].item() == pytest.approx(-NUM_DATA * expected, rel=1e-5)
    assert parts["kl"].item() == pytest.approx(-NUM_DATA * mean, rel=1e-5)
    elbo.weights.update(kl=1.0, capacity_gap=0.0)
    reference = loss_and_gradients(TraceMeanField_ELBO(**particles), pair)
    for value, expected in zip(loss_and_gradients(elbo, pair), reference, strict=True):
        torch.testing.assert_close(value, expected, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
def test_the_gap_of_a_divergence_known_only_from_draws_is_that_of_each_particle(particles):
    class HeavyTails(Pair):
        def prior(self, size):
            return dist.StudentT(self.x.new_tensor(4.0), self.x.new_zeros(size), 1.0).to_event(1)

    pair = HeavyTails(dtype=torch.float64, mask=torch.arange(BATCH) != 2)
    elbo, gaps = CapacityELBO(2.0, **particles), []
    ours = terms(elbo, pair)["capacity_gap"]
    pyro.set_rng_seed(0)
    for _, guide_trace in elbo._get_traces(pair.model, pair.guide, (), {}):
        for z in guide_trace.nodes["z0"]["value"].reshape(-1, BATCH, 3):
            ratio = dist.Normal(pair.loc, pair.log_scale.exp()).log_prob(z).sum(-1) - pair.prior(
                3
            ).log_prob(z)
            gaps.append((ratio[pair.mask].sum() / BATCH - 2.0).abs())
    torch.testing.assert_close(ours, -NUM_DATA * torch.stack(gaps).mean().detach())


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_masked_datum_may_have_any_divergence(per_sample):
    pyro.enable_validation(False)
    pair, gaps = Pair(mask=torch.arange(BATCH) != 2), []
    for loc in (pair.loc.detach()[2].clone(), torch.inf):
        pair.loc.detach()[2] = loc
        gaps.append(terms(CapacityELBO(3.0, per_sample=per_sample), pair)["capacity_gap"])
    assert torch.isfinite(gaps[0])
    assert gaps[0] == gaps[1]


@pytest.mark.parametrize(("capacity", "sign"), [(0.5, 1.0), (50.0, -1.0)])
def test_the_gap_pushes_the_divergence_towards_the_capacity_from_either_side(capacity, sign):
    pair, beta = Pair(), BetaELBO()
    beta.weights["kl"] = sign * 7.0
    for per_sample in (False, True):
        elbo = CapacityELBO(capacity, 7.0, per_sample=per_sample)
        reference = loss_and_gradients(beta, pair)[1:]
        for value, expected in zip(loss_and_gradients(elbo, pair)[1:], reference, strict=True):
            torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("per_sample", [False, True])
def test_gradients_of_the_capacity_bound_equal_finite_differences(per_sample):
    pair, elbo = Pair(dtype=torch.float64), CapacityELBO(3.0, 5.0, per_sample=per_sample)

    def loss(*parameters):
        pair.loc, pair.log_scale, pair.shift = parameters
        pyro.set_rng_seed(0)
        return elbo(pair.model, pair.guide)()

    assert torch.autograd.gradcheck(loss, tuple(pair.parameters))


def test_the_divergence_tracks_the_capacity():
    pyro.enable_validation(False)
    pair, elbo = Pair(), CapacityELBO(Linear(2.0, 6.0, 400))
    module, optimizer = elbo(pair.model, pair.guide), torch.optim.Adam(pair.parameters, lr=0.004)
    reached, capacity = [], []
    for step in range(500):
        optimizer.zero_grad()
        capacity.append(elbo.capacity(elbo.step).item())
        module().div(NUM_DATA).backward()
        optimizer.step()
        reached.append(-elbo.last_terms["kl"].item() / NUM_DATA)
        assert elbo.step == step + 1
    assert capacity[200] == pytest.approx(4.0)
    assert reached[200:] == pytest.approx(capacity[200:], rel=0.02)


def test_a_batch_of_one_datum_has_a_finite_gap():
    def model():
        with pyro.plate("data", 1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.ones(1))

    def guide():
        with pyro.plate("data", 1):
            pyro.sample("z", dist.Normal(torch.ones(1), 1.0))

    elbo = CapacityELBO(0.3)
    elbo.loss(model, guide)
    assert elbo.last_terms["capacity_gap"].item() == pytest.approx(-0.2)


def test_the_default_capacity_is_that_of_the_papers():
    elbo = CapacityELBO()
    assert elbo.capacity(torch.tensor(50_000.0)) == 12.5
    assert elbo.weights == {"kl": 0.0, "capacity_gap": 1000.0}
    assert "Linear(start=0.0, end=25.0, steps=100000), per_sample=False" in repr(elbo)
    joint = JointELBO()
    assert (
        joint.continuous_capacity(torch.tensor(12_500.0))
        == joint.discrete_capacity(torch.tensor(12_500.0))
        == 2.5
    )
    assert (joint.weights["continuous_gap"], joint.weights["discrete_gap"]) == (30.0, 30.0)


def test_negative_capacities_are_refused():
    with pytest.raises(ValueError, match="expected capacity >= 0, in nats per datum, got -1"):
        CapacityELBO(-1.0)
    with pytest.raises(
        ValueError, match="expected discrete_capacity >= 0, in nats per datum, got -2"
    ):
        JointELBO(5.0, -2.0)
    with pytest.raises(ValueError, match="weight of 'capacity_gap' that is not negative, got -3"):
        CapacityELBO(gamma=-3.0)
