"""Bounds on log p(x) and their decomposition in the aggregate posterior, against closed forms and loops."""

import json
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference.bounds.decomposition import decompose
from ppl_disentangle.inference.bounds.per_datum import elbo_per_datum, log_marginal
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.pairs import as_story
from ppl_disentangle.story import GenerativeStory
from tests.golden.adapters import ADAPTERS, LinearGaussian
from tests.inference.elbo.test_aggregate import LargestTensor
from tests.inference.pairs import GOLDEN, linear_gaussian

CASES = ["vae_pub_a", "vae_pub_b", "vae_pub_optimal"]
REFERENCE = json.loads((GOLDEN / "linear_gaussian_vae.json").read_text())


def case(name):
    """A story, its data and the exact values."""
    reference = REFERENCE[name]
    story = LinearGaussian(reference["params"])
    exact = {
        key: torch.tensor(value, dtype=torch.float64) for key, value in reference["exact"].items()
    }
    return story, story.params["X"], exact


class TwoSites(GenerativeStory):
    """y, a point of a simplex, and z, a normal vector; x | y, z is normal."""

    latents = ("y", "z")

    def __init__(self, dim=2, categories=3):
        super().__init__()
        generator = torch.Generator().manual_seed(5)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.weight, self.logits, self.means = (
            draw(4, categories + dim),
            draw(4, categories),
            draw(4, dim),
        )
        self.scale, self.temperature = (
            (0.5 * draw(dim)).exp(),
            torch.tensor(0.7, dtype=torch.float64),
        )
        self.noise = (
            torch.zeros(categories, dtype=torch.float64),
            torch.zeros(dim, dtype=torch.float64),
        )

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            y = pyro.sample(
                "y", dist.RelaxedOneHotCategorical(self.temperature, logits=self.noise[0])
            )
            z = pyro.sample("z", dist.Normal(self.noise[1], 1.0).to_event(1))
            loc = torch.cat([y, z], -1) @ self.weight.T
            return pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample(
                "y", dist.RelaxedOneHotCategorical(self.temperature, logits=x @ self.logits)
            )
            pyro.sample("z", dist.Normal(x @ self.means, self.scale.expand(len(x), -1)).to_event(1))


def observations(num, seed=0):
    return torch.randn(num, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pyro_log_weights(story, batches, num_samples, seed):
    """log p(x, z) - log q(z | x) of each draw of each datum, summed up from Pyro's traces."""
    torch.manual_seed(seed)
    columns = []
    for x in batches:
        draws = []
        for _ in range(num_samples):
            guide = poutine.trace(story.guide).get_trace(x)
            model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x)
            guide.compute_log_prob(lambda name, _: name != "data")
            model.compute_log_prob(lambda name, _: name != "data")
            joint = sum(
                node["unscaled_log_prob"]
                for node in model.nodes.values()
                if "unscaled_log_prob" in node
            )
            given_x = sum(
                node["unscaled_log_prob"]
                for node in guide.nodes.values()
                if "unscaled_log_prob" in node
            )
            draws.append(joint - given_x)
        columns.append(torch.stack(draws))
    return torch.cat(columns, -1)


# log_marginal


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_the_estimate_is_its_definition_over_the_draws(alpha):
    story, x = TwoSites(), observations(5)
    result = log_marginal(story, x, num_samples=4, alpha=alpha, seed=3, batch_size=2)
    log_weights = pyro_log_weights(story, x.split(2), 4, seed=3)
    for n in range(5):
        weights = [math.exp(value) for value in log_weights[:, n].tolist()]
        if alpha == 1:
            expected = sum(map(math.log, weights)) / 4
        else:
            expected = math.log(sum(w ** (1 - alpha) for w in weights) / 4) / (1 - alpha)
        assert result["log_marginal"][n].item() == pytest.approx(expected, rel=1e-9)
        size = sum(weights) ** 2 / sum(w**2 for w in weights)
        assert result["effective_sample_size"][n].item() == pytest.approx(size, rel=1e-9)
    values = result["log_marginal"].to_numpy()
    assert result["mean"].item() == pytest.approx(values.mean())
    assert result["standard_error"].item() == pytest.approx(values.std(ddof=1) / math.sqrt(5))
    assert (result.attrs["num_samples"], result.attrs["alpha"], result.attrs["seed"]) == (
        4,
        alpha,
        3,
    )


