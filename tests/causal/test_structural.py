"""Structural latents: closed forms, three ways to intervene, the axioms of counterfactuals, one divergence."""

import copy

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from ppl_disentangle import GenerativeStory, do
from ppl_disentangle.causal.interventions import Change
from ppl_disentangle.causal.mechanisms import (
    AdditiveNoise,
    Categorical,
    GivenRoot,
    LinearGaussian,
    LocationScale,
    MonotoneSpline,
)
from ppl_disentangle.causal.structural import NOISE, StructuralPrior
from ppl_disentangle.sites import deterministic_sites, latent_sites, observed_sites, sampled_sites
from tests.golden.adapters import ADAPTERS, affine_map, linear_scm

DOUBLE = {"dtype": torch.float64}

# Linear models x = Bx + a + tau noise: weights B, offsets a, scales tau, an intervention, evidence, and the mean
# of the counterfactual.
SCMS = {
    #  x0 -> x1 -> x2
    "chain": (
        [[0, 0, 0], [0.8, 0, 0], [0, -1.2, 0]],
        [0.5, 0.0, 1.0],
        [1.0, 0.5, 0.7],
        {1: 2.0},
        {0: 1.0, 2: -0.5},
        [1.0, 2.0, -1.7112941176470589],
    ),
    #  x0 -> x1 -> x2,  x0 -> x2
    "confounded": (
        [[0, 0, 0], [1.5, 0, 0], [-0.7, 0.6, 0]],
        [0.0, 0.2, -0.1],
        [1.0, 0.8, 0.3],
        {1: 1.0},
        {1: 0.4, 2: 1.1},
        [-0.7025971762245075, 1.0, 1.46],
    ),
    #  x0 -> x1 -> x3,  x0 -> x2 -> x3
    "diamond": (
        [[0, 0, 0, 0], [0.9, 0, 0, 0], [-0.5, 0, 0, 0], [0, 0.7, 1.1, 0]],
        [0.0, 0.3, 0.0, -0.2],
        [1.0, 0.6, 0.9, 0.4],
        {2: -1.5},
        {3: 0.8},
        [0.04777383022148309, 0.4934840123970065, -1.5, -1.4090135308791292],
    ),
}


@pytest.fixture(params=SCMS.values(), ids=list(SCMS))
def scm(request):
    weights, offsets, scales, actions, evidence, expected = request.param
    return (
        np.array(weights, float),
        np.array(offsets),
        np.array(scales),
        actions,
        evidence,
        np.array(expected),
    )


def distribution_of(weights, offsets, scales, actions):
    """Mean and covariance of x = (I - B)^-1 (a + u) in the graph without the edges into nodes that are set."""
    kept = np.array([i not in actions for i in range(len(offsets))])
    inverse = np.linalg.inv(np.eye(len(offsets)) - kept[:, None] * weights)
    mean = inverse @ np.array([actions.get(i, a) for i, a in enumerate(offsets)])
    return mean, inverse @ np.diag(kept * scales**2) @ inverse.T, inverse


def noise_given(weights, offsets, scales, evidence):
    """Mean and covariance of u = tau noise given exact evidence, through the joint distribution of u and x."""
    mean, covariance, inverse = distribution_of(weights, offsets, scales, {})
    seen = list(evidence)
    prior = np.diag(scales**2)
    cross = (prior @ inverse.T)[:, seen]
    gain = cross @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    return gain @ (np.array(list(evidence.values())) - mean[seen]), prior - gain @ cross.T


def counterfactual_distribution(weights, offsets, scales, actions, evidence):
    """Mean and covariance of x under an intervention, with the noise that the evidence leaves."""
    mean, covariance = noise_given(weights, offsets, scales, evidence)
    start, _, inverse = distribution_of(weights, offsets, scales, actions)
    kept = np.array([i not in actions for i in range(len(offsets))])
    matrix = inverse * kept
    return start + matrix @ mean, matrix @ covariance @ matrix.T


