"""Exact MIG against quadrature, and the inequalities of information."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Laplace, LogNormal, MultivariateNormal, Normal

from ppl_disentangle.metrics import entropies, mig, mig_exact, posterior_information
from tests.metrics.codes import grid, rotation


def by_quadrature(mean, scale, factors):
    """The same information by a Riemann sum over each code."""
    z = torch.linspace(
        mean.min() - 8 * scale.max(), mean.max() + 8 * scale.max(), 20_001, dtype=torch.float64
    )
    information = np.zeros((mean.shape[1], factors.shape[1]))
    for d in range(mean.shape[1]):
        density = Normal(mean[:, d], scale[:, d]).log_prob(z[:, None]).exp()  # (points, num_data)
        for k, column in enumerate(factors.T):
            parts = torch.stack(
                [density[:, torch.tensor(column == c)].mean(1) for c in np.unique(column)]
            )
            share = torch.tensor(np.bincount(column) / len(column))
            terms = share @ (
                parts * (parts.clamp(min=1e-300) / density.mean(1).clamp(min=1e-300)).log()
            )
            information[d, k] = (terms.sum() * (z[1] - z[0])).item()
    return information


def posterior(width=0.5):
    """Means of mixed factors, and scales that differ by datum and code."""
    v = grid(3, 4, 2)
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor(v @ (np.eye(3) + 0.2 * rotation(3)))
    scale = width * (0.5 + torch.rand(mean.shape, generator=generator, dtype=torch.float64))
    return mean, scale, v


@pytest.mark.parametrize("width", [0.1, 0.5, 2.0])
def test_information_is_that_of_quadrature(width):
    mean, scale, v = posterior(width)
    found = posterior_information(Normal(mean, scale), v, num_samples=60_000)
    np.testing.assert_allclose(found, by_quadrature(mean, scale, v), atol=0.01)


def test_unequal_shares_of_the_values_count_as_they_are():
    mean, scale, v = posterior()
    keep = (v[:, 0] == 0) | (v[:, 1] < 2)
    q = Normal(mean[keep], scale[keep])
    found = posterior_information(q, v[keep], num_samples=60_000)
    np.testing.assert_allclose(found, by_quadrature(mean[keep], scale[keep], v[keep]), atol=0.01)


def test_narrow_posteriors_of_a_perfect_code_reach_one_where_bins_do_not():
    v = grid(40, 3)
    q = Normal(torch.tensor(v).double(), 0.01)
    assert mig_exact(q, v, num_samples=240) == pytest.approx(1, abs=1e-9)
    assert mig(v, v) < 0.95
    np.testing.assert_allclose(
        posterior_information(q, v, num_samples=240).diagonal(), entropies(v), atol=1e-9
    )


def test_mig_exact_is_the_gap_of_that_information():
    mean, scale, v = posterior()
    information = np.sort(posterior_information(Normal(mean, scale), v, num_samples=500), axis=0)
    expected = np.mean((information[-1] - information[-2]) / np.log([3, 4, 2]))
    assert mig_exact(Normal(mean, scale), v, num_samples=500) == pytest.approx(expected, abs=1e-12)
    with_constant = np.insert(v, 1, 5, axis=1)
    assert mig_exact(Normal(mean, scale), with_constant, num_samples=500) == pytest.approx(
        expected, abs=1e-12
    )


def test_posteriors_that_do_not_depend_on_the_data_tell_nothing():
    v = grid(3, 4)
    assert mig_exact(Normal(torch.zeros(12, 2), 1.0), v, num_samples=100) == pytest.approx(
        0, abs=1e-6
    )


def test_monotone_maps_and_the_order_of_codes_and_data_do_not_matter():
    mean, scale, v = posterior()
    expected = posterior_information(Normal(mean, scale), v, num_samples=480)
    np.testing.assert_allclose(
        posterior_information(LogNormal(mean, scale), v, num_samples=480), expected, atol=1e-9
    )
    flipped = posterior_information(Normal(mean.flip(1), scale.flip(1)), v, num_samples=60_000)
    np.testing.assert_allclose(flipped[::-1], by_quadrature(mean, scale, v), atol=0.01)


@pytest.mark.parametrize("chunk", [1, 100, 10_000])
def test_the_chunks_do_not_matter(chunk):
    mean, scale, v = posterior()
    whole = posterior_information(Normal(mean, scale), v, num_samples=50)
    np.testing.assert_allclose(
        posterior_information(Normal(mean, scale), v, num_samples=50, chunk=chunk), whole
    )


def test_events_float32_and_other_families_are_posteriors_too():
    mean, scale, v = posterior()
    expected = mig_exact(Normal(mean, scale), v, num_samples=240)
    assert mig_exact(Independent(Normal(mean, scale), 1), v, num_samples=240) == expected
    assert mig_exact(Normal(mean.float(), scale.float()), v, num_samples=60_000) == pytest.approx(
        mig_exact(Normal(mean, scale), v, num_samples=60_000), abs=0.01
    )
    assert 0 < mig_exact(Laplace(mean, scale), v, num_samples=240) < 1


def test_codes_of_any_scale_are_told_alike():
    v = grid(4, 3)
    for width in (1e-100, 1e100):
        q = Normal(width * 100 * torch.tensor(v).double(), width * torch.ones(12, 2).double())
        assert mig_exact(q, v, num_samples=60) == pytest.approx(1, abs=1e-9)


def test_draws_follow_their_seed_and_leave_the_global_one_alone():
    mean, scale, v = posterior()
    state = torch.get_rng_state()
    first, again, other = (
        mig_exact(Normal(mean, scale), v, num_samples=50, seed=s) for s in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(state, torch.get_rng_state())


def test_each_datum_is_drawn_as_often_as_the_others():
    v = np.arange(5)[:, None]
    information = posterior_information(
        Normal(torch.arange(5.0).double()[:, None], 1e-3), v, num_samples=10
    )
    assert information.item() == pytest.approx(math.log(5), abs=1e-9)


def test_what_is_no_posterior_is_an_error():
    v = grid(2, 3)
    with pytest.raises(TypeError, match="expected a torch distribution, got ndarray"):
        mig_exact(np.zeros((6, 2)), v)
    with pytest.raises(ValueError, match=r"got batch and event shape \(6,\) and \(\)"):
        mig_exact(Normal(torch.zeros(6), 1.0), v)
    full = MultivariateNormal(torch.zeros(6, 2), torch.eye(2))
    with pytest.raises(ValueError, match=r"independent coordinates, .* shape \(6,\) and \(2,\)"):
        mig_exact(full, v)
    with pytest.raises(
        ValueError, match="expected a posterior for each row of the factors, got 5 and 6"
    ):
        mig_exact(Normal(torch.zeros(5, 2), 1.0), v)
    with pytest.raises(ValueError, match="expected num_samples >= 1 and chunk >= 1, got 0 and 7"):
        mig_exact(Normal(torch.zeros(6, 2), 1.0), v, num_samples=0, chunk=7)
    with pytest.raises(
        ValueError, match="expected finite parameters of the posterior, got others in code 1"
    ):
        mig_exact(Normal(torch.tensor([0.0, math.nan]).expand(6, 2), 1.0, validate_args=False), v)
