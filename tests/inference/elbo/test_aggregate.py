"""The aggregate posterior of a batch, its estimators and its blocks; the hierarchical decomposition built on it."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.poutine.messenger import Messenger
from torch.utils._python_dispatch import TorchDispatchMode

from ppl_disentangle.inference import TCELBO
from ppl_disentangle.inference.elbo.aggregate import (
    joint_and_factored,
    minibatch_log_weights,
    pairwise_log_prob,
)
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.objectives.hfvae import HFELBO
from ppl_disentangle.sites import Plate, Site, sampled_sites
from tests.inference.pairs import (
    BATCH,
    DIM,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
    terms,
)

MAX_PAIRS = "ppl_disentangle.inference.elbo.aggregate.MAX_PAIRS"
ESTIMATORS = ["weighted", "stratified", "symmetric"]
UNIT = dict(mutual_information=1.0, between_groups=1.0, within_groups=1.0, dimension_wise_kl=1.0)
DOUBLE = torch.zeros((), dtype=torch.float64)


def normal_site(batch, dim, *, seed=0, name="z", num_data=NUM_DATA):
    """A Gaussian latent of ``batch`` data with a draw, and what its posteriors depend on."""
    generator = torch.Generator().manual_seed(seed)
    loc, scale, z = (
        torch.randn(batch, dim, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    leaves = [loc.requires_grad_(), (scale / 3).exp().requires_grad_()]
    leaves.append((loc + z).detach().requires_grad_())
    plate = Plate("data", -1, batch, num_data)
    return Site(name, dist.Normal(*leaves[:2]).to_event(1), leaves[2], 1.0, None, (plate,)), leaves


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("split", [(DIM,), (2, 1)], ids=str)
@pytest.mark.parametrize("mask", [None, torch.arange(BATCH) % 3 > 0], ids=["whole", "masked"])
def test_blocks_of_coordinates_change_neither_value_nor_gradient(
    monkeypatch, mask, split, particles, estimator
):
    pair = Pair(split, mask=mask, dtype=torch.float64)
    elbo = TCELBO(2.0, 5.0, 0.5, estimator=estimator, **particles)
    whole = loss_and_gradients(elbo, pair)
    monkeypatch.setattr(MAX_PAIRS, BATCH * BATCH)
    for value, reference in zip(loss_and_gradients(elbo, pair), whole, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-10)


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_blocks_limit_memory_in_the_forward_and_in_the_backward_pass(monkeypatch):
    batch, dim, limit = 64, 32, 3 * 64 * 64
    site, leaves = normal_site(batch, dim)
    weights = minibatch_log_weights(batch, NUM_DATA, "symmetric", like=DOUBLE)

    def measure():
        kept = {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with (
            LargestTensor() as largest,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            joint, factored = joint_and_factored(site, site.plates[0], weights)
            torch.autograd.grad(joint.logsumexp(-1).sum() + factored.sum(), leaves)
        return largest.elements, sum(
            tensor.untyped_storage().nbytes() // 8 for tensor in kept.values()
        )

    whole, kept_of_whole = measure()
    assert whole == batch * batch * dim
    assert kept_of_whole > batch * batch * dim
    monkeypatch.setattr(MAX_PAIRS, limit)
    block, kept_of_blocks = measure()
    assert block <= limit
    assert kept_of_blocks < 2 * limit


@pytest.mark.parametrize(("num_data", "batch_size"), [(6, 2), (6, 3), (5, 4)])
def test_the_symmetric_estimator_is_unbiased_over_all_minibatches(num_data, batch_size):
    site, _ = normal_site(num_data, 2)
    density = pairwise_log_prob(site, site.plates[0]).detach().sum(-1).exp()
    weights = minibatch_log_weights(batch_size, num_data, "symmetric", like=DOUBLE).exp()
    for own in range(num_data):
        estimates = [
            (weights[batch.index(own)] * density[own, list(batch)]).sum()
            for batch in itertools.permutations(range(num_data), batch_size)
            if own in batch
        ]
        torch.testing.assert_close(torch.stack(estimates).mean(), density[own].mean())


def test_the_symmetric_estimator_is_exact_where_the_batch_is_all_data():
    weights = minibatch_log_weights(7, 7, "symmetric", like=DOUBLE).exp()
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 7))
    assert not torch.allclose(minibatch_log_weights(7, 7, "stratified", like=DOUBLE).exp(), weights)


def test_the_symmetric_estimator_is_the_mean_of_the_stratified_over_orders_of_the_batch():
    stratified = minibatch_log_weights(4, 50, "stratified", like=DOUBLE).exp()
    orders = [list(order) for order in itertools.permutations(range(4))]
    mean = torch.stack([stratified[order][:, order] for order in orders]).mean(0)
    torch.testing.assert_close(mean, minibatch_log_weights(4, 50, "symmetric", like=DOUBLE).exp())


def test_masked_data_are_as_if_they_were_not_there():
    mask = torch.tensor([True, False, True, True, False])
    weights = minibatch_log_weights(5, NUM_DATA, "symmetric", like=DOUBLE, mask=mask).exp()
    alone = minibatch_log_weights(3, NUM_DATA, "symmetric", like=DOUBLE).exp()
    torch.testing.assert_close(weights[mask][:, mask], alone)
    assert (weights[:, ~mask] == 0).all()


def test_weights_in_low_precision_are_those_in_high_rounded():
    for estimator in ESTIMATORS:
        weights = minibatch_log_weights(
            301, 1000, estimator, like=torch.zeros((), dtype=torch.bfloat16)
        )
        exact = minibatch_log_weights(301, 1000, estimator, like=DOUBLE)
        torch.testing.assert_close(weights.double(), exact, rtol=0.01, atol=0)


@pytest.mark.parametrize("objective", [TCELBO, HFELBO], ids=lambda e: e.__name__)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_batch_of_one_is_finite_and_its_aggregate_is_its_posterior_over_n(estimator, objective):
    loc = torch.zeros(1, DIM, dtype=torch.float64, requires_grad=True)

    def guide():
        with pyro.plate("data", NUM_DATA, subsample=range(1)):
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    def model():
        with pyro.plate("data", NUM_DATA, subsample=range(1)):
            z = pyro.sample(
                "z", dist.Normal(torch.zeros(DIM, dtype=torch.float64), 1.0).to_event(1)
            )
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=torch.ones(1, dtype=torch.float64))

    elbo = objective(estimator=estimator)
    loss = elbo(model, guide)()
    (gradient,) = torch.autograd.grad(loss, loc)
    assert gradient.isfinite().all()
    assert elbo.last_terms["mutual_information"].item() == pytest.approx(
        -NUM_DATA * math.log(NUM_DATA)
    )


def relaxed(batch, categories=4):
    logits = torch.randn(batch, categories, dtype=torch.float64)
    return dist.RelaxedOneHotCategorical(torch.tensor(0.7, dtype=torch.float64), logits=logits)


def test_a_relaxed_one_hot_latent_is_one_column():
    plate, fn = Plate("data", -1, BATCH, NUM_DATA), relaxed(BATCH)
    site = Site("y", fn, fn.rsample(), 1.0, None, (plate,))
    pairs = pairwise_log_prob(site, plate)
    assert pairs.shape == (BATCH, BATCH, 1)
    for i, j in itertools.product(range(BATCH), repeat=2):
        single = dist.RelaxedOneHotCategorical(fn.temperature, logits=fn.logits[j])
        torch.testing.assert_close(pairs[i, j, 0], single.log_prob(site.value[i]))


def test_a_straight_through_latent_is_weighed_at_the_relaxed_value_behind_it():
    plate, soft = Plate("data", -1, BATCH, NUM_DATA), relaxed(BATCH)
    fn = dist.RelaxedOneHotCategoricalStraightThrough(soft.temperature, logits=soft.logits)
    site = Site("y", fn, fn.rsample(), 1.0, None, (plate,))
    torch.testing.assert_close(
        pairwise_log_prob(site, plate).diagonal().squeeze(), fn.log_prob(site.value)
    )


def test_counts_and_weights_of_a_masked_batch_are_exact_in_double_precision():
    pair = Pair(mask=torch.arange(BATCH) != 2, scale=1 / 3, dtype=torch.float64)
    latents = Latents(list(sampled_sites(pyro.poutine.trace(pair.guide).get_trace()).values()))
    assert latents.count == NUM_DATA
    torch.testing.assert_close(latents.weights[0].item(), 1 / 7, rtol=1e-14, atol=0)
    assert latents.weights[2] == 0


# HFELBO


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_unit_weights_give_pyros_bound_and_its_gradients(setting, particles, estimator):
    pair = Pair(**setting)
    expected = loss_and_gradients(Trace_ELBO(**particles), pair)
    ours = loss_and_gradients(HFELBO(**UNIT, estimator=estimator, **particles), pair)
    for value, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


def loops(pair, groups, estimator="symmetric"):
    """Terms of the decomposition on Pyro's scale, written as loops over the definition; groups of coordinates."""
    pyro.set_rng_seed(0)
    sites = sampled_sites(pyro.poutine.trace(pair.guide).get_trace())
    z = torch.cat([sites[f"z{i}"].value.reshape(BATCH, n) for i, n in enumerate(pair.split)], -1)
    counted = [i for i in range(BATCH) if pair.mask is None or pair.mask[i]]
    others = len(counted) - 1

    def log_density(i, j, d):
        return dist.Normal(pair.loc[j, d], pair.log_scale[j, d].exp()).log_prob(z[i, d]).item()

    def weight(i, j):
        if estimator == "weighted":
            return 1 / (NUM_DATA * len(counted))
        return 1 / NUM_DATA if i == j else (NUM_DATA - 1) / (NUM_DATA * others)

    def log_q(i, dims):
        return math.log(
            sum(weight(i, j) * math.exp(sum(log_density(i, j, d) for d in dims)) for j in counted)
        )

    names = ("mutual_information", "between_groups", "within_groups", "dimension_wise_kl")
    totals = dict.fromkeys(names, 0.0)
    for i in counted:
        joint, by_group = log_q(i, range(DIM)), sum(log_q(i, group) for group in groups)
        factored = sum(log_q(i, [d]) for d in range(DIM))
        totals["mutual_information"] += joint - sum(log_density(i, i, d) for d in range(DIM))
        totals["between_groups"] += by_group - joint
        totals["within_groups"] += factored - by_group
        totals["dimension_wise_kl"] += dist.Normal(0.0, 1.0).log_prob(z[i]).sum().item() - factored
    return {name: pair.scale * NUM_DATA / BATCH * total for name, total in totals.items()}