def close(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_linear_models_have_the_closed_form_laws_of_all_three_rungs(scm):
    weights, offsets, scales, actions, evidence, expected = scm
    distribution = ADAPTERS["scm"]
    model = (weights, offsets, scales)
    close(distribution("observational", *model, None, None), distribution_of(*model, {})[:2])
    close(distribution("do", *model, actions, None), distribution_of(*model, actions)[:2])
    close(distribution("abduction", *model, None, evidence), noise_given(*model, evidence))
    close(
        distribution("counterfactual", *model, actions, evidence),
        counterfactual_distribution(*model, actions, evidence),
    )
    np.testing.assert_allclose(
        distribution("counterfactual", *model, actions, evidence)[0], expected, atol=1e-12
    )


def test_a_program_with_its_noise_known_goes_the_way_of_the_mechanisms(scm):
    prior = linear_scm(*scm[:3])
    offset, matrix = affine_map(prior, {})
    noise = torch.randn(7, len(offset), **DOUBLE)
    values = prior.values_of({f"x{i}": noise[:, [i]] for i in range(len(offset))})
    columns = torch.cat([values[f"x{i}"] for i in range(len(offset))], -1)
    torch.testing.assert_close(columns, offset + noise @ matrix.T)


class Scene(GenerativeStory):
    """Nodes seen through normal noise, and a guide that does not know them."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior
        self.latents = tuple(f"{node}{NOISE}" for node in prior.names)

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            z = self.prior.side_by_side(self.prior())
            return pyro.sample("x", dist.Normal(z, 0.1).to_event(1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            for node, mechanism in self.prior.mechanisms.items():
                pyro.sample(f"{node}{NOISE}", mechanism.base())

    def check_intervention(self, name, value):
        if name in self.prior.names:
            self.prior.mechanisms[name].check(name, value)


def by_pyro(prior, actions, size):
    with pyro.plate("data", size):
        return pyro.do(prior, actions)()


def by_messenger(prior, actions, size):
    with pyro.plate("data", size), Change({node: {None: value} for node, value in actions.items()}):
        return prior()


def by_story(prior, actions, size):
    trace = poutine.trace(do(Scene(prior), actions).model).get_trace(batch_size=size)
    nodes = deterministic_sites(trace)
    return {node: nodes[node].value for node in prior.names}


def by_chirho(prior, actions, size):
    interventional = pytest.importorskip("chirho.interventional.handlers")
    with pyro.plate("data", size), interventional.do(actions=actions):
        return prior()


WAYS = {"pyro.do": by_pyro, "Change": by_messenger, "do": by_story, "ChiRho": by_chirho}


def table(prior, values, size):
    columns = [values[n] for n in sorted(prior.names)]
    return torch.cat([c.expand(size, c.shape[-1]) for c in columns], -1).detach()


def within_sampling_error(draws, mean, covariance):
    error = np.sqrt(np.diag(covariance) / len(draws))
    assert (np.abs(draws.mean(0) - mean) <= 4 * error + 1e-9).all()
    products = (draws - mean)[:, :, None] * (draws - mean)[:, None, :]
    error = products.std(0) / np.sqrt(len(draws))
    assert (np.abs(products.mean(0) - covariance) <= 4 * error + 1e-9).all()


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_draws_under_an_intervention_follow_the_closed_form(scm, way):
    *model, actions, _, _ = scm
    prior, size = linear_scm(*model), 20_000
    values = way(
        prior, {f"x{i}": torch.full((size, 1), v, **DOUBLE) for i, v in actions.items()}, size
    )
    mean, covariance, _ = distribution_of(*model, actions)
    within_sampling_error(table(prior, values, size).numpy(), mean, covariance)


def test_draws_without_an_intervention_follow_the_closed_form(scm):
    *model, _, _, _ = scm
    prior, size = linear_scm(*model), 20_000
    mean, covariance, _ = distribution_of(*model, {})
    within_sampling_error(table(prior, by_pyro(prior, {}, size), size).numpy(), mean, covariance)


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_draws_of_counterfactuals_follow_the_closed_form(scm, way):
    *model, actions, evidence, _ = scm
    prior, size = linear_scm(*model), 20_000
    mean, covariance = noise_given(*model, evidence)
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, size) / model[2]
    noise = {f"x{i}{NOISE}": torch.as_tensor(draws[:, [i]]) for i in range(len(mean))}
    with poutine.condition(data=noise):
        values = way(
            prior, {f"x{i}": torch.full((size, 1), v, **DOUBLE) for i, v in actions.items()}, size
        )
    within_sampling_error(
        table(prior, values, size).numpy(), *counterfactual_distribution(*model, actions, evidence)
    )


# Every kind of mechanism, in the graph
#
#    a -> b -> d,  a -> c -> d,  e
#
# in which the roots a and e are learned normals where the mechanism is for children only.
KINDS = {
    "linear": LinearGaussian,
    "additive": AdditiveNoise,
    "location-scale": LocationScale,
    "spline": MonotoneSpline,
}
DIAMOND = "a -> b -> d; a -> c -> d; e"


def diamond(mechanism, **options):
    prior = StructuralPrior(DIAMOND, mechanism, **options)
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return prior


def mixed():
    """All kinds at once: a given root, several coordinates, classes."""
    return diamond(
        {
            "a": GivenRoot(dist.Laplace(0.5, 2.0)),
            "b": Categorical,
            "c": MonotoneSpline,
            "d": LocationScale,
            "e": LinearGaussian,
        },
        dims={"b": 3, "c": 2},
    )


PRIORS = {name: lambda kind=kind: diamond(kind, dims={"c": 2}) for name, kind in KINDS.items()} | {
    "mixed": mixed
}


@pytest.fixture(params=PRIORS.values(), ids=list(PRIORS))
def prior(request):
    return request.param()


def drawn(prior, size=500):
    """Values and noise of one draw."""
    with torch.no_grad(), pyro.plate("data", size):
        trace = poutine.trace(prior).get_trace()
    sites = sampled_sites(trace)
    return {n: s.value for n, s in deterministic_sites(trace).items()}, {
        n: sites[f"{n}{NOISE}"].value for n in prior.names
    }


def under(way, prior, noise, actions, size=500):
    with torch.no_grad(), poutine.condition(data={f"{n}{NOISE}": v for n, v in noise.items()}):
        return way(prior, actions, size)


def test_a_prior_states_noise_and_nodes_in_order(prior):
    values, noise = drawn(prior, 5)
    assert list(values) == list(noise) == list(prior.names) == ["a", "b", "c", "d", "e"]
    for node, value in values.items():
        assert value.shape == (5, prior.dims[node])
    assert prior.columns.index("c[1]") == prior.columns.index("c[0]") + 1
    joined = prior.side_by_side(values)
    assert joined.shape == (5, len(prior.columns))
    assert all(torch.equal(prior.split(joined)[n], v) for n, v in values.items())
    assert torch.equal(prior.parents_of("d", values), torch.cat([values["b"], values["c"]], -1))


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_doing_nothing_returns_the_factual_world_bit_by_bit(prior, way):
    values, noise = drawn(prior)
    for actions in ({}, {"a": values["a"]}, {"b": values["b"], "c": values["c"]}):
        again = under(way, prior, noise, actions)
        assert all(torch.equal(again[n], v) for n, v in values.items())


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_an_intervention_reaches_descendants_and_leaves_the_others_as_they_are_bit_by_bit(
    prior, way
):
    values, noise = drawn(prior)
    other = under(way, prior, noise, {"c": values["c"] + 1})
    assert torch.equal(other["c"], values["c"] + 1)
    assert all(torch.equal(other[n], values[n]) for n in "abe")
    assert (other["d"] != values["d"]).any()


def test_all_ways_to_intervene_are_one(prior):
    values, noise = drawn(prior)
    actions = {"b": values["b"].flip(0), "c": torch.zeros(500, 2)}
    results = [under(way, prior, noise, actions) for name, way in WAYS.items() if name != "ChiRho"]
    for result in results[1:]:
        assert all(torch.equal(result[n], v) for n, v in results[0].items())


def test_chirho_does_the_same(prior):
    pytest.importorskip("chirho")
    values, noise = drawn(prior)
    actions = {"b": values["b"].flip(0), "c": torch.zeros(500, 2)}
    ours, theirs = (under(way, prior, noise, actions) for way in (by_messenger, by_chirho))
    assert all(torch.equal(ours[n], v) for n, v in theirs.items())


def test_chirhos_worlds_share_our_noise(prior):
    counterfactual = pytest.importorskip("chirho.counterfactual.handlers")
    indexed = pytest.importorskip("chirho.indexed.ops")
    interventional = pytest.importorskip("chirho.interventional.handlers")
    values, noise = drawn(prior)
    with (
        torch.no_grad(),
        poutine.condition(data={f"{n}{NOISE}": v for n, v in noise.items()}),
        counterfactual.MultiWorldCounterfactual(first_available_dim=-2),
        pyro.plate("data", 500),
        interventional.do(actions={"c": torch.zeros(500, 2)}),
    ):
        both = prior()
        factual, other = (
            indexed.gather(both["d"], indexed.IndexSet(c={k}), event_dim=1) for k in (0, 1)
        )
    torch.testing.assert_close(factual.reshape(500, 1), values["d"])
    expected = under(by_pyro, prior, noise, {"c": torch.zeros(500, 2)})["d"]
    torch.testing.assert_close(other.reshape(500, 1), expected)


def test_values_give_the_noise_that_gives_the_values(prior):
    values, noise = drawn(prior)
    again = prior.values_of(prior.noise_of(values))
    for node, value in values.items():
        assert ((again[node] - value).abs() < 1e-5 * value.abs().clamp(min=1)).all()


def test_an_intervention_that_is_taken_back_returns_to_the_unit(prior):
    values, _ = drawn(prior)
    there = under(by_pyro, prior, prior.noise_of(values), {"a": values["a"] + 0.5})
    noise = prior.noise_of(there)
    back = under(by_pyro, prior, noise, {"a": values["a"]})
    for node in set(prior.names) - ({"b", "d"} if "b" in discrete(prior) else set()):
        assert ((back[node] - values[node]).abs() < 1e-5 * values[node].abs().clamp(min=1)).all()


def discrete(prior):
    return [n for n, m in prior.mechanisms.items() if isinstance(m, Categorical)]


@pytest.mark.parametrize(
    "value", [2, 2.0, torch.tensor(2.0), torch.tensor([2]), torch.full((5, 1), 2.0)]
)
def test_pyros_do_takes_bare_numbers_in_any_precision(value):
    for prior in (diamond(LinearGaussian), diamond(LinearGaussian).double()):
        values, noise = drawn(prior, 5)
        two = torch.full_like(values["b"], 2)
        expected, result = (under(by_pyro, prior, noise, {"b": v}, 5) for v in (two, value))
        assert result["b"].dtype == two.dtype
        for node in prior.names:
            assert torch.equal(result[node].expand(5, 1), expected[node])


def test_worlds_left_of_the_plate_share_the_noise(prior):
    values, noise = drawn(prior)
    shifts = torch.tensor([0.0, 1.0, -2.0])[:, None, None]
    worlds = under(by_pyro, prior, noise, {"a": values["a"] + shifts})
    assert worlds["d"].shape == (3, 500, 1)
    assert torch.equal(worlds["e"], values["e"])
    for k, shift in enumerate(shifts):
        alone = under(by_pyro, prior, noise, {"a": values["a"] + shift})
        torch.testing.assert_close(worlds["d"][k], alone["d"])


# Evidence


def test_the_likelihood_of_observed_nodes_is_exact(scm):
    *model, _, _, _ = scm
    prior = linear_scm(*model)
    mean, covariance, _ = distribution_of(*model, {})
    data = dist.MultivariateNormal(torch.as_tensor(mean), torch.as_tensor(covariance)).sample((6,))
    observed = {f"x{i}": data[:, [i]] for i in range(len(mean))}
    with pyro.plate("data", 6):
        trace = poutine.trace(prior).get_trace(observed=observed)
    expected = dist.MultivariateNormal(torch.as_tensor(mean), torch.as_tensor(covariance)).log_prob(
        data
    )
    torch.testing.assert_close(trace.log_prob_sum(), expected.sum())
    assert not sampled_sites(trace)


def test_the_noise_of_observed_nodes_is_abducted_and_the_others_follow(prior):
    values, _ = drawn(prior)
    observed = {node: values[node] for node in "bc"}
    with torch.no_grad(), pyro.plate("data", 500):
        trace = poutine.trace(prior).get_trace(observed=observed)
    noise = deterministic_sites(trace) | sampled_sites(trace)
    again = prior.values_of({n: noise[f"{n}{NOISE}"].value for n in prior.names})
    for node, value in observed.items():
        torch.testing.assert_close(again[node], value, rtol=1e-5, atol=1e-5)
        site = observed_sites(trace)[node]
        expected = prior.mechanisms[node].conditional(again["a"]).log_prob(value)
        torch.testing.assert_close(site.log_prob(), expected, rtol=1e-4, atol=1e-4)
    assert set(sampled_sites(trace)) == {"a_noise", "d_noise", "e_noise"}


def test_a_guide_needs_no_posterior_of_what_is_observed(prior):
    values, _ = drawn(prior, 5)
    known = {n: values[n] for n in discrete(prior)} | {"a": values["a"]}
    posteriors = {n: dist.Normal(values[n], 0.1).to_event(1) for n in prior.names if n not in known}
    with pyro.plate("data", 5):
        trace = poutine.trace(prior.pull_back).get_trace(posteriors, observed=known)
        found = poutine.replay(prior, trace=trace)(observed=known)
    assert set(sampled_sites(trace)) == {f"{n}{NOISE}" for n in posteriors}
    assert all(torch.equal(found[n], v) for n, v in known.items())
    for node in posteriors:
        assert ((found[node] - values[node]).abs() < 0.6).all()


# One divergence


def some_posteriors(prior, size, **options):
    posteriors = {}
    for node, dim in prior.dims.items():
        loc, scale = torch.randn(size, dim, **options), torch.rand(size, dim, **options) + 0.2
        posteriors[node] = dist.Normal(loc, scale).to_event(1)
    return posteriors


@pytest.mark.parametrize("kind", ["linear", "location-scale", "spline"])
def test_the_divergence_of_the_noise_is_that_of_the_nodes_point_by_point(kind):
    prior = PRIORS[kind]().double()
    posteriors = some_posteriors(prior, 50, **DOUBLE)
    with pyro.plate("data", 50):
        guide = poutine.trace(prior.pull_back).get_trace(posteriors)
        model = poutine.trace(poutine.replay(prior, trace=guide)).get_trace()
    nodes = {n: site.value for n, site in deterministic_sites(model).items()}
    for q, p in latent_sites(model, guide):
        node = q.name.removesuffix(NOISE)
        conditional = prior.mechanisms[node].conditional(prior.parents_of(node, nodes))
        of_nodes = posteriors[node].log_prob(nodes[node]) - conditional.log_prob(nodes[node])
        assert (q.log_prob() - p.log_prob() - of_nodes).abs().max() < 1e-10


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_nodes_of_a_guide_follow_their_posteriors(kind):
    prior, size = PRIORS[kind](), 4000
    posteriors = {
        n: dist.Normal(torch.arange(d) - 0.5, 0.5 + torch.arange(d)).to_event(1)
        for n, d in prior.dims.items()
    }
    with torch.no_grad(), pyro.plate("data", size):
        values = prior.pull_back(posteriors)
    for node, q in posteriors.items():
        error = q.stddev / size**0.5
        assert ((values[node].mean(0) - q.mean).abs() < 4 * error).all()
        assert ((values[node].std(0) - q.stddev).abs() < 4 * error / 2**0.5).all()


def test_the_divergence_of_a_linear_model_is_in_closed_form(scm):
    *model, _, _, _ = scm
    prior = linear_scm(*model)
    posteriors = some_posteriors(prior, 8, **DOUBLE)

    def pair(story):
        with pyro.plate("data", 8):
            story()

    def guide():
        with pyro.plate("data", 8):
            prior.pull_back(posteriors)

    loss = TraceMeanField_ELBO(num_particles=2000, vectorize_particles=True, max_plate_nesting=1)
    found = loss.loss(lambda: pair(prior), guide) / 8
    q_mean, q_scale = (
        torch.cat([getattr(posteriors[n], k) for n in sorted(posteriors)], -1)
        for k in ("mean", "stddev")
    )
    mean, covariance, _ = (torch.as_tensor(a) for a in distribution_of(*model, {}))
    posterior = dist.MultivariateNormal(q_mean, scale_tril=torch.diag_embed(q_scale))
    expected = (
        torch.distributions.kl_divergence(posterior, dist.MultivariateNormal(mean, covariance))
        .mean()
        .item()
    )
    assert found == pytest.approx(expected, rel=0.05)


# Units under interventions


def some_interventions(prior, size):
    """A matrix in which some units have some nodes set, and the same values for ``pyro.do``."""
    values, _ = drawn(prior, size)
    matrix = torch.full((size, len(prior.columns)), torch.nan)
    for node, rows in (("a", slice(0, 4)), ("b", slice(2, 6)), ("d", slice(5, 8))):
        block = torch.full((size, prior.dims[node]), torch.nan)
        block[rows] = values[node][rows].flip(0)
        columns = {n: torch.full((size, d), torch.nan) for n, d in prior.dims.items()} | {
            node: block
        }
        matrix = torch.where(
            prior.side_by_side(columns).isnan(), matrix, prior.side_by_side(columns)
        )
    return matrix


def test_units_that_were_intervened_on_are_each_what_do_makes_of_them(prior):
    _, noise = drawn(prior, 10)
    matrix = some_interventions(prior, 10)
    with (
        torch.no_grad(),
        poutine.condition(data={f"{n}{NOISE}": v for n, v in noise.items()}),
        pyro.plate("data", 10),
    ):
        values = prior(interventions=matrix)
    for unit in range(10):
        actions = {n: v for n, v in prior.split(matrix[[unit]]).items() if not v.isnan().any()}
        alone = under(by_pyro, prior, {n: v[[unit]] for n, v in noise.items()}, actions, 1)
        for node in prior.names:
            torch.testing.assert_close(alone[node], values[node][[unit]])
    assert len(matrix.isnan().any(-1).unique()) == 1


@pytest.mark.parametrize("kind", ["linear", "location-scale", "spline", "given root"])
def test_nothing_is_learned_of_the_noise_of_a_node_that_was_set(kind):
    by_node = {"a": GivenRoot(dist.Laplace(0.0, 1.0))} if kind == "given root" else KINDS[kind]
    prior = diamond(by_node)
    matrix = some_interventions(prior, 10)
    posteriors = some_posteriors(prior, 10)
    with pyro.plate("data", 10):
        guide = poutine.trace(prior.pull_back).get_trace(posteriors, interventions=matrix)
        free = poutine.trace(poutine.replay(prior.pull_back, trace=guide)).get_trace(posteriors)
        model = poutine.trace(poutine.replay(prior, trace=guide)).get_trace(interventions=matrix)
    values = {n: site.value for n, site in deterministic_sites(model).items()}
    for q, p in latent_sites(model, guide):
        node = q.name.removesuffix(NOISE)
        was_set = ~prior.column_of(matrix, node)[:, 0].isnan()
        ratios = q.log_prob() - p.log_prob()
        assert (ratios[was_set].abs() < 1e-6).all()
        assert torch.equal(values[node][was_set], prior.column_of(matrix, node)[was_set])
        above = prior.parents_of(node, values)
        of_nodes = posteriors[node].log_prob(values[node]) - prior.mechanisms[node].conditional(
            above
        ).log_prob(values[node])
        torch.testing.assert_close(ratios[~was_set], of_nodes[~was_set], rtol=1e-4, atol=1e-4)
    assert list(free.nodes) == list(guide.nodes)
    elbo = Trace_ELBO()
    for p in prior.parameters():
        p.grad = None
    loss = elbo.differentiable_loss(
        lambda: in_plate(prior, 10, interventions=matrix),
        lambda: in_plate(prior.pull_back, 10, posteriors, interventions=matrix),
    )
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in prior.parameters() if p.grad is not None)


def in_plate(program, size, *args, **kwargs):
    with pyro.plate("data", size):
        return program(*args, **kwargs)


def test_several_coordinates_that_were_set_need_normal_posteriors():
    prior = diamond(MonotoneSpline, dims={"c": 2})
    matrix, posteriors = torch.full((3, 6), torch.nan), some_posteriors(prior, 3)
    message = r"interventions on 2 coordinates need normal posteriors of their noise, got TransformedDistribution"
    with pytest.raises(ValueError, match=message):
        in_plate(prior.pull_back, 3, posteriors, interventions=matrix)


def test_an_observation_of_a_node_that_was_set_says_nothing_of_its_mechanism():
    #  a -> b
    prior, size = StructuralPrior("a -> b", LinearGaussian), 4000
    observed = {"a": torch.randn(size, 1), "b": torch.full((size, 1), 50.0)}
    matrix = torch.full((size, 2), torch.nan)
    matrix[:, 1] = 50.0
    matrix[0, 1] = torch.nan
    trace = poutine.trace(in_plate).get_trace(prior, size, observed=observed, interventions=matrix)
    site = observed_sites(trace)["b"]
    scored = site.total(site.log_prob())
    torch.testing.assert_close(
        scored, prior.mechanisms["b"].conditional(observed["a"]).log_prob(observed["b"])[0]
    )
    noise = deterministic_sites(trace)["b_noise"].value[:, 0]
    assert noise[0] > 40
    assert noise[1:].mean().abs() < 4 / size**0.5
    assert (noise[1:].std() - 1).abs() < 4 / (2 * size) ** 0.5


# Construction, devices, errors


def test_nodes_that_are_not_named_have_additive_noise():
    prior = StructuralPrior("a -> b", {"a": LinearGaussian})
    assert [type(m) for m in prior.mechanisms.values()] == [LinearGaussian, AdditiveNoise]


def test_all_mechanisms_train_under_the_plate_of_data(prior):
    prior.train()
    size = 64
    target = drawn(mixed() if discrete(prior) else prior, size)[0]
    known = {n: target[n] for n in discrete(prior)}
    loc = {
        n: torch.nn.Parameter(0.1 * torch.randn(size, d))
        for n, d in prior.dims.items()
        if n not in known
    }
    parameters = [*prior.parameters(), *loc.values()]
    before = [p.detach().clone() for p in parameters]

    def model():
        with pyro.plate("data", size):
            values = prior(observed=known)
            pyro.sample(
                "x",
                dist.Normal(prior.side_by_side(values), 0.5).to_event(1),
                obs=prior.side_by_side(target),
            )

    def guide():
        with pyro.plate("data", size):
            prior.pull_back(
                {n: dist.Normal(m, 0.5).to_event(1) for n, m in loc.items()}, observed=known
            )

    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        TraceMeanField_ELBO().differentiable_loss(model, guide).backward()
        optimizer.step()
    assert all(
        torch.isfinite(p).all() and not torch.equal(p, b)
        for p, b in zip(parameters, before, strict=True)
    )


def test_a_prior_runs_on_another_device(prior):
    pyro.enable_validation(False)
    prior = prior.to("meta")
    matrix = torch.full((5, len(prior.columns)), torch.nan, device="meta")
    values = in_plate(prior, 5, interventions=matrix)
    known = {n: values[n] for n in discrete(prior)}
    narrow = StructuralPrior(DIAMOND, LinearGaussian).to("meta")
    posteriors = some_posteriors(narrow, 5, device="meta")
    guided = in_plate(
        narrow.pull_back, 5, posteriors, interventions=torch.zeros(5, 5, device="meta")
    )
    again = in_plate(prior, 5, observed=known | {"a": values["a"]}, interventions=matrix)
    for value in (*values.values(), *guided.values(), *again.values()):
        assert value.is_meta


def test_a_state_dict_restores_a_prior(prior, request):
    other = request.node.callspec.params["prior"]()
    other.load_state_dict(prior.state_dict())
    values, noise = drawn(prior, 5)
    for twin in (other, copy.deepcopy(prior)):
        assert all(torch.equal(v, values[n]) for n, v in twin.values_of(noise).items())


def test_a_class_is_set_to_a_one_hot_row_only():
    story = Scene(mixed())
    rainy = torch.tensor([0.0, 0.0, 1.0])
    trace = poutine.trace(do(story, {"b": rainy}).model).get_trace(batch_size=4)
    assert torch.equal(deterministic_sites(trace)["b"].value, rainy.expand(4, 3))
    for name, value in (("b", 1.5), ("b", 2), ("b", [0.5, 0.5, 0.0]), ("b[1]", 1.0)):
        with pytest.raises(
            ValueError,
            match=r"node 'b' is one of 3 classes: expected rows such as \[0.0, 0.0, 1.0\]",
        ):
            do(story, {name: torch.tensor(value)})


BAD = {
    "an unknown mechanism": (
        lambda: StructuralPrior("a -> b", {"c": LinearGaussian}),
        KeyError,
        r"no node named 'c'; the graph has \['a', 'b'\]",
    ),
    "an unknown dimension": (
        lambda: StructuralPrior("a -> b", dims={"c": 2}),
        KeyError,
        "no node named 'c'",
    ),
    "a built mechanism that does not fit": (
        lambda: StructuralPrior("a -> b", {"b": LinearGaussian(1, 2)}),
        ValueError,
        "node 'b' has 1 coordinates and 1 of parents, its mechanism LinearGaussian 1 and 2",
    ),
    "a given root with parents": (
        lambda: StructuralPrior("a -> b", {"b": GivenRoot(dist.Uniform(0.0, 1.0))}),
        ValueError,
        "node 'b' has 1 coordinates and 1 of parents, its mechanism GivenRoot 1 and 0",
    ),
    "one class": (
        lambda: StructuralPrior("a -> b", {"b": Categorical}),
        ValueError,
        r"pass dims=\{node: classes\}",
    ),
    "a name that results have": (
        lambda: StructuralPrior("draw -> b"),
        ValueError,
        "node 'draw' needs another name",
    ),
    "an unknown observation": (
        lambda: StructuralPrior("a -> b")(observed={"c": torch.zeros(1)}),
        KeyError,
        "no node named 'c'",
    ),
    "an unknown base": (
        lambda: StructuralPrior("a -> b")(base={"c": dist.Normal(torch.zeros(1), 1.0).to_event(1)}),
        KeyError,
        "no node named 'c'",
    ),
    "an observation without its dimension": (
        lambda: StructuralPrior("a -> b")(observed={"b": torch.zeros(5)}),
        ValueError,
        r"expected values of node 'b' of shape \(…, 1\), got \(5,\)",
    ),
    "a value of pyro.do without its dimension": (
        lambda: pyro.do(StructuralPrior("a -> b"), {"a": torch.zeros(5)})(),
        ValueError,
        r"expected values of node 'a' of shape \(…, 1\), got \(5,\)",
    ),
    "columns that are too few": (
        lambda: StructuralPrior("a -> b")(interventions=torch.zeros(5, 1)),
        ValueError,
        r"expected the columns \['a', 'b'\], got 1",
    ),
    "no posterior": (
        lambda: StructuralPrior("a -> b").pull_back(
            {"a": dist.Normal(torch.zeros(1), 1.0).to_event(1)}
        ),
        KeyError,
        "node 'b' has neither a posterior nor an observation",
    ),
    "an unknown posterior": (
        lambda: StructuralPrior("a -> b").pull_back(
            {"c": dist.Normal(torch.zeros(1), 1.0).to_event(1)}
        ),
        KeyError,
        "no node named 'c'",
    ),
}


@pytest.mark.parametrize(("build", "error", "message"), BAD.values(), ids=list(BAD))
def test_invalid_arguments_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
