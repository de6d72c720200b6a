"""FactorELBO against Pyro's bound, the definition of its critic's loss, and a total correlation that is known."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.optim import PyroOptim
from torch import nn
from torch.nn.functional import cross_entropy

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.elbo.critics import critic_network
from ppl_disentangle.inference.objectives.factor_vae import (
    FactorELBO,
    block_widths,
    permute_latents,
)
from ppl_disentangle.inference.training.state import History
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.sites import Plate, Site, paired_traces
from tests.inference.pairs import (
    BATCH,
    DIM,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
)

FEATURES, LATENT = 6, 4


def small_critic(dim=DIM, outputs=2):
    torch.manual_seed(3)
    return critic_network(dim, hidden=8, layers=2, outputs=outputs)


def factor(gamma=10.0, dtype=torch.float32, **options):
    return FactorELBO(options.pop("critic", None) or small_critic(), gamma, **options).to(dtype)


def seen_by(critic):
    """The inputs of every call of ``critic`` from now on."""
    seen = []
    critic.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0] if len(inputs) == 1 else inputs)
    )
    return seen


def story_and_data(num=64):
    torch.manual_seed(0)
    story = BetaVAE(
        Gaussian(nn.Linear(FEATURES, 2 * LATENT)), Bernoulli(nn.Linear(LATENT, FEATURES)), LATENT
    )
    return story, torch.rand(num, FEATURES).round()


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_without_its_penalty_it_is_pyros_bound_with_its_gradients(setting, particles):
    elbo = factor(0.0, setting.get("dtype", torch.float32), **particles)
    expected = loss_and_gradients(TraceMeanField_ELBO(**particles), Pair(**setting))
    for value, reference in zip(loss_and_gradients(elbo, Pair(**setting)), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_each_player_has_the_gradient_of_its_own_loss(setting, outputs):
    pair, gamma = Pair(**setting | {"dtype": torch.float64}), 7.0
    elbo = factor(gamma, torch.float64, critic=small_critic(outputs=outputs))
    critic, frozen = elbo.critic, copy.deepcopy(elbo.critic).requires_grad_(False)
    seen = seen_by(critic)
    pyro.set_rng_seed(0)
    loss = elbo(pair.model, pair.guide)()
    gradients = torch.autograd.grad(
        loss, [*pair.parameters, *critic.parameters()], retain_graph=True
    )
    z, _, permuted = seen
    data = torch.arange(BATCH)[slice(None) if pair.mask is None else pair.mask]
    scale = NUM_DATA / BATCH

    def logit(net, z):
        logits = net(z)
        return logits[:, 0] if outputs == 1 else logits[:, 0] - logits[:, 1]

    def both_logits(z):  # real, permuted
        return torch.stack([logit(critic, z), torch.zeros(len(z), dtype=z.dtype)], -1)

    total_correlation = scale * logit(frozen, z)[data].sum()
    bound, *of_bound = loss_and_gradients(TraceMeanField_ELBO(), pair)
    torch.testing.assert_close(loss, bound + gamma * total_correlation)
    of_penalty = torch.autograd.grad(total_correlation, pair.parameters, allow_unused=True)
    for gradient, first, second in zip(gradients, of_bound, of_penalty, strict=False):
        torch.testing.assert_close(gradient, first + gamma * (0 if second is None else second))

    labels = torch.zeros(len(data), dtype=torch.long)
    real, fake = both_logits(z.detach()[data]), both_logits(permuted[data])
    reference = (
        NUM_DATA
        / len(data)
        * 0.5
        * (
            cross_entropy(real, labels, reduction="sum")
            + cross_entropy(fake, labels + 1, reduction="sum")
        )
    )
    of_critic = torch.autograd.grad(reference, list(critic.parameters()))
    for gradient, expected in zip(gradients[len(pair.parameters) :], of_critic, strict=True):
        torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(elbo.last_terms["critic"], -reference.detach())
    torch.testing.assert_close(elbo.last_terms["density_ratio"], -total_correlation.detach())


def test_neither_player_gets_any_of_the_others_gradient():
    pair, elbo = Pair(), factor()
    terms = elbo.terms(*paired_traces(pair.model, pair.guide, (), {}))
    critic = list(elbo.critic.parameters())

    def gradients(name, parameters):
        return torch.autograd.grad(terms[name], parameters, retain_graph=True, allow_unused=True)

    assert all(g is None for g in gradients("critic", pair.parameters))
    assert all(g is None for g in gradients("density_ratio", critic))
    assert all(g.abs().sum() > 0 for g in gradients("critic", critic)[:-1])
    assert all(g.abs().sum() > 0 for g in gradients("density_ratio", pair.parameters[:2]))


def test_particles_at_once_are_permuted_each_within_itself():
    pair, elbo = Pair(), factor(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    seen = seen_by(elbo.critic)
    elbo.loss(pair.model, pair.guide)
    z, _, permuted = (s.reshape(3, BATCH, DIM) for s in seen)
    torch.testing.assert_close(permuted.sort(1).values, z.sort(1).values)
    assert not torch.equal(permuted, z)


def test_a_batch_of_one_is_finite():
    story, x = story_and_data(1)
    for permute in ("batch", "halves"):
        loss = FactorELBO(small_critic(LATENT), permute=permute)(story.model, story.guide)(x)
        assert torch.isfinite(loss)


def test_permutations_are_uniform_and_independent_from_column_to_column():
    draws = torch.arange(3.0)[:, None].expand(20_000, 3, 2)
    permuted = permute_latents(draws, [1, 1])
    torch.testing.assert_close(permuted.sort(1).values, draws)
    orders = (permuted[:, 0] * 3 + permuted[:, 1]).long()  # two places tell all six
    codes = torch.tensor([1, 2, 3, 5, 6, 7])
    counts = (orders[:, 0, None, None] == codes[:, None]) & (orders[:, 1, None, None] == codes)
    frequencies = counts.double().mean(0)
    assert (frequencies - 1 / 36).abs().max() < 5 * (1 / 36 / 20_000) ** 0.5


def test_masked_data_are_not_permuted_into_the_others():
    mask = torch.tensor([False, True, True, False, True, True])
    draws = torch.arange(12.0).reshape(6, 2)
    seen = torch.stack([permute_latents(draws, [1, 1], mask=mask)[mask] for _ in range(100)])
    torch.testing.assert_close(seen.sort(1).values, draws[mask].expand(100, 4, 2))
    assert (seen[:, 0, 0].unique() == draws[mask][:, 0]).all()


def test_a_one_hot_latent_is_permuted_as_one():
    plate = Plate("data", -1, BATCH, BATCH)

    def site(name, fn):
        return Site(name, fn, fn.rsample(), 1.0, None, (plate,))

    one_hot = dist.RelaxedOneHotCategorical(torch.tensor(0.5), logits=torch.zeros(BATCH, 3))
    several = dist.RelaxedOneHotCategoricalStraightThrough(
        torch.tensor(0.5), logits=torch.zeros(BATCH, 2, 3)
    )
    normal = dist.MultivariateNormal(torch.zeros(BATCH, 2), torch.eye(2))
    assert block_widths(site("a", one_hot), plate) == [3]
    assert block_widths(site("b", several.to_event(1)), plate) == [3, 3]
    assert block_widths(site("c", normal), plate) == [1, 1]

    def pair():
        with pyro.plate("data", BATCH):
            pyro.sample("a", one_hot)
            pyro.sample("c", normal)

    def model():
        pair()
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))

    elbo = factor(critic=small_critic(5))
    seen = seen_by(elbo.critic)
    elbo.loss(model, pair)
    z, _, permuted = seen
    rows = [set(map(tuple, t[:, :3].tolist())) for t in (z, permuted)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == BATCH
    assert set(map(tuple, z.tolist())) != set(map(tuple, permuted.tolist()))


def test_halves_permutes_the_draws_that_the_critic_does_not_see_unpermuted():
    pair, elbo = Pair(), factor(permute="halves")
    seen = seen_by(elbo.critic)
    elbo.loss(pair.model, pair.guide)
    z, real, permuted = seen
    assert torch.equal(real, z[: BATCH // 2])
    torch.testing.assert_close(permuted.sort(0).values, z[BATCH // 2 :].sort(0).values)
    expected = cross_entropy(elbo.critic(real), torch.zeros(len(real)).long())
    expected = 0.5 * (
        expected + cross_entropy(elbo.critic(permuted), torch.ones(len(permuted)).long())
    )
    torch.testing.assert_close(elbo.last_terms["critic"], -NUM_DATA * expected.detach())


RHO, NOISE = 0.8, 0.1


def correlated(num):
    """Data whose posteriors N(x, NOISE) have the aggregate N(0, [[1, RHO], [RHO, 1]])."""
    covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]]) - NOISE * torch.eye(2)
    return torch.randn(num, 2) @ torch.linalg.cholesky(covariance).T


def correlated_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def correlated_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x, NOISE**0.5).to_event(1))


@pytest.mark.parametrize("seed", range(5))
def test_the_trained_critic_reports_the_total_correlation_of_a_gaussian(seed):
    torch.manual_seed(seed)
    elbo = FactorELBO(
        critic_network(2, hidden=32, layers=2, outputs=2), permute="halves" if seed % 2 else "batch"
    )
    bound, steps = elbo(correlated_model, correlated_guide), 400
    optimizer = torch.optim.Adam(elbo.parameters(), lr=5e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (bound(correlated(1024)) / 1024).backward()
        optimizer.step()
        decay.step()
    elbo.loss(correlated_model, correlated_guide, correlated(20_000))
    estimate = -elbo.last_terms["density_ratio"].item() / 20_000
    assert estimate == pytest.approx(-0.5 * math.log(1 - RHO**2), abs=0.04)


def test_svi_and_fit_give_the_critic_its_own_options():
    for still in (True, False):
        story, x = story_and_data()
        elbo = FactorELBO(small_critic(LATENT), critic_options={"lr": 0.0 if still else 1e-2})
        before = copy.deepcopy([*elbo.critic.parameters(), *story.parameters()])
        SVI(
            story.model, story.guide, PyroOptim(torch.optim.Adam, elbo.svi_options(lr=1e-2)), elbo
        ).step(x)
        fit(story, from_arrays(x), steps=1, objective=elbo, progress=False)
        moved = [
            not torch.equal(p, q)
            for p, q in zip([*elbo.critic.parameters(), *story.parameters()], before, strict=True)
        ]
        assert moved == [not still] * len(list(elbo.critic.parameters())) + [True] * len(
            list(story.parameters())
        )
    assert FactorELBO(small_critic()).svi_options(lr=1e-3)("story.weight") == {"lr": 1e-3}
    assert FactorELBO(small_critic()).optimizer_options == {"lr": 1e-4, "betas": (0.5, 0.9)}


def test_a_copied_objective_trains_a_separate_critic_under_bare_svi():
    story, x = story_and_data()
    elbo = FactorELBO(small_critic(LATENT))
    for one in (elbo, copy.deepcopy(elbo)):
        before = copy.deepcopy(list(one.critic.parameters()))
        SVI(story.model, story.guide, PyroOptim(torch.optim.Adam, {"lr": 1e-2}), one).step(x)
        assert not any(
            torch.equal(p, q) for p, q in zip(one.critic.parameters(), before, strict=True)
        )


def test_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path):
    def run(*stops, **options):
        for steps in stops:
            story, x = story_and_data()
            elbo = FactorELBO(small_critic(LATENT))
            history = fit(
                story,
                from_arrays(x),
                steps=steps,
                objective=elbo,
                batch_size=16,
                progress=False,
                **options,
            )
        return history, story.state_dict() | elbo.state_dict()

    whole, weights = run(6)
    parts, resumed = run(3, 6, checkpoint=tmp_path / "run", resume=True)
    assert whole.equals(parts)
    assert all(torch.equal(v, resumed[k]) for k, v in weights.items())
    assert any(k.startswith("critic.") for k in weights)


def devices_of_a_step(story, objective, x):
    """One step as ``fit`` takes it; the devices of what it leaves behind."""
    bound = objective(story.model, story.guide)
    parameters = [*story.parameters(), *objective.critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    history = History(1, x.device)
    loss = bound(x)
    (loss / 100).backward()
    optimizer.step()
    history.record(0, loss.detach(), objective.last_terms, 0.01)
    return {d.type for d in [*(p.grad.device for p in parameters), history.values.device]}


@pytest.mark.parametrize("permute", ["batch", "halves"])
def test_a_training_step_stays_on_the_meta_device(permute):
    pyro.enable_validation(False)
    with torch.device("meta"):
        story, x = story_and_data()
        elbo = FactorELBO(small_critic(LATENT), permute=permute)
    assert devices_of_a_step(story, elbo, x) == {"meta"}


def test_the_critic_of_the_paper_has_six_layers_of_a_thousand():
    net = FactorELBO(10).critic
    layers = [m for m in net if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [
        (10, 1000),
        *[(1000, 1000)] * 5,
        (1000, 2),
    ]
    assert [m.negative_slope for m in net if isinstance(m, nn.LeakyReLU)] == [0.2] * 6


def test_errors_say_what_is_expected():
    pair = Pair()
    with pytest.raises(
        ValueError, match=r"the critic does not take inputs of shape \(8, 3\): .*8x3 and 10x8"
    ):
        factor(critic=small_critic(10)).loss(pair.model, pair.guide)
    with pytest.raises(
        ValueError, match=r"a critic that returns 1 or 2 logits a datum, got shape \(8, 3\)"
    ):
        factor(critic=small_critic(outputs=3)).loss(pair.model, pair.guide)
    with pytest.raises(ValueError, match="permute 'batch' or 'halves', got 'all'"):
        FactorELBO(3, permute="all")
    with pytest.raises(ValueError, match="weight of 'density_ratio' that is not negative, got -1"):
        FactorELBO(3, -1.0)
    with pytest.raises(TypeError, match="the critic as a module, got function"):
        FactorELBO(lambda z: z)