def of_latents(elbo, pair):
    return {k: v.item() for k, v in terms(elbo, pair).items() if k != "log_likelihood"}


@pytest.mark.parametrize("estimator", ["weighted", "symmetric"])
@pytest.mark.parametrize(
    "setting", [{}, {"scale": 0.3}, {"mask": torch.arange(BATCH) % 3 > 0}], ids=str
)
def test_each_term_is_its_definition(setting, estimator):
    pair = Pair((2, 1), dtype=torch.float64, **setting)
    expected = loops(pair, [[0, 1], [2]], estimator)
    assert of_latents(HFELBO(estimator=estimator), pair) == pytest.approx(expected, rel=1e-9)


def test_groups_of_several_sites_are_their_definition():
    pair = Pair((1, 1, 1), dtype=torch.float64)
    elbo = HFELBO(groups=[["z0", "z2"], ["z1"]])
    assert of_latents(elbo, pair) == pytest.approx(loops(pair, [[0, 2], [1]]), rel=1e-9)


def test_particles_average_the_terms():
    pair = Pair((2, 1), dtype=torch.float64)
    average = of_latents(HFELBO(num_particles=3), pair)
    pyro.set_rng_seed(0)
    single, draws = HFELBO(), []
    for _ in range(3):
        single.loss(pair.model, pair.guide)
        draws.append(single.last_terms)
    for name, value in average.items():
        assert value == pytest.approx(sum(d[name].item() for d in draws) / 3, rel=1e-9)