@pytest.mark.parametrize("name", ["vae_pub_a", "vae_pub_b"])
def test_many_draws_reach_the_exact_log_marginal(name):
    story, x, exact = case(name)
    with pyro.validation_enabled(False):
        result = log_marginal(story, x, num_samples=2000)
    size = torch.tensor(result["effective_sample_size"].to_numpy())
    assert (size > 30).all()
    error = (1 / size - 1 / 2000).sqrt()
    difference = torch.tensor(result["log_marginal"].to_numpy()) - exact["logpx_n"]
    assert (difference.abs() < 4 * error).all()
    assert abs(difference.mean()) < 4 * error.square().sum().sqrt() / len(x)
    assert (
        exact["logpx_n"].mean() - exact["elbo_n"].mean() > 0.9
    )  # what the bound of one draw would be off by


def renyi_divergence(loc, scale, mean, covariance, alpha):
    """D_alpha(N(loc, diag scale^2) || N(mean, covariance)), of one datum."""
    own = torch.diag(scale**2)
    mixed = alpha * covariance + (1 - alpha) * own
    offset = loc - mean
    quadratic = alpha / 2 * offset @ torch.linalg.solve(mixed, offset)
    return quadratic - (
        mixed.logdet() - (1 - alpha) * own.logdet() - alpha * covariance.logdet()
    ) / (2 * (alpha - 1))


@pytest.mark.parametrize("alpha", [0.3, 0.7])
def test_the_renyi_bound_is_below_log_p_by_renyis_divergence(alpha):
    story, x, exact = case("vae_pub_a")
    p = story.params
    precision = torch.eye(2).double() + p["W"].T @ p["W"] / p["sigma"] ** 2
    covariance = precision.inverse()
    means = (x - p["b"]) @ p["W"] @ covariance / p["sigma"] ** 2
    gaps = [
        renyi_divergence(q, p["s"], m, covariance, alpha)
        for q, m in zip(story.posterior(x).mean, means, strict=True)
    ]
    with pyro.validation_enabled(False):
        result = log_marginal(story, x.repeat(8, 1), num_samples=400, alpha=alpha)
    values = torch.tensor(result["log_marginal"].to_numpy()).reshape(8, len(x))
    error = values.mean(1).std() / 8**0.5
    expected = (exact["logpx_n"] - torch.stack(gaps)).mean()
    assert torch.stack(gaps).mean() > 0.2
    assert abs(values.mean() - expected) < 4 * error + 0.01
    assert error < 0.01


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("num_samples", [1, 5])
def test_any_order_and_number_of_draws_is_exact_where_the_guide_is_the_posterior(
    num_samples, alpha
):
    story, x, exact = case("vae_pub_optimal")
    result = log_marginal(story, x, num_samples=num_samples, alpha=alpha)
    torch.testing.assert_close(
        torch.tensor(result["log_marginal"].to_numpy()), exact["logpx_n"], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        torch.tensor(result["effective_sample_size"].to_numpy()),
        torch.full((len(x),), float(num_samples), dtype=torch.float64),
    )


def test_more_draws_raise_the_bound_and_stay_below_log_p():
    story, x, exact = case("vae_pub_a")
    previous, previous_error = exact["elbo_n"].mean().item(), 0.0
    first = None
    for num_samples in (1, 4, 16):
        bound = log_marginal(story, x.repeat(200, 1), num_samples=num_samples, batch_size=3200)[
            "log_marginal"
        ]
        copies = bound.to_numpy().reshape(200, len(x)).mean(1)
        mean, error = copies.mean(), copies.std() / 200**0.5
        if first is None:
            first = mean
            assert abs(mean - previous) < 4 * error
        else:
            assert mean > previous + 4 * (error + previous_error)
        assert mean < exact["logpx_n"].mean() + 4 * error
        previous, previous_error = mean, error


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5])
def test_one_draw_is_pyros_bound(alpha):
    story, x = TwoSites(), observations(7)
    result = log_marginal(story, x, num_samples=1, alpha=alpha, seed=2)
    pyro.set_rng_seed(2)
    loss = Trace_ELBO().loss(story.model, story.guide, x)
    assert result["log_marginal"].sum().item() == pytest.approx(-loss, rel=1e-9)
    assert (abs(result["effective_sample_size"] - 1) < 1e-9).all()


