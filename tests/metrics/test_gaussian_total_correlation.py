"""Total correlation and Wasserstein distance of Gaussian codes, against closed forms."""

import math

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    gaussian_total_correlation,
    wasserstein_correlation,
)
from tests.metrics.codes import normal, with_covariance


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.3, 0.99])
def test_two_correlated_codes_have_the_closed_forms(rho):
    a, b = 2.0, 0.5
    codes = with_covariance(np.array([[a * a, rho * a * b], [rho * a * b, b * b]]))
    assert gaussian_total_correlation(codes) == pytest.approx(
        -0.5 * math.log(1 - rho**2), abs=1e-12
    )
    # The square root of a 2 x 2 matrix has trace sqrt(trace + 2 sqrt(det)); here of D^(1/2) S D^(1/2).
    trace = math.sqrt(a**4 + b**4 + 2 * a * a * b * b * math.sqrt(1 - rho**2))
    assert wasserstein_correlation(codes) == pytest.approx(
        2 * (a * a + b * b) - 2 * trace, abs=1e-9
    )


@pytest.mark.parametrize("size", [3, 8])
def test_total_correlation_of_equicorrelated_codes_is_that_of_its_eigenvalues(size):
    rho = 0.4
    codes = with_covariance(np.full((size, size), rho) + (1 - rho) * np.eye(size))
    expected = -0.5 * (math.log(1 + (size - 1) * rho) + (size - 1) * math.log(1 - rho))
    assert gaussian_total_correlation(codes) == pytest.approx(expected, abs=1e-12)


def test_total_correlation_is_infinite_and_the_distance_finite_where_a_code_is_a_sum_of_others():
    codes = normal()
    codes[:, 3] = codes[:, 0] - 2 * codes[:, 1]
    assert gaussian_total_correlation(codes) == math.inf
    assert 0 < wasserstein_correlation(codes, normalised=True) < 2


def test_total_correlation_of_independent_codes_is_its_bias():
    estimates = [gaussian_total_correlation(normal(500, 6, seed)) for seed in range(200)]
    error = np.std(estimates) / math.sqrt(200)
    assert np.mean(estimates) == pytest.approx(6 * 5 / (4 * 500), abs=4 * error)
