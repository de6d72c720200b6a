"""Schedules, weights of single latents, and objectives with capacities, against formulas, loops and Pyro's bounds."""

import functools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import nn

from ppl_disentangle.inference.elbo.schedules import Cyclical, Linear, Piecewise
from ppl_disentangle.inference.objectives.annealed_vae import CapacityELBO
from ppl_disentangle.inference.objectives.beta_vae import BetaELBO, beta_from_mean_reduction
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


def steps(count):
    return torch.arange(count, dtype=torch.float32)


@pytest.mark.parametrize("cycles", [None, 1, 3])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0])
def test_a_cyclical_weight_is_the_formula_of_its_paper(ratio, cycles):
    def formula(step):
        phase = (step % 20) / 20
        done = cycles is not None and step >= 20 * cycles
        return 3.0 if done or phase > ratio else 0.5 + (3.0 - 0.5) * phase / ratio

    ours = Cyclical(0.5, 3.0, 20, ratio=ratio, cycles=cycles)(steps(100))
    torch.testing.assert_close(ours, torch.tensor([formula(t) for t in range(100)]))


def test_a_piecewise_weight_interpolates_between_its_points():
    points = [(5, 1.0), (6, 4.0), (20, 4.0), (50, -0.5)]
    expected = np.interp(np.arange(70), *zip(*points, strict=True))
    torch.testing.assert_close(
        Piecewise(*points)(steps(70)), torch.tensor(expected, dtype=torch.float32)
    )


@pytest.mark.parametrize(
    "schedule", [Cyclical(0.0, 4.0, 4, cycles=2), Piecewise((1, 0.0), (3, 4.0))], ids=repr
)
def test_schedules_are_weights_that_follow_the_steps_of_training(schedule):
    elbo, pair, seen = BetaELBO(schedule), Pair(), []
    module = elbo(pair.model, pair.guide)
    for _ in range(10):
        seen.append(float(elbo.weight("kl")))
        module().backward()
    assert seen == pytest.approx([float(schedule(torch.tensor(float(t)))) for t in range(10)])
    assert repr(schedule) in repr(elbo)
    assert eval(repr(schedule)) == schedule


def test_a_schedule_is_spelled_alike_in_every_process():
    halved = functools.partial(torch.mul, other=0.5)
    assert repr(BetaELBO(halved)) == repr(BetaELBO(functools.partial(torch.mul, other=0.5)))
    assert " at 0x" not in repr(BetaELBO(halved)) + repr(BetaELBO(Rising()))


class Rising:
    """A schedule with the representation that Python gives it."""

    def __call__(self, step):
        return step / 100


def test_senseless_schedules_are_refused():
    with pytest.raises(ValueError, match="period >= 1, got 0"):
        Cyclical(0.0, 1.0, 0)
    with pytest.raises(ValueError, match="ratio above 0 and up to 1, got 1.5"):
        Cyclical(0.0, 1.0, 10, ratio=1.5)
    with pytest.raises(ValueError, match="cycles >= 1 or None, got 0"):
        Cyclical(0.0, 1.0, 10, cycles=0)
    with pytest.raises(
        ValueError, match=r"two or more points \(step, weight\), got \(\(0, 1.0\),\)"
    ):
        Piecewise((0, 1.0))
    with pytest.raises(ValueError, match=r"increasing steps, got steps \[0, 5, 5\]"):
        Piecewise((0, 1.0), (5, 2.0), (5, 3.0))


def kl_by_datum(pair):
    """The divergence of each datum that is not masked, and how many data all of them stand for, by hand."""
    loc, log_scale = pair.loc.tolist(), pair.log_scale.tolist()
    kept = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    normal = lambda m, s: 0.5 * (m * m + math.exp(2 * s) - 2 * s - 1)  # noqa: E731
    divergences = [
        sum(normal(m, s) for m, s in zip(loc[n], log_scale[n], strict=True)) for n in kept
    ]
    return divergences, pair.scale * NUM_DATA / BATCH * len(kept)