def test_the_order_of_groups_and_of_sites_in_them_does_not_matter():
    pair = Pair((1, 1, 1), dtype=torch.float64)
    reference = of_latents(HFELBO(groups=[["z0", "z2"], ["z1"]]), pair)
    assert of_latents(HFELBO(groups=[["z1"], ["z2", "z0"]]), pair) == pytest.approx(
        reference, rel=1e-12
    )


class Rename(Messenger):
    """Gives sample statements other names."""

    def __init__(self, names):
        super().__init__()
        self.names = names

    def _pyro_sample(self, message):
        message["name"] = self.names.get(message["name"], message["name"])


def test_names_of_sites_do_not_matter():
    pair = Pair((2, 1), dtype=torch.float64)
    reference = of_latents(HFELBO(groups=[["z0"], ["z1"]]), pair)

    class Renamed(Pair):
        def model(self):
            with Rename({"z0": "style", "z1": "content"}):
                super().model()

        def guide(self):
            with Rename({"z0": "style", "z1": "content"}):
                super().guide()

    other = Renamed((2, 1), dtype=torch.float64)
    elbo = HFELBO(groups=[["content"], ["style"]])
    assert of_latents(elbo, other) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "groups", [None, [["z0", "z1"]]], ids=["one site", "one group of two sites"]
)
def test_one_group_of_all_latents_is_the_decomposition_without_groups(groups, estimator):
    pair = Pair((2, 1) if groups else (DIM,), dtype=torch.float64)
    ours = terms(HFELBO(groups=groups, estimator=estimator), pair)
    theirs = terms(TCELBO(estimator=estimator), pair)
    assert ours.pop("between_groups") == 0
    assert ours.pop("within_groups") == theirs.pop("total_correlation")
    assert ours == theirs


