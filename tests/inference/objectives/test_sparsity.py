"""SparsityELBO, its proximal step and the spike and slab against closed forms, sums and sampling."""

import copy
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence

from ppl_disentangle.inference import BetaELBO, Linear
from ppl_disentangle.inference.objectives.dip_vae import DIPELBO
from ppl_disentangle.inference.objectives.sparsity import SparsityELBO, shrink_columns
from ppl_disentangle.spike_slab import SpikeAndSlab
from tests.inference.pairs import (
    BATCH,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
    terms,
)

DOUBLE = {"dtype": torch.float64}


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_without_penalties_it_is_pyros_bound(setting, particles):
    pair = Pair(**setting)
    expected = loss_and_gradients(TraceMeanField_ELBO(**particles), pair)
    for value, reference in zip(
        loss_and_gradients(SparsityELBO(**particles), pair), expected, strict=True
    ):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("split", [(3,), (2, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("setting", [{}, SETTINGS["masked"], {"scale": 0.3}])
def test_l1_is_the_sum_of_absolute_draws(setting, split):
    pair = Pair(split, **setting, **DOUBLE)
    pyro.set_rng_seed(0)
    nodes = poutine.trace(pair.guide).get_trace().nodes
    data = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    absolute = sum(
        abs(z)
        for i in range(len(pair.split))
        for n in data
        for z in nodes[f"z{i}"]["value"][n].view(-1)
    )
    expected = -pair.scale * NUM_DATA / BATCH * absolute.item()
    assert terms(SparsityELBO(l1=1.0), pair)["l1"].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", [{}, {"split": (2, 1)}, SETTINGS["masked"], {"scale": 0.3}])
def test_group_lasso_is_the_sum_of_column_norms_for_each_datum(setting, particles):
    pair = Pair(**setting, **DOUBLE)
    groups = [torch.randn(4, 3, **DOUBLE), torch.randn(2, 2, 3, **DOUBLE)]
    norms = sum(
        math.sqrt(sum(w**2 for w in g.reshape(-1, 3)[:, d].tolist()))
        for g in groups
        for d in range(3)
    )
    count = pair.scale * NUM_DATA * (BATCH if pair.mask is None else pair.mask.sum().item()) / BATCH
    for columns in (groups, lambda: groups):
        elbo = SparsityELBO(group_lasso=1.0, columns=columns, **particles)
        assert terms(elbo, pair)["group_lasso"].item() == pytest.approx(-count * norms, rel=1e-12)
    one = SparsityELBO(group_lasso=1.0, columns=groups[0], **particles)
    expected = -count * groups[0].square().sum(0).sqrt().sum().item()
    assert terms(one, pair)["group_lasso"].item() == pytest.approx(expected, rel=1e-12)


def test_each_penalty_has_its_weight_and_is_computed_only_where_it_has_one():
    pair, columns = Pair(**DOUBLE), torch.ones(2, 3, **DOUBLE)
    assert set(terms(SparsityELBO(), pair)) == {"log_likelihood", "kl"}
    assert set(terms(SparsityELBO(l1=Linear(0.0, 1.0, 2)), pair)) == {"log_likelihood", "kl", "l1"}
    elbo = SparsityELBO(2.0, l1=3.0, group_lasso=5.0, columns=columns)
    parts = terms(elbo, pair)
    pyro.set_rng_seed(0)
    expected = -(
        parts["log_likelihood"] + 2 * parts["kl"] + 3 * parts["l1"] + 5 * parts["group_lasso"]
    )
    assert elbo.loss(pair.model, pair.guide) == pytest.approx(expected.item(), rel=1e-12)


def test_columns_stay_the_decoders_own_and_get_its_gradient():
    decoder = torch.nn.Linear(3, 4)
    elbo = SparsityELBO(group_lasso=2.0, columns=decoder.weight)
    assert list(elbo.parameters()) == []
    with torch.no_grad():
        decoder.weight[:, 1] = 0
    pair = Pair(num_data=None)
    elbo(pair.model, pair.guide)().backward()
    directions = decoder.weight.detach() / decoder.weight.detach().norm(dim=0).clamp(min=1e-9)
    torch.testing.assert_close(decoder.weight.grad, 2.0 * BATCH * directions)
    assert (decoder.weight.grad[:, 1] == 0).all()


def test_gradients_equal_finite_differences_in_float64():
    pair, columns = Pair(num_data=None, **DOUBLE), torch.randn(2, 3, requires_grad=True, **DOUBLE)

    def loss(columns, *parameters):
        pair.loc, pair.log_scale, pair.shift = parameters
        pyro.set_rng_seed(0)
        elbo = SparsityELBO(2.0, l1=0.5, group_lasso=0.7, columns=columns)
        return elbo(pair.model, pair.guide)()

    assert torch.autograd.gradcheck(loss, (columns, *pair.parameters))


def test_sparsity_says_what_it_expects():
    with pytest.raises(ValueError, match="group_lasso needs columns="):
        SparsityELBO(group_lasso=1.0)
    with pytest.raises(
        ValueError, match=r"columns of shape \(…, latent\), such as a matrix, got \(3,\)"
    ):
        SparsityELBO(group_lasso=1.0, columns=torch.ones(3)).loss(Pair().model, Pair().guide)
    with pytest.raises(ValueError, match="weight of 'l1' that is not negative, got -1"):
        SparsityELBO(l1=-1)
    with pytest.raises(ValueError, match="amount >= 0, got -0.1"):
        shrink_columns(torch.ones(2, 2), -0.1)


def test_shrinking_a_scalar_is_the_soft_threshold_that_minimises_its_quadratic():
    target = torch.tensor([-2.0, -0.3, 0.0, 0.2, 1.5], **DOUBLE)
    weight = target.clone()[None]
    shrink_columns(weight, 0.5)
    torch.testing.assert_close(weight[0], torch.nn.functional.softshrink(target, 0.5))
    grid = torch.linspace(-3, 3, 60_001, **DOUBLE)[:, None]
    best = grid[(0.5 * (grid - target) ** 2 + 0.5 * grid.abs()).argmin(0), 0]
    torch.testing.assert_close(weight[0], best, rtol=0, atol=1e-4)


def test_shrinking_shortens_each_column_and_leaves_its_direction():
    weight = torch.randn(4, 2, 3, **DOUBLE) * torch.tensor([1.0, 0.01, 0.0], **DOUBLE)
    before = weight.clone()
    shrink_columns(weight, 0.0)
    torch.testing.assert_close(weight, before)
    shrink_columns(weight, 0.1)
    length = before[..., 0].norm()
    torch.testing.assert_close(weight[..., 0], before[..., 0] * (length - 0.1) / length)
    assert (weight[..., 1:] == 0).all()


class FixedCode:
    """x ~ N(Wz, I) where the guide knows z: signs, each coordinate orthogonal to the others, the last of no use."""

    def __init__(self):
        self.z = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], **DOUBLE)
        self.truth = torch.tensor([[2.0, 0.3, 0.0], [-1.0, 0.4, 0.0]], **DOUBLE)
        self.x = self.z @ self.truth.T
        self.weight = torch.randn(2, 3, **DOUBLE).requires_grad_()

    def model(self):
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(self.x.new_zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T, 1.0).to_event(1), obs=self.x)

    def guide(self):
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Delta(self.z).to_event(1))


