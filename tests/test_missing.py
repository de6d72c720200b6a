"""Missing values: the bound is over what was observed, and everything else uses what is there."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_disentangle import GenerativeStory, as_story, encode, reconstruct, to_datatree
from ppl_disentangle.causal import counterfactual, data_range
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import elbo_per_datum, fit, log_marginal
from ppl_disentangle.inference.training import loop
from ppl_disentangle.metrics import evaluate, pca
from ppl_disentangle.missing import for_missing
from ppl_disentangle.models import CausalVAE
from ppl_disentangle.networks import ObservedInput
from ppl_disentangle.traversal import traverse
from ppl_disentangle.zoo import build

NAN = float("nan")
NUM, SIZE, DIM, SCALE = 1000, 6, 2, 0.5


class Truth:
    """x = W z + mu + noise, and what is exactly known of it given some elements."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(DIM, SIZE, generator=generator)
        self.mean = torch.randn(SIZE, generator=generator)
        z = torch.randn(NUM, DIM, generator=generator)
        noise = SCALE * torch.randn(NUM, SIZE, generator=generator)
        self.x = z @ self.weight + self.mean + noise
        self.observed = torch.rand(NUM, SIZE, generator=generator) < 0.5
        self.incomplete = self.x.masked_fill(~self.observed, NAN)
        self.covariance = self.weight.T @ self.weight + SCALE**2 * torch.eye(SIZE)

    def log_marginal(self):
        """log p of the observed elements of each datum."""
        normal = dist.NanMaskedMultivariateNormal(self.mean.expand(NUM, SIZE), self.covariance)
        return normal.log_prob(self.incomplete)

    def conditional_mean(self):
        """E[x | observed elements], of the signal without the noise."""
        signal = self.covariance - SCALE**2 * torch.eye(SIZE)
        means = []
        for row, known in zip(self.incomplete, self.observed, strict=True):
            inner = self.covariance[known][:, known]
            gain = torch.linalg.solve(inner, signal[known]).T
            means.append(self.mean + gain @ (row[known] - self.mean[known]))
        return torch.stack(means)


TRUTH = Truth()


class Exact(GenerativeStory):
    """The true model, with the exact posterior given the observed elements."""

    latents = ("z",)

    def __init__(self, shape=(SIZE,)):
        super().__init__()
        self.shape = shape
        self.unused = nn.Parameter(torch.zeros(()))

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            loc = z @ TRUTH.weight + TRUTH.mean + 0 * self.unused
            likelihood = dist.Normal(loc.unflatten(-1, self.shape), SCALE)
            return pyro.sample("x", likelihood.to_event(len(self.shape)), obs=x)

    def guide(self, x, observed):
        with self.data_plate(x):
            weight = TRUTH.weight * observed.flatten(1)[:, None]
            precision = torch.eye(DIM) + weight @ weight.mT / SCALE**2
            shift = weight @ (x.flatten(1) - TRUTH.mean)[..., None] / SCALE**2
            loc = torch.linalg.solve(precision, shift)[..., 0]
            pyro.sample("z", dist.MultivariateNormal(loc, precision_matrix=precision))


def test_the_bound_of_the_exact_posterior_is_the_exact_log_density():
    data = from_arrays(TRUTH.incomplete)
    bound = elbo_per_datum(Exact(), data)["elbo"].values
    np.testing.assert_allclose(bound, TRUTH.log_marginal(), atol=1e-4)
    importance = log_marginal(Exact(), TRUTH.incomplete, num_samples=3)["log_marginal"].values
    np.testing.assert_allclose(importance, TRUTH.log_marginal(), atol=1e-4)


def test_images_with_missing_pixels_have_the_same_bound():
    images = from_arrays(TRUTH.incomplete.reshape(NUM, 1, 2, 3))
    bound = elbo_per_datum(Exact((1, 2, 3)), images)["elbo"].values
    np.testing.assert_allclose(bound, TRUTH.log_marginal(), atol=1e-4)


