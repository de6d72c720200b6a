"""Objectives against Pyro's own bounds, closed forms, loops and enumeration."""

import itertools
import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import PyroOptim
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.inference import TCELBO, BetaELBO, Linear
from ppl_disentangle.inference.elbo.aggregate import minibatch_log_weights, pairwise_log_prob
from ppl_disentangle.models import BetaTCVAE
from ppl_disentangle.sites import Plate, Site
from tests.inference.pairs import (
    BATCH,
    DIM,
    GOLDEN,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    linear_gaussian,
    loss_and_gradients,
    terms,
)
from tests.models.test_stories import OBJECTIVES as OBJECTIVES_OF_STORIES

OBJECTIVES = OBJECTIVES_OF_STORIES | {"Pyro's": lambda _: Trace_ELBO()}
BOUNDS = {
    "beta": (lambda **k: BetaELBO(1.0, **k), TraceMeanField_ELBO),
    "stratified": (lambda **k: TCELBO(1.0, 1.0, 1.0, **k), Trace_ELBO),
    "weighted": (lambda **k: TCELBO(1.0, 1.0, 1.0, estimator="weighted", **k), Trace_ELBO),
}


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=list(BOUNDS))
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_unit_weights_give_pyros_bound_and_its_gradients(setting, particles, bound):
    ours, theirs = bound
    pair = Pair(**setting)
    expected = loss_and_gradients(theirs(**particles), pair)
    for value, reference in zip(loss_and_gradients(ours(**particles), pair), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("split", [(DIM,), (2, 1)])
def test_beta_is_the_bound_with_its_latents_scaled(split):
    ours = loss_and_gradients(BetaELBO(4.0), Pair(split))
    scaled = loss_and_gradients(TraceMeanField_ELBO(), Pair(split, scale=4.0))
    for value, reference in zip(ours, scaled, strict=True):
        torch.testing.assert_close(value, reference)


def test_each_weight_multiplies_only_its_term():
    pair, elbo = Pair(), TCELBO(0.5, 3.0, 2.0)
    parts = terms(elbo, pair)
    pyro.set_rng_seed(0)
    expected = -sum(
        w * parts[k]
        for k, w in dict(mutual_information=0.5, total_correlation=3, dimension_wise_kl=2).items()
    )
    assert elbo.loss(pair.model, pair.guide) == pytest.approx(
        (expected - parts["log_likelihood"]).item(), rel=1e-6
    )


def loops(pair, estimator):
    """Terms of the decomposition per datum, written as loops over the definition."""
    pyro.set_rng_seed(0)
    sites = poutine.trace(pair.guide).get_trace().nodes
    z = torch.cat([sites[f"z{i}"]["value"].reshape(BATCH, n) for i, n in enumerate(pair.split)], -1)

    def q(i, j, d):
        return dist.Normal(pair.loc[j, d], pair.log_scale[j, d].exp()).log_prob(z[i, d]).item()

    def weight(i, j):
        others = BATCH - 1
        if estimator == "weighted":
            return 1 / (NUM_DATA * BATCH)
        if j == i:
            return 1 / NUM_DATA
        return (NUM_DATA - others) / (NUM_DATA * others) if j == (i + 1) % BATCH else 1 / others

    mutual_information = total_correlation = dimension_wise = 0.0
    for i in range(BATCH):
        joint = math.log(
            sum(weight(i, j) * math.exp(sum(q(i, j, d) for d in range(DIM))) for j in range(BATCH))
        )
        factored = sum(
            math.log(sum(weight(i, j) * math.exp(q(i, j, d)) for j in range(BATCH)))
            for d in range(DIM)
        )
        mutual_information += sum(q(i, i, d) for d in range(DIM)) - joint
        total_correlation += joint - factored
        dimension_wise += factored - dist.Normal(0.0, 1.0).log_prob(z[i]).sum().item()
    scale = -NUM_DATA / BATCH
    return {
        "mutual_information": scale * mutual_information,
        "total_correlation": scale * total_correlation,
        "dimension_wise_kl": scale * dimension_wise,
    }


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
@pytest.mark.parametrize("split", [(DIM,), (2, 1), (1, 1, 1)], ids=str)
def test_each_term_is_its_definition_whatever_the_split_into_sites(split, estimator):
    pair = Pair(split, dtype=torch.float64)
    ours = terms(TCELBO(estimator=estimator), pair)
    assert {k: v.item() for k, v in ours.items() if k != "log_likelihood"} == pytest.approx(
        loops(pair, estimator), rel=1e-9
    )


def test_particles_average_the_terms():
    pair = Pair(dtype=torch.float64)
    elbo = TCELBO(num_particles=4)
    average = terms(elbo, pair)
    pyro.set_rng_seed(0)
    single, draws = TCELBO(), []
    for _ in range(4):
        single.loss(pair.model, pair.guide)
        draws.append(single.last_terms)
    for name, value in average.items():
        assert value.item() == pytest.approx(sum(d[name].item() for d in draws) / 4, rel=1e-9)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_masked_data_count_neither_as_draws_nor_as_posteriors(estimator):
    mask = torch.tensor([True] * 5 + [False] * 3)
    weights = minibatch_log_weights(
        BATCH, NUM_DATA, estimator, like=torch.zeros(1), mask=mask
    ).exp()
    alone = minibatch_log_weights(5, NUM_DATA, estimator, like=torch.zeros(1)).exp()
    torch.testing.assert_close(weights[:5, :5], alone)
    assert (weights[:, 5:] == 0).all()


def enumerate_batches(log_weights_of, own=0, num_data=6, batch_size=3):
    """Expected estimate of q(z) over all ordered batches that hold datum ``own`` at each position; and q(z) itself."""
    generator = torch.Generator().manual_seed(3)
    loc, scale = (
        torch.randn(num_data, 2, generator=generator, dtype=torch.float64),
        torch.tensor(0.4, dtype=torch.float64),
    )
    z = loc[own] + 0.1
    density = dist.Normal(loc, scale).log_prob(z).sum(-1).exp()
    estimates = []
    for others in itertools.permutations([n for n in range(num_data) if n != own], batch_size - 1):
        for place in range(batch_size):
            batch = [*others[:place], own, *others[place:]]
            estimates.append(
                (log_weights_of(num_data, batch_size)[place].exp() * density[batch]).sum()
            )
    return torch.stack(estimates).mean().item(), density.mean().item()


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_the_stratified_estimator_is_unbiased_over_all_minibatches(batch_size):
    estimate, truth = enumerate_batches(
        lambda n, b: minibatch_log_weights(
            b, n, "stratified", like=torch.zeros((), dtype=torch.float64)
        ),
        batch_size=batch_size,
    )
    assert estimate == pytest.approx(truth, rel=1e-12)


def test_enumeration_distinguishes_a_wrong_estimator_from_a_right_one():
    def columns_for_diagonal(
        num_data, batch_size
    ):  # the widespread mistake: the own weight in column 0 of every row
        others = batch_size - 1
        weights = torch.full((batch_size, batch_size), 1 / others, dtype=torch.float64)
        weights[:, 0], weights[:, 1] = 1 / num_data, (num_data - others) / (num_data * others)
        return weights.log()

    estimate, truth = enumerate_batches(columns_for_diagonal)
    assert abs(estimate / truth - 1) > 0.1
    estimate, truth = enumerate_batches(
        lambda n, b: minibatch_log_weights(
            b, n, "weighted", like=torch.zeros((), dtype=torch.float64)
        )
    )
    assert estimate < 0.9 * truth


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
@pytest.mark.parametrize("case", ["mb_public_41", "mb_public_42"])
def test_minibatch_estimates_equal_reference_values(case, estimator):
    reference = json.loads((GOLDEN / "minibatch.json").read_text())[case]
    z, loc, log_scale = (
        torch.tensor(reference[k], dtype=torch.float64) for k in ("z", "mu", "log_std")
    )
    plate = Plate("data", -1, len(z), reference["num_data"])
    site = Site("z", dist.Normal(loc, log_scale.exp()).to_event(1), z, 1.0, None, (plate,))
    pairs = pairwise_log_prob(site, plate)
    weights = minibatch_log_weights(len(z), reference["num_data"], estimator, like=z)
    expected = {k: torch.tensor(v, dtype=torch.float64) for k, v in reference[estimator].items()}
    torch.testing.assert_close((pairs.sum(-1) + weights).logsumexp(-1), expected["log_qz"])
    torch.testing.assert_close(
        (pairs + weights[..., None]).logsumexp(-2).sum(-1), expected["log_prod_qzj"]
    )


@pytest.mark.parametrize("case", ["vae_pub_a", "vae_pub_b", "vae_pub_optimal"])
def test_beta_elbo_against_the_closed_form_of_a_linear_gaussian_pair(case):
    model, guide, x, exact = linear_gaussian(case)
    elbo, draws = BetaELBO(4.0), []
    for _ in range(400):
        elbo.loss(model, guide, x)
        draws.append(elbo.last_terms["log_likelihood"].item() / len(x))
    assert elbo.last_terms["kl"].item() / len(x) == pytest.approx(
        -exact["kl_n"].mean().item(), rel=1e-5
    )
    draws = torch.tensor(draws)
    error = draws.std() / len(draws) ** 0.5
    assert abs(draws.mean() - exact["recon_n"].mean()) < 4 * error


def test_gradients_equal_finite_differences_in_float64():
    pair = Pair(dtype=torch.float64)
    elbo = TCELBO(0.7, 3.0, 1.5)

    def loss(*parameters):
        pair.loc, pair.log_scale, pair.shift = parameters
        pyro.set_rng_seed(0)
        return elbo(pair.model, pair.guide)()

    assert torch.autograd.gradcheck(loss, tuple(pair.parameters))


def story_and_data():
    torch.manual_seed(0)
    story = BetaTCVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4)
    story.num_data = 500
    return story, torch.rand(16, 6).round()