def test_beta_of_one_latent_weighs_its_divergence_alone():
    pair, elbo = Pair((2, 1), dtype=torch.float64), BetaELBO({"z1": Linear(8.0, 0.0, 2)})
    parts = terms(elbo, pair)
    assert list(parts) == ["log_likelihood", "kl[z0]", "kl[z1]"]
    for name, columns in (("z0", slice(0, 2)), ("z1", slice(2, 3))):
        q = dist.Normal(pair.loc[:, columns], pair.log_scale[:, columns].exp())
        expected = (
            torch.distributions.kl_divergence(q, dist.Normal(0.0, 1.0)).sum() * NUM_DATA / BATCH
        )
        torch.testing.assert_close(parts[f"kl[{name}]"], -expected.detach())
    for weight in (8.0, 4.0, 0.0):
        expected = parts["log_likelihood"] + parts["kl[z0]"] + weight * parts["kl[z1]"]
        torch.testing.assert_close(loss_and_gradients(elbo, pair)[0], -expected)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_the_same_beta_for_every_latent_is_one_beta(setting, particles):
    pair = Pair(**setting)
    by_name = BetaELBO({f"z{i}": 3.0 for i in range(len(pair.split))}, **particles)
    reference = loss_and_gradients(BetaELBO(3.0, **particles), pair)
    for value, expected in zip(loss_and_gradients(by_name, pair), reference, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-3)


def test_beta_of_what_is_no_latent_is_refused():
    with pytest.raises(
        ValueError,
        match=r"a weight for 'shape', but no latent has that name; .* has \['z0', 'z1'\]",
    ):
        BetaELBO({"z0": 1.0, "shape": 2.0}).loss(Pair((2, 1)).model, Pair((2, 1)).guide)
    with pytest.raises(ValueError, match=r"expected weights of latents by name, got \{\}"):
        BetaELBO({})
    with pytest.raises(ValueError, match=r"weight of 'kl\[z0\]' that is not negative, got -1"):
        BetaELBO({"z0": -1.0})


@pytest.mark.parametrize("latent_dim", [None, 2])
def test_a_beta_for_mean_reduction_becomes_ours_by_the_same_direction_of_the_gradient(latent_dim):
    generator = torch.Generator().manual_seed(0)
    x, loc, scale = (
        torch.rand(*shape, generator=generator, dtype=torch.float64)
        for shape in ((4, 2, 3), (4, 2), (2,))
    )
    decoder = nn.Linear(2, 6, dtype=torch.float64)
    learned = [loc.requires_grad_(), scale.requires_grad_(), *decoder.parameters()]

    def model():
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(scale), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z).reshape(4, 2, 3), 1.0).to_event(2), obs=x)

    def guide():
        with pyro.plate("data", 4):
            return pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    pyro.set_rng_seed(0)
    ours = BetaELBO(beta_from_mean_reduction(0.3, (2, 3), latent_dim=latent_dim))(model, guide)()
    pyro.set_rng_seed(0)
    z = guide()
    divergence = torch.distributions.kl_divergence(dist.Normal(loc, scale), dist.Normal(0.0, 1.0))
    divergence = divergence.sum(-1).mean() if latent_dim is None else divergence.mean()
    theirs = 0.5 * (x - decoder(z).reshape(4, 2, 3)).square().mean() + 0.3 * divergence
    for value, expected in zip(
        torch.autograd.grad(ours, learned), torch.autograd.grad(theirs, learned), strict=True
    ):
        torch.testing.assert_close(value, 6 * 4 * expected)


def test_a_beta_for_mean_reduction_needs_sizes():
    with pytest.raises(ValueError, match="a beta that is not negative, got -1"):
        beta_from_mean_reduction(-1.0, (3, 64, 64))
    with pytest.raises(ValueError, match=r"observation_shape of sizes >= 1, got \(3, 0\)"):
        beta_from_mean_reduction(1.0, (3, 0))
    with pytest.raises(ValueError, match="latent_dim >= 1 or None, got 0"):
        beta_from_mean_reduction(1.0, (3,), latent_dim=0)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_the_capacity_gap_is_its_definition_and_without_it_the_bound_is_pyros(
    setting, particles, per_sample
):
    pair, elbo = Pair(**setting), CapacityELBO(3.0, per_sample=per_sample, **particles)
    divergences, count = kl_by_datum(pair)
    distances = [abs(d - 3.0) for d in divergences]
    mean = sum(divergences) / len(divergences)
    expected = sum(distances) / len(distances) if per_sample else abs(mean - 3.0)
    parts = terms(elbo, pair)
    assert parts["capacity_gap"].item() == pytest.approx(-count * expected, rel=1e-5)
    assert parts["kl"].item() == pytest.approx(-count * mean, rel=1e-5)
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
            gaps.append((ratio[pair.mask].mean() - 2.0).abs())
    torch.testing.assert_close(ours, -NUM_DATA * 7 / 8 * torch.stack(gaps).mean().detach())


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