def test_the_proximal_step_solves_the_group_lasso_and_prunes_the_latents_of_no_use():
    pair, weight = FixedCode(), 0.6
    SparsityELBO()(pair.model, pair.guide)().backward()
    with torch.no_grad():
        pair.weight -= (
            pair.weight.grad / 4
        )  # the loss of a datum has curvature 1: one step of length 1 minimises it
    torch.testing.assert_close(pair.weight.detach(), pair.truth)
    shrink_columns(pair.weight, weight)
    length = math.sqrt(5)
    torch.testing.assert_close(
        pair.weight.detach()[:, 0], pair.truth[:, 0] * (length - weight) / length
    )
    assert (pair.weight[:, 1:] == 0).all()
    # it is the minimum: the objective with the penalty is stationary in what is left, and stiff enough in the rest
    pair.weight.grad = None
    SparsityELBO(group_lasso=weight, columns=pair.weight)(pair.model, pair.guide)().backward()
    torch.testing.assert_close(pair.weight.grad[:, 0], torch.zeros(2, **DOUBLE), rtol=0, atol=1e-12)
    assert (pair.weight.grad[:, 1:].norm(dim=0) / 4 < weight).all()


def spike_and_slab(**changes):
    arguments = {
        "loc": torch.tensor([0.0, 1.5, -2.0, 0.3], **DOUBLE),
        "scale": torch.tensor([1.0, 0.5, 0.2, 2.0], **DOUBLE),
        "probs": torch.tensor([0.5, 0.9, 0.05, 0.3], **DOUBLE),
    }
    return SpikeAndSlab(**(arguments | changes))