def test_a_guide_that_needs_observed_gets_it_for_complete_data_too():
    z = encode(Exact(), TRUTH.x[:5])["mean"].values
    precision = torch.eye(DIM) + TRUTH.weight @ TRUTH.weight.T / SCALE**2
    expected = torch.linalg.solve(precision, TRUTH.weight @ (TRUTH.x[:5] - TRUTH.mean).T / SCALE**2)
    np.testing.assert_allclose(z, expected.T, atol=1e-5)


def test_missing_elements_are_imputed_by_the_conditional_mean():
    imputed = reconstruct(Exact(), TRUTH.incomplete)
    torch.testing.assert_close(imputed, TRUTH.conditional_mean(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["probabilistic_pca", "factor_analysis"])
def test_a_linear_story_that_is_trained_with_half_of_the_values_is_exact(name):
    data = from_arrays(TRUTH.incomplete)
    story = build(name, data, latent_dim=DIM)
    fit(story, data, steps=600, lr=0.02, batch_size=250, progress=False)
    bound = elbo_per_datum(story, data)["elbo"].mean().item()
    with torch.no_grad():
        noise = story.noise_scale().expand(SIZE).square().diag()
        covariance = story.weight.T @ story.weight + noise
        exact = dist.NanMaskedMultivariateNormal(story.mean.expand(NUM, SIZE), covariance)
        own = exact.log_prob(TRUTH.incomplete).mean().item()
    assert bound == pytest.approx(own, abs=1e-3)
    assert abs(bound - TRUTH.log_marginal().mean().item()) < 0.05


def split_model(x):
    """Two observed sites that hold the columns of x."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
        loc = z @ TRUTH.weight + TRUTH.mean
        pyro.sample("first", dist.Normal(loc[:, 0], SCALE), obs=x[:, 0])
        pyro.sample("rest", dist.Normal(loc[:, 1:], SCALE).to_event(1), obs=x[:, 1:])


def test_functions_of_several_observed_sites_have_the_same_bound():
    story = as_story(split_model, Exact().guide)
    bound = elbo_per_datum(story, from_arrays(TRUTH.incomplete))["elbo"].values
    np.testing.assert_allclose(bound, TRUTH.log_marginal(), atol=1e-4)
    imputed = reconstruct(story, TRUTH.incomplete[:9])
    torch.testing.assert_close(imputed, TRUTH.conditional_mean()[:9], atol=1e-4, rtol=1e-4)


def test_a_guide_without_observed_gets_zeros():
    seen = {}

    def guide(x):
        seen["x"] = x
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :DIM], 1.0).to_event(1))

    elbo_per_datum(as_story(split_model, guide), TRUTH.incomplete[:50])
    torch.testing.assert_close(seen["x"], TRUTH.incomplete[:50].nan_to_num())


def test_a_model_that_turns_nan_into_numbers_is_refused_by_name():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
            pyro.sample("bits", dist.Bernoulli(logits=z).to_event(1), obs=(x > 0).float())

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    with pytest.raises(ValueError, match="observes missing values of x as other values in 'bits'"):
        elbo_per_datum(as_story(model, guide), TRUTH.incomplete)


def test_a_story_without_a_likelihood_refuses_missing_values():
    data = from_arrays(TRUTH.incomplete.sigmoid())
    with pytest.raises(ValueError, match="ALI has no likelihood .* impute them"):
        fit(build("ali", data), data, steps=1, progress=False)


def test_complete_data_and_their_story_stay_as_they_are():
    story = build("vae", from_arrays(TRUTH.x), likelihood="gaussian")
    assert for_missing(story, from_arrays(TRUTH.x)) is story
    assert for_missing(story, TRUTH.x) is story


def test_a_fit_of_incomplete_data_is_the_same_in_one_piece_and_resumed(tmp_path):
    data = from_arrays(TRUTH.incomplete)
    whole, half = (build("beta_vae", data, latent_dim=3, likelihood="gaussian") for _ in range(2))
    held_out = data.subset(torch.arange(100))
    settings = {"held_out": held_out, "evaluate_every": 5, "progress": False}
    history = fit(whole, data, steps=10, **settings)
    path = tmp_path / "checkpoint"
    fit(half, data, steps=5, checkpoint=path, **settings)
    fit(half, data, steps=10, checkpoint=path, resume=True, **settings)
    assert np.isfinite(history["held_out_elbo"]).all()
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(one, other)


def test_steps_as_a_graph_have_the_same_weights(monkeypatch):
    monkeypatch.setattr(loop, "MIN_GRAPH_STEPS", 0)
    data = from_arrays(TRUTH.incomplete)
    eager, graph = (build("vae", data, latent_dim=3, likelihood="gaussian") for _ in range(2))
    fit(eager, data, steps=12, compile=False, progress=False)
    history = fit(graph, data, steps=12, progress=False)
    assert history.attrs["captured"] == "graph"
    for one, other in zip(eager.parameters(), graph.parameters(), strict=True):
        assert torch.equal(one, other)


def test_results_hold_nan_where_nothing_was_observed():
    data = from_arrays(TRUTH.incomplete)
    tree = to_datatree(Exact(), data, num_data=30, draws=3)
    observed = tree["observed_data"]["x"]
    rows = observed["data"].values
    np.testing.assert_array_equal(observed.values, TRUTH.incomplete.numpy()[rows])
    assert np.isfinite(tree["posterior_predictive"]["x"]).all()


def causal_story():
    prior = StructuralPrior("light -> shadow")
    encoder = Gaussian(nn.Sequential(ObservedInput(), nn.Linear(2 * SIZE, 4)))
    return CausalVAE(prior, encoder, GaussianLearnedScale(nn.Linear(2, SIZE)))


def test_counterfactuals_use_what_is_there():
    story = causal_story()
    x = TRUTH.incomplete[:50]
    what_if = counterfactual(story, x, [{}, {"light": 1.0}], num_samples=2)
    assert np.isfinite(what_if["shadow"]).all()
    factual = what_if["x"].values[0, 0]
    known = ~x.isnan().numpy()
    np.testing.assert_allclose(factual[known], x.numpy()[known], atol=1e-5)
    # the observed elements of the other world follow from the same noise
    light_moves = what_if["x"].values[1, 0] - factual
    assert np.isfinite(light_moves[known]).all()
    assert np.isnan(factual[~known]).all()


def test_ranges_and_traversals_use_what_is_there():
    story = causal_story()
    seen = data_range(story, TRUTH.incomplete)
    assert np.isfinite(seen.limit)
    moved = traverse(story, TRUTH.incomplete[:1], {"light_noise[0]": [-1.0, 1.0]})
    assert np.isfinite(moved).all()


def test_metrics_and_linear_baselines_take_missing_values():
    data = from_arrays(TRUTH.incomplete, {"sign": (TRUTH.incomplete[:, 0] > 0).numpy()})
    scores = evaluate(Exact(), data, metrics=["mig"], num_data=500, num_test=100, progress=False)
    assert np.isfinite(scores["estimate"]).all()
    code = pca(TRUTH.incomplete, 2)(TRUTH.incomplete)
    assert code.isfinite().all()
    torch.testing.assert_close(pca(TRUTH.x, 2)(TRUTH.x).std(0), torch.ones(2))


def test_metrics_leave_out_rows_with_missing_labels():
    labels = (TRUTH.x[:, :2] > 0).double()
    codes = labels.numpy() + 0.01 * np.arange(NUM)[:, None] / NUM
    holes = labels.clone()
    holes[::3, 0] = NAN
    scores = evaluate(
        codes, holes.numpy(), metrics=["mig"], num_data=500, num_test=100, progress=False
    )
    known = np.arange(NUM) % 3 > 0
    alone = evaluate(
        codes[known],
        labels.numpy()[known],
        metrics=["mig"],
        num_data=400,
        num_test=100,
        progress=False,
    )
    assert abs(scores["estimate"].item() - alone["estimate"].item()) < 0.05
    tree = to_datatree(Exact(), from_arrays(TRUTH.incomplete, holes.numpy()), num_data=30, draws=2)
    rows = tree["constant_data"]["data"].values
    np.testing.assert_array_equal(tree["constant_data"]["factor0"], holes.numpy()[rows, 0])
