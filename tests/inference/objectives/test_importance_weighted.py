"""The importance-weighted bound: the ELBO for one draw, the estimate of log p(x) for many."""

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO

from ppl_disentangle import as_story
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import (
    BetaELBO,
    ImportanceWeightedELBO,
    elbo_per_datum,
    fit,
    log_marginal,
)
from ppl_disentangle.zoo import build
from tests.test_missing import TRUTH, Exact

COMPLETE = from_arrays(TRUTH.x)
INCOMPLETE = from_arrays(TRUTH.incomplete)


def loss(objective, story, x):
    torch.manual_seed(0)
    return objective.loss(story.model, story.guide, x)


def test_one_draw_is_pyros_bound():
    story = build("vae", COMPLETE, likelihood="gaussian", latent_dim=2)
    expected = loss(Trace_ELBO(), story, TRUTH.x)
    assert loss(ImportanceWeightedELBO(1), story, TRUTH.x) == pytest.approx(expected, rel=1e-5)


def test_a_batch_stands_for_all_data():
    story = build("vae", COMPLETE, likelihood="gaussian", latent_dim=2)
    alone = loss(ImportanceWeightedELBO(3), story, TRUTH.x[:50])
    story.num_data = 500
    assert loss(ImportanceWeightedELBO(3), story, TRUTH.x[:50]) == pytest.approx(
        10 * alone, rel=1e-5
    )


def test_many_draws_are_the_estimate_of_the_log_marginal():
    story = build("vae", COMPLETE, likelihood="gaussian", latent_dim=2)
    bound = -loss(ImportanceWeightedELBO(64), story, TRUTH.x) / len(TRUTH.x)
    estimate = log_marginal(story, COMPLETE, num_samples=64)
    assert abs(bound - estimate["mean"].item()) < 0.1
    assert bound > -loss(Trace_ELBO(), story, TRUTH.x) / len(TRUTH.x)


@pytest.mark.slow
def test_training_with_missing_values_tightens_the_bound():
    bounds = {}
    for objective in (BetaELBO(1.0), ImportanceWeightedELBO(10)):
        story = build("vae", INCOMPLETE, likelihood="gaussian", latent_dim=2)
        fit(story, INCOMPLETE, objective=objective, steps=400, lr=3e-3, progress=False)
        estimate = log_marginal(story, INCOMPLETE, num_samples=100)["mean"].item()
        bounds[type(objective)] = estimate
        assert np.isfinite(elbo_per_datum(story, INCOMPLETE)["elbo"]).all()
    exact = TRUTH.log_marginal().mean().item()
    assert abs(bounds[ImportanceWeightedELBO] - exact) < 0.35
    assert bounds[ImportanceWeightedELBO] > bounds[BetaELBO] - 0.05


def test_the_exact_posterior_has_the_exact_bound_for_any_number_of_draws():
    story = Exact()
    history = fit(
        story,
        INCOMPLETE,
        objective=ImportanceWeightedELBO(2),
        steps=1,
        batch_size=len(INCOMPLETE),
        progress=False,
    )
    assert history["loss"].item() == pytest.approx(-TRUTH.log_marginal().mean().item(), abs=1e-3)


def test_a_latent_that_all_data_share_is_refused_by_name():
    def model(x):
        z = pyro.sample("shared", pyro.distributions.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", pyro.distributions.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.sample("shared", pyro.distributions.Normal(0.0, 1.0))

    story = as_story(model, guide, example=torch.zeros(3))
    with pytest.raises(ValueError, match="site 'shared' is outside of a plate over the data"):
        loss(ImportanceWeightedELBO(2), story, torch.zeros(3))


def test_less_than_one_draw_is_an_error():
    with pytest.raises(ValueError, match="expected num_particles >= 1, got 0"):
        ImportanceWeightedELBO(0)