PRIOR = {
    "loc": torch.zeros(4, **DOUBLE),
    "scale": torch.tensor(1.3, **DOUBLE),
    "probs": torch.tensor(0.2, **DOUBLE),
}


def test_the_divergence_of_spikes_and_slabs_is_its_sum_and_its_average():
    q, p = spike_and_slab(), SpikeAndSlab(**PRIOR)
    expected = []
    for m, s, r in zip(q.loc.tolist(), q.scale.tolist(), q.probs.tolist(), strict=True):
        slab = math.log(1.3 / s) + (s**2 + m**2) / (2 * 1.3**2) - 0.5
        expected.append(r * math.log(r / 0.2) + (1 - r) * math.log((1 - r) / 0.8) + r * slab)
    divergence = kl_divergence(q, p)
    assert divergence.tolist() == pytest.approx(expected, rel=1e-9)
    z = q.sample((100_000,))
    ratios = q.log_prob(z) - p.log_prob(z)
    assert ((ratios.mean(0) - divergence).abs() < 4 * ratios.std(0) / len(z) ** 0.5).all()
    assert kl_divergence(q.to_event(1), p.to_event(1)).item() == pytest.approx(
        sum(expected), rel=1e-9
    )
    assert (kl_divergence(q, q) == 0).all()


def test_moments_and_spikes_are_those_of_draws():
    q = spike_and_slab()
    z = q.sample((200_000,))
    slab = (z != 0).double().mean(0)
    assert ((slab - q.probs).abs() < 4 * (q.probs * (1 - q.probs) / len(z)).sqrt()).all()
    error = (q.variance / len(z)).sqrt()
    assert ((z.mean(0) - q.mean).abs() < 4 * error).all()
    fourth = (z - q.mean).pow(4).mean(0)
    assert ((z.var(0) - q.variance).abs() < 4 * ((fourth - q.variance**2) / len(z)).sqrt()).all()


def test_the_density_has_an_atom_and_a_slab_that_add_up_to_one():
    q = spike_and_slab()
    grid = torch.linspace(-20, 20, 40_000, **DOUBLE)[:, None]  # zero is not on it
    slab = torch.trapezoid(q.log_prob(grid.expand(-1, 4)).exp(), grid[:, 0], dim=0)
    spike = q.log_prob(torch.zeros(4, **DOUBLE)).exp()
    torch.testing.assert_close(spike, 1 - q.probs)
    torch.testing.assert_close(spike + slab, torch.ones(4, **DOUBLE), rtol=0, atol=1e-6)


@pytest.mark.parametrize("logit", [-200.0, -30.0, 0.0, 30.0, 200.0])
def test_extreme_probabilities_have_finite_divergences_and_gradients(logit):
    logits = torch.tensor([logit], requires_grad=True)
    q = SpikeAndSlab(torch.zeros(1), 1.0, logits=logits)
    divergence = kl_divergence(q, SpikeAndSlab(torch.zeros(1), 1.0, logits=torch.tensor([-2.0])))
    (divergence + q.rsample() + q.log_prob(q.sample())).sum().backward()
    on, off = math.log(1 / (1 + math.exp(2))), math.log(1 / (1 + math.exp(-2)))
    if abs(logit) > 20:
        assert divergence.item() == pytest.approx(-on if logit > 0 else -off, rel=1e-5)
    assert torch.isfinite(logits.grad).all()
    expanded = q.expand((3, 1))
    assert (expanded.logits == logit).all()


def test_draws_have_the_gradient_of_the_relaxation():
    names = ("loc", "scale", "logits")
    start = zip(names, (1.2, 0.5, 0.3), strict=True)
    parameters = {name: torch.full((50,), v, requires_grad=True, **DOUBLE) for name, v in start}
    q = SpikeAndSlab(**parameters, temperature=0.7)
    pyro.set_rng_seed(3)
    z = q.rsample()
    gradients = dict(
        zip(names, torch.autograd.grad(z.sum(), tuple(parameters.values())), strict=True)
    )
    pyro.set_rng_seed(3)
    uniform, noise = torch.rand(50, **DOUBLE), torch.randn(50, **DOUBLE)
    relaxed = torch.sigmoid((0.3 + uniform.logit()) / 0.7)
    spike, slab = (uniform > torch.sigmoid(torch.tensor(-0.3))).double(), 1.2 + 0.5 * noise
    torch.testing.assert_close(z, spike * slab)
    torch.testing.assert_close(gradients["loc"], spike)
    torch.testing.assert_close(gradients["scale"], spike * noise)
    torch.testing.assert_close(gradients["logits"], slab * relaxed * (1 - relaxed) / 0.7)