def test_groups_of_one_coordinate_have_nothing_within():
    pair = Pair((1, 1, 1), dtype=torch.float64)
    ours, theirs = terms(HFELBO(), pair), terms(TCELBO(estimator="symmetric"), pair)
    assert ours["within_groups"].item() == pytest.approx(0.0, abs=1e-9)
    torch.testing.assert_close(ours["between_groups"], theirs["total_correlation"])


def test_between_and_within_sum_to_the_total_correlation():
    pair = Pair((2, 1), dtype=torch.float64)
    ours, theirs = terms(HFELBO(), pair), terms(TCELBO(estimator="symmetric"), pair)
    torch.testing.assert_close(
        ours["between_groups"] + ours["within_groups"], theirs["total_correlation"]
    )


def test_each_weight_multiplies_its_term():
    pair, weights = (
        Pair((2, 1), dtype=torch.float64),
        dict(zip(UNIT, (0.5, 7.0, 3.0, 2.0), strict=True)),
    )
    elbo = HFELBO(**weights)
    parts = terms(elbo, pair)
    expected = -parts["log_likelihood"] - sum(
        weight * parts[name] for name, weight in weights.items()
    )
    pyro.set_rng_seed(0)
    assert elbo.loss(pair.model, pair.guide) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    "particles", [{}, PARTICLES["three at once"]], ids=["one", "three at once"]
)
def test_gradients_equal_finite_differences(particles):
    pair = Pair((2, 1), dtype=torch.float64)
    elbo = HFELBO(
        mutual_information=0.7,
        between_groups=3.0,
        within_groups=0.2,
        dimension_wise_kl=1.5,
        **particles,
    )

    def loss(*parameters):
        pair.loc, pair.log_scale, pair.shift = parameters
        pyro.set_rng_seed(0)
        return elbo(pair.model, pair.guide)()

    assert torch.autograd.gradcheck(loss, tuple(pair.parameters))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["z0"]], r"latent 'z1' is in no group; the groups are \[\['z0'\]\]"),
        ([["z0"], ["z1"], ["z9"]], r"groups name 'z9', the guide's latents are \['z0', 'z1'\]"),
        ([["z0"], ["z1", "z0"]], "latent 'z0' is in groups twice"),
        ([["z0", "z1"], []], r"at least one latent in each group, got \[\['z0', 'z1'\], \[\]\]"),
        (
            ["z0", "z1"],
            r"sequences of names, such as \[\['a'\], \['b', 'c'\]\], got \['z0', 'z1'\]",
        ),
    ],
)
def test_groups_that_do_not_partition_the_latents_are_refused(groups, message):
    pair = Pair((2, 1))
    with pytest.raises(ValueError, match=message):
        HFELBO(groups=groups).loss(pair.model, pair.guide)