@pytest.mark.parametrize("make", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_bare_svi_and_the_elbo_module_give_the_same_gradients(make):
    story, x = story_and_data()
    objective, again = (seeded(make, story) for _ in range(2))
    pyro.set_rng_seed(0)
    objective(story.model, story.guide)(x).backward()
    gradients = {k: p.grad.clone() for k, p in story.named_parameters()}
    story.zero_grad()
    kept = {}

    class Keep(torch.optim.SGD):
        def step(self):
            for group in self.param_groups:
                kept.update({id(p): p.grad.clone() for p in group["params"]})

    pyro.set_rng_seed(0)
    SVI(story.model, story.guide, PyroOptim(Keep, {"lr": 0.0}), again).step(x)
    for name, parameter in story.named_parameters():
        torch.testing.assert_close(kept[id(parameter)], gradients[name])


@pytest.mark.parametrize("make", OBJECTIVES_OF_STORIES.values(), ids=list(OBJECTIVES_OF_STORIES))
@pytest.mark.parametrize("size", [1, 5])
def test_the_bound_does_not_depend_on_the_batch_size(make, size):
    """A batch of one and a short last batch give finite terms whose bound is that of Pyro at the same draw."""
    story, x = story_and_data()
    story.num_data = None
    objective = seeded(make, story)
    objective.num_data = 500
    pyro.set_rng_seed(0)
    objective.loss(story.model, story.guide, x[:size])
    terms = {n: t for n, t in objective.last_terms.items() if n not in objective.critics}
    assert all(torch.isfinite(t) for t in objective.last_terms.values())
    bound = sum(t.item() for n, t in terms.items() if n not in objective.penalties)
    pyro.set_rng_seed(0)
    theirs = (Trace_ELBO if "dimension_wise_kl" in terms else TraceMeanField_ELBO)()
    assert bound == pytest.approx(-theirs.loss(story.model, story.guide, x[:size]), rel=1e-4)


def seeded(make, story):
    pyro.set_rng_seed(1)
    return make(story)


def test_the_module_of_a_story_under_an_objective_has_the_storys_parameters():
    story, _ = story_and_data()
    module = story.objective()(story.model, story.guide)
    assert {id(p) for p in module.parameters()} == {id(p) for p in story.parameters()}


def test_schedules_follow_the_steps_of_training_and_not_those_of_evaluation():
    story, x = story_and_data()
    elbo = BetaELBO(Linear(0.0, 4.0, 4), warm_up=2)
    module = elbo(story.model, story.guide)
    seen = []
    for _ in range(6):
        elbo.loss(story.model, story.guide, x)
        with torch.no_grad():
            module(x)
        seen.append(float(elbo.weight("kl")))
        module(x).backward()
    assert seen == pytest.approx([0.0, 0.5, 2.0, 3.0, 4.0, 4.0])
    svi = SVI(story.model, story.guide, PyroOptim(torch.optim.Adam, {"lr": 1e-3}), elbo)
    svi.step(x)
    svi.evaluate_loss(x)
    assert elbo.step.item() == 7


def test_the_number_of_data_comes_from_the_plate_or_the_argument():
    by_plate, by_name = (
        terms(TCELBO(), Pair()),
        terms(TCELBO(num_data=NUM_DATA), Pair(num_data=None)),
    )
    for name, value in by_name.items():
        assert value.item() * NUM_DATA / BATCH == pytest.approx(by_plate[name].item(), rel=1e-5)


def test_errors_say_what_is_expected():
    pair = Pair(num_data=None)
    with pytest.raises(
        ValueError,
        match="number of data is unknown: the plate 'data' is just the batch of 8. Pass num_data=",
    ):
        TCELBO().loss(pair.model, pair.guide)
    with pytest.raises(ValueError, match="num_data=5, but the plate 'data' stands for 1000"):
        TCELBO(num_data=5).loss(Pair().model, Pair().guide)
    with pytest.raises(ValueError, match="num_data=5 is less than the batch of 8"):
        TCELBO(num_data=5).loss(pair.model, pair.guide)
    with pytest.raises(
        ValueError, match="weight of 'total_correlation' that is not negative, got -1"
    ):
        TCELBO(beta=-1.0)
    with pytest.raises(ValueError, match="weight of 'kl' that is not negative, got nan"):
        BetaELBO(math.nan)
    with pytest.raises(ValueError, match="num_particles >= 1, got 0"):
        BetaELBO(num_particles=0)
    with pytest.raises(ValueError, match="num_data >= 1, got 0"):
        TCELBO(num_data=0)
    with pytest.raises(
        ValueError, match="'weighted', 'stratified' or 'symmetric', got 'minibatch'"
    ):
        TCELBO(estimator="minibatch")
    with pytest.raises(ValueError, match="warm_up >= 0, got -3"):
        BetaELBO(warm_up=-3)
    with pytest.raises(ValueError, match="steps >= 1, got 0"):
        Linear(0.0, 1.0, 0)


def test_pairs_that_do_not_match_are_refused():
    pair = Pair()
    with pytest.raises(
        ValueError, match=r"the guide samples 'z0', the model does not; it has \['z1'\]"
    ):
        BetaELBO().loss(lambda: pyro.sample("z1", dist.Normal(0.0, 1.0)), pair.guide)

    def scalar():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(torch.zeros(4), 1.0))

    def vector():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(torch.zeros(4, 1), 1.0).to_event(1))

    with pytest.raises(
        ValueError, match=r"latent 'z': the guide's event shape is \(1,\), the model's \(\)"
    ):
        BetaELBO().loss(scalar, vector)

    def no_plate():
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    with pytest.raises(
        ValueError, match="needs a plate over the data around the latents, and the guide has none"
    ):
        TCELBO(num_data=10).loss(no_plate, no_plate)

    def discrete():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Categorical(logits=torch.zeros(4, 3)))

    with pytest.raises(
        ValueError, match="latent 'z' is drawn from Categorical, which is not reparameterised"
    ):
        BetaELBO().loss(discrete, discrete)

    def correlated():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.MultivariateNormal(torch.zeros(4, 3), torch.eye(3)))

    with pytest.raises(
        ValueError, match="latent 'z': .* factorises over its coordinates, got MultivariateNormal"
    ):
        TCELBO(num_data=10).loss(correlated, correlated)

    def apart():
        with pyro.plate("data", 4):
            pyro.sample("a", dist.Normal(torch.zeros(4), 1.0))
            with poutine.scale(scale=2.0):
                pyro.sample("b", dist.Normal(torch.zeros(4), 1.0))

    with pytest.raises(ValueError, match=r"expected one scale for all, got \{'a': 1.0, 'b': 2.0\}"):
        TCELBO(num_data=10).loss(apart, apart)


def test_factor_statements_of_a_guide_are_subtracted_with_their_weights():
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.cat([z, z[:, :1]], -1), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x[:, :2], 0.5).to_event(1))
            pyro.factor("far", (z - x[:, 1:]).square().sum(-1), has_rsample=True)

    torch.manual_seed(0)
    expected = TraceMeanField_ELBO().loss(model, guide, x)
    torch.manual_seed(0)
    objective = BetaELBO(1.0)
    assert objective.loss(model, guide, x) == pytest.approx(expected, rel=1e-6)
    far = objective.last_terms["far"].item()
    assert far < 0
    for weighted in (
        BetaELBO(1.0, factors={"far": 3.0}),
        BetaELBO({"z": 1.0}, factors={"far": 3.0}),
    ):
        torch.manual_seed(0)
        assert weighted.loss(model, guide, x) == pytest.approx(expected - 2 * far, rel=1e-6)
    torch.manual_seed(0)
    other = TCELBO(num_data=8, factors={"far": 0.0})
    without = other.loss(model, guide, x)
    torch.manual_seed(0)
    assert TCELBO(num_data=8).loss(model, guide, x) == pytest.approx(without - far, rel=1e-6)