def test_it_expands_pickles_and_copies():
    q = spike_and_slab(temperature=0.3)
    expanded = q.expand((5, 4))
    assert expanded.rsample((2,)).shape == (2, 5, 4)
    for other in (expanded, pickle.loads(pickle.dumps(q)), copy.deepcopy(q)):
        assert other.temperature == 0.3
        torch.testing.assert_close(other.mean.expand(5, 4), q.mean.expand(5, 4))
        torch.testing.assert_close(
            other.log_prob(q.loc).expand(5, 4), q.log_prob(q.loc).expand(5, 4)
        )


def test_spike_and_slab_says_what_it_expects():
    with pytest.raises(ValueError, match="expected one of probs and logits"):
        SpikeAndSlab(0.0, 1.0)
    with pytest.raises(ValueError, match="expected one of probs and logits"):
        SpikeAndSlab(0.0, 1.0, probs=0.5, logits=0.0)
    with pytest.raises(ValueError, match="temperature > 0, got 0"):
        SpikeAndSlab(0.0, 1.0, probs=0.5, temperature=0)
    with pytest.raises(ValueError, match="parameter probs"):
        SpikeAndSlab(0.0, 1.0, probs=1.5)
    with pytest.raises(ValueError, match="KL from a spike and slab to a normal is infinite"):
        kl_divergence(spike_and_slab().to_event(1), dist.Normal(torch.zeros(4), 1.0).to_event(1))


class SparsePair:
    """A spike and slab for prior and posterior of a code that a Gaussian observes."""

    def __init__(self):
        self.logits = torch.linspace(-2, 2, BATCH * 4, **DOUBLE).view(BATCH, 4).requires_grad_()
        self.loc = torch.randn(BATCH, 4, **DOUBLE).requires_grad_()
        self.x = torch.randn(BATCH, 4, **DOUBLE)
        self.parameters = [self.logits, self.loc]

    def model(self):
        with pyro.plate("data", 100, subsample=range(BATCH)):
            z = pyro.sample("z", SpikeAndSlab(**PRIOR).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=self.x)

    def guide(self):
        with pyro.plate("data", 100, subsample=range(BATCH)):
            pyro.sample("z", SpikeAndSlab(self.loc, 0.5, logits=self.logits).to_event(1))


def test_a_sparse_pair_under_beta_is_its_hand_computation():
    pair = SparsePair()
    ours = terms(BetaELBO(4.0), pair)
    pyro.set_rng_seed(0)
    z = poutine.trace(pair.guide).get_trace().nodes["z"]["value"]
    assert (z == 0).any()
    likelihood = -0.5 * ((pair.x - z) ** 2).sum() - pair.x.numel() * 0.5 * math.log(2 * math.pi)
    p = pair.logits.sigmoid()
    slab = math.log(1.3 / 0.5) + (0.5**2 + pair.loc**2) / (2 * 1.3**2) - 0.5
    divergence = (p * (p / 0.2).log() + (1 - p) * ((1 - p) / 0.8).log() + p * slab).sum()
    assert ours["log_likelihood"].item() == pytest.approx(100 / BATCH * likelihood.item(), rel=1e-9)
    assert ours["kl"].item() == pytest.approx(-100 / BATCH * divergence.item(), rel=1e-9)


def test_a_sparse_pair_has_gradients_pyros_bounds_and_moments():
    pair = SparsePair()
    for value in loss_and_gradients(BetaELBO(), pair)[1:]:
        assert (value != 0).all()
    ours, theirs = (loss_and_gradients(e, pair) for e in (BetaELBO(1.0), TraceMeanField_ELBO()))
    torch.testing.assert_close(ours, theirs)
    vectorised = {"num_particles": 2000, "vectorize_particles": True, "max_plate_nesting": 1}
    exact = loss_and_gradients(BetaELBO(1.0, **vectorised), pair)[0]
    sampled = loss_and_gradients(Trace_ELBO(**vectorised), pair)[0]
    assert sampled.item() == pytest.approx(exact.item(), rel=0.01)
    p, loc = pair.logits.sigmoid(), pair.loc
    matrix = (p * loc).T.cov(correction=0)
    diagonal = matrix.diagonal() + (p * (0.25 + loc**2) - (p * loc) ** 2).mean(0)
    expected = -100 * (diagonal - 1).square().sum()
    torch.testing.assert_close(terms(DIPELBO(variant="II"), pair)["diagonal"], expected.detach())
