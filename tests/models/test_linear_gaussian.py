"""Probabilistic PCA and factor analysis against the maximum of their likelihoods."""

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.decomposition import FactorAnalysis as Reference

from ppl_disentangle import encode
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.models import FactorAnalysis, ProbabilisticPCA

FEATURES, LATENT = 8, 3


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(LATENT, FEATURES, generator=generator) * torch.tensor(
        [[2.0], [1.3], [0.7]]
    )
    noise = torch.linspace(0.25, 0.75, FEATURES) * torch.randn(500, FEATURES, generator=generator)
    return 1 + torch.randn(500, LATENT, generator=generator) @ weight + noise


def fitted(story, x):
    for lr, steps in ((0.03, 2000), (0.003, 1500)):
        fit(story, from_arrays(x), steps=steps, lr=lr, batch_size=len(x), progress=False)
    return story


def log_likelihood(story, x):
    """The exact one, summed over z: x ~ N(mean, W'W + Psi)."""
    with torch.no_grad():
        noise = torch.diag(story.noise_scale().expand(FEATURES).square())
        marginal = torch.distributions.MultivariateNormal(
            story.mean, story.weight.T @ story.weight + noise
        )
        return marginal.log_prob(x).mean().item()


def test_the_closed_form_is_that_of_another_library_and_its_bound_is_exact(x):
    story = ProbabilisticPCA((FEATURES,), LATENT)
    best = story.closed_form(x)
    assert best == pytest.approx(PCA(LATENT).fit(x.numpy()).score(x.numpy()), abs=1e-3)
    assert log_likelihood(story, x) == pytest.approx(best, abs=1e-4)
    bounds = elbo_per_datum(story, from_arrays(x), num_samples=1000)["elbo"].mean("data")
    assert bounds.item() == pytest.approx(best, abs=0.01)


@pytest.fixture(scope="module")
def trained(x):
    torch.manual_seed(1)
    return fitted(ProbabilisticPCA((FEATURES,), LATENT), x)


def test_training_reaches_the_closed_form_to_a_thousandth_of_a_nat(x, trained):
    best = ProbabilisticPCA((FEATURES,), LATENT).closed_form(x)
    assert best - 1e-3 < log_likelihood(trained, x) < best + 1e-5


def test_a_diagonal_guide_finds_the_principal_axes_themselves(x, trained):
    codes = torch.tensor(encode(trained, x)["mean"].values)
    scores = torch.tensor(PCA(LATENT).fit_transform(x.numpy()))
    correlations = torch.corrcoef(torch.cat([codes, scores], -1).T)[:LATENT, LATENT:].abs()
    assert correlations.amax(0).min() > 0.999
    assert correlations.sort(0).values[:-1].max() < 0.05


def test_factor_analysis_reaches_the_likelihood_of_another_library(x):
    torch.manual_seed(1)
    reference = (
        Reference(LATENT, max_iter=10_000, tol=1e-8, svd_method="lapack")
        .fit(x.numpy())
        .score(x.numpy())
    )
    found = log_likelihood(fitted(FactorAnalysis((FEATURES,), LATENT), x), x)
    assert reference - 3e-3 < found < reference + 1e-4
    assert found > ProbabilisticPCA((FEATURES,), LATENT).closed_form(x) + 0.1


def test_bad_sizes_and_data_without_noise_are_refused():
    with pytest.raises(
        ValueError, match="expected 0 < latent_dim <= 8, the size of an observation, got 9"
    ):
        ProbabilisticPCA((2, 4), 9)
    with pytest.raises(ValueError, match="variance beyond the first 8 of 8 principal axes"):
        ProbabilisticPCA((2, 4), 8).closed_form(torch.randn(20, 2, 4))
    with pytest.raises(ValueError, match="variance beyond the first 3 of 8"):
        ProbabilisticPCA((FEATURES,), LATENT).closed_form(torch.zeros(20, FEATURES))