def test_a_plain_pair_of_functions_has_a_log_marginal_and_a_decomposition():
    model, guide, x, exact = linear_gaussian("vae_pub_optimal")
    story = as_story(model, guide)
    assert log_marginal(story, x, num_samples=2)["mean"].item() == pytest.approx(
        exact["logpx_n"].mean().item(), abs=1e-4
    )
    parts = decompose(as_story(model, guide), x, num_samples=20)
    assert parts["elbo"].item() == pytest.approx(exact["logpx_n"].mean().item(), abs=1e-4)


# decompose


@pytest.mark.parametrize("name", CASES)
def test_the_parts_of_the_bound_equal_quadrature(name):
    story, x, exact = case(name)
    aggregate = REFERENCE[name]["aggregate"]
    with pyro.validation_enabled(False):
        parts = decompose(story, x.repeat(1 + 300 // len(x), 1), num_samples=200)
    assert parts.attrs["estimator"] == "exact"
    expected = {
        "elbo": exact["elbo_n"].mean().item(),
        "log_likelihood": exact["recon_n"].mean().item(),
        "mutual_information": -aggregate["index_code_mi"],
        "total_correlation": -aggregate["total_correlation"],
        "dimension_wise_kl": -aggregate["dimwise_kl"],
    }
    assert set(parts) == {*expected, *(f"{key}_standard_error" for key in expected)}
    for key, value in expected.items():
        error = parts[f"{key}_standard_error"].item()
        assert abs(parts[key].item() - value) < 4 * error
        assert error < 0.02
    assert max(abs(parts[key].item() - expected[key]) for key in list(expected)[2:]) < 0.02


def log_q(story, part, y, z, i, names, own, other):
    """log of the mixture's density at the draw of datum ``i``, of ``"y"`` and the coordinates of z in ``names``."""
    total = 0.0
    for j, x in enumerate(part):
        log_density = 0.0
        if "y" in names:
            relaxed = dist.RelaxedOneHotCategorical(story.temperature, logits=x @ story.logits)
            log_density += relaxed.log_prob(y[i]).item()
        for d in {0, 1} & set(names):
            log_density += (
                dist.Normal(x @ story.means[:, d], story.scale[d]).log_prob(z[i, d]).item()
            )
        total += (own if i == j else other) * math.exp(log_density)
    return math.log(total)


def loops(story, x, num_samples, num_components, seed, batch_size):
    """The parts, written as loops over the definition, at the draws that ``decompose`` makes."""
    torch.manual_seed(seed)
    num_data, totals = len(x), {}
    other = (num_data - 1) / (num_data * (num_components - 1))
    for _ in range(num_samples):
        part = x if num_components == num_data else x[torch.randperm(num_data)[:num_components]]
        traces = [poutine.trace(story.guide).get_trace(batch) for batch in part.split(batch_size)]
        y, z = (torch.cat([trace.nodes[name]["value"] for trace in traces]) for name in ("y", "z"))
        for i in range(num_components):
            joint, only_y, only_z, first, second = (
                log_q(story, part, y, z, i, names, 1 / num_data, other)
                for names in (["y", 0, 1], ["y"], [0, 1], [0], [1])
            )
            own = log_q(
                story, part[i : i + 1], y[i : i + 1], z[i : i + 1], 0, ["y", 0, 1], 1.0, 0.0
            )
            prior = dist.Normal(0.0, 1.0).log_prob(z[i]).sum()
            prior += dist.RelaxedOneHotCategorical(
                story.temperature, logits=story.noise[0]
            ).log_prob(y[i])
            loc = story.weight @ torch.cat([y[i], z[i]])
            values = {
                "log_likelihood": dist.Normal(loc, 1.0).log_prob(part[i]).sum().item(),
                "mutual_information": joint - own,
                "between_groups": only_y + only_z - joint,
                "within_groups": first + second - only_z,
                "dimension_wise_kl": prior.item() - only_y - first - second,
            }
            for key, value in values.items():
                totals[key] = totals.get(key, 0.0) + value / num_samples / num_components
    return totals


@pytest.mark.parametrize("num_components", [7, 5], ids=["exact", "symmetric"])
def test_each_part_is_its_definition_with_a_relaxed_one_hot_latent(num_components):
    story, x = TwoSites(), observations(7)
    settings = dict(num_samples=2, num_components=num_components, seed=4, batch_size=3)
    parts = decompose(story, x, exact_below=0, **settings)
    assert parts.attrs["estimator"] == ("exact" if num_components == 7 else "symmetric")
    expected = loops(story, x, **settings)
    for key, value in expected.items():
        assert parts[key].item() == pytest.approx(value, rel=1e-9), key
    between, within = parts["between_groups"].item(), parts["within_groups"].item()
    assert parts["total_correlation"].item() == pytest.approx(between + within)
    names = ("log_likelihood", "mutual_information", "total_correlation", "dimension_wise_kl")
    assert parts["elbo"].item() == pytest.approx(sum(parts[name].item() for name in names))
    assert all(parts[name].ndim == 0 for name in parts)


def test_random_components_agree_with_all_of_them():
    story, x, _ = case("vae_pub_b")
    x = x.repeat(30, 1)
    with pyro.validation_enabled(False):
        exact = decompose(story, x, num_samples=8, seed=1)
        estimate = decompose(story, x, num_samples=40, seed=2, exact_below=100, num_components=300)
    assert (exact.attrs["estimator"], estimate.attrs["estimator"]) == ("exact", "symmetric")
    assert (exact.attrs["num_components"], estimate.attrs["num_components"]) == (1200, 300)
    for name in (
        "elbo",
        "log_likelihood",
        "mutual_information",
        "total_correlation",
        "dimension_wise_kl",
    ):
        error = math.hypot(*(d[f"{name}_standard_error"].item() for d in (exact, estimate)))
        assert abs(exact[name].item() - estimate[name].item()) < 4 * error, name
        assert error < 0.1


@pytest.mark.parametrize("exact_below", [1000, 10], ids=["exact", "symmetric"])
def test_the_standard_error_is_the_deviation_over_seeds(exact_below):
    story, x, _ = case("vae_pub_b")
    runs = [
        decompose(story, x, num_samples=8, seed=seed, exact_below=exact_below, num_components=20)
        for seed in range(40)
    ]
    for name in ("elbo", "mutual_information", "total_correlation", "dimension_wise_kl"):
        deviation = torch.tensor([run[name].item() for run in runs]).std()
        errors = torch.tensor([run[f"{name}_standard_error"].item() for run in runs])
        assert 0.65 < deviation / errors.square().mean().sqrt() < 1.5, name


def test_the_data_are_never_compared_all_with_all_at_once():
    story, x, _ = case("vae_pub_b")
    x = x.repeat(10, 1)  # 400 data, 2 coordinates
    with LargestTensor() as largest:
        decompose(story, x, num_samples=2, batch_size=40)
    assert largest.elements <= max(40 * 40 * 2, x.numel())


def test_a_single_datum_has_no_mutual_information():
    parts = decompose(TwoSites(), observations(1), num_samples=3)
    for name in ("mutual_information", "between_groups"):
        assert parts[name].item() == pytest.approx(0.0, abs=1e-12)


def pixels():
    torch.manual_seed(0)
    story = BetaVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4)
    return story, torch.rand(30, 6).round()


@pytest.mark.parametrize("function", [log_marginal, decompose], ids=lambda f: f.__name__)
def test_the_story_and_the_callers_random_state_are_left_alone(function):
    story, x = pixels()
    before = {name: value.clone() for name, value in story.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = function(story, x, num_samples=3, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert story.training
    assert not pyro.get_param_store()
    assert all(torch.equal(before[name], value) for name, value in story.state_dict().items())
    assert first.identical(function(story, x, num_samples=3, seed=1))
    assert not first.identical(function(story, x, num_samples=3, seed=2))


@pytest.mark.parametrize(
    "settings", [{}, {"exact_below": 5, "num_components": 12}], ids=["exact", "symmetric"]
)
def test_data_sets_and_tensors_are_decomposed_alike(settings):
    story, x = pixels()
    data = from_arrays(x.numpy())
    assert decompose(story, data, num_samples=3, **settings).identical(
        decompose(story, x, num_samples=3, **settings)
    )
    assert log_marginal(story, data, num_samples=3).identical(log_marginal(story, x, num_samples=3))


def test_the_parts_sum_to_the_bound_that_is_reported_elsewhere():
    story, x = pixels()
    parts, bound = (
        decompose(story, x, num_samples=100),
        elbo_per_datum(story, x, num_samples=100, seed=5),
    )
    error = parts["elbo_standard_error"].item()
    assert abs(parts["elbo"].item() - bound["elbo"].mean().item()) < 6 * error


def test_errors_say_what_is_expected():
    story, x = pixels()
    with pytest.raises(ValueError, match="expected num_samples >= 1, got 0"):
        log_marginal(story, x, num_samples=0)
    with pytest.raises(ValueError, match="expected a finite alpha, got inf"):
        log_marginal(story, x, alpha=math.inf)
    with pytest.raises(ValueError, match="expected num_samples >= 2, got 1"):
        decompose(story, x, num_samples=1)
    with pytest.raises(ValueError, match="expected num_components >= 2, got 0"):
        decompose(story, x, num_components=0)
    with pytest.raises(ValueError, match="at least one datum, got none"):
        decompose(story, x[:0])

    class Masked(TwoSites):
        def guide(self, x):
            with poutine.mask(mask=torch.arange(len(x)) > 0):
                super().guide(x)

    with pytest.raises(ValueError, match="expected latents without a mask"):
        decompose(Masked(), observations(4))

    class Global(TwoSites):
        def model(self, x=None, *, batch_size=1):
            pyro.sample("width", dist.Normal(0.0, 1.0))
            return super().model(x, batch_size=batch_size)

        def guide(self, x):
            pyro.sample("width", dist.Normal(0.0, 1.0))
            super().guide(x)

    with pytest.raises(
        ValueError, match="latent 'width' is outside of the plate 'data' over the data"
    ):
        decompose(Global(), observations(4))


@pytest.mark.parametrize("name", CASES)
def test_the_linear_gaussian_case_under_the_shared_names(name):
    values = ADAPTERS["vae"](REFERENCE[name]["params"])
    exact = REFERENCE[name]["exact"]
    for key in ("recon_n", "kl_n", "elbo_n", "kl_per_dim_mean"):
        np.testing.assert_allclose(values[key], exact[key], rtol=1e-9)


class Told(GenerativeStory):
    """z | u ~ N(u, 1), x | z ~ N(z, 1), and the guide is the posterior, so that log p(x | u) = log N(x; u, 2)."""

    latents = ("z",)

    def model(self, x=None, *, batch_size=1, u=None):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(u, 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x, *, u=None):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal((x + u) / 2, 0.5**0.5).to_event(1))


def test_bounds_use_the_conditions_of_each_datum():
    generator = torch.Generator().manual_seed(0)
    x, u = torch.randn(40, 1, generator=generator), 3 * torch.randn(40, 1, generator=generator)
    data, exact = with_conditions(from_arrays(x), u=u), dist.Normal(u, 2**0.5).log_prob(x)[:, 0]
    marginal = log_marginal(Told(), data, num_samples=1, batch_size=7)["log_marginal"]
    torch.testing.assert_close(torch.tensor(marginal.values), exact.double(), atol=1e-5, rtol=0)
    posterior = dist.Normal((x + u) / 2, 0.5**0.5)
    kl = torch.tensor(elbo_per_datum(Told(), data, batch_size=7)["kl"].values)
    torch.testing.assert_close(
        kl, torch.distributions.kl_divergence(posterior, dist.Normal(u, 1.0))
    )
    assert decompose(Told(), data, num_samples=2, seed=0)["elbo"].item() == pytest.approx(
        exact.mean().item(), abs=1e-5
    )
