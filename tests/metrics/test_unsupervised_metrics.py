"""Metrics that need no factors, against closed forms and reference values."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import (
    collapsed,
    gaussian_total_correlation,
    mean_mutual_information,
    model_centrality,
    udr,
    wasserstein_correlation,
)
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS

REFERENCE = json.loads((GOLDEN / "unsupervised.json").read_text())["cases"]
METRICS = {
    "gaussian_total_correlation": gaussian_total_correlation,
    "wasserstein_correlation": wasserstein_correlation,
    "wasserstein_correlation_normalised": lambda z: wasserstein_correlation(z, normalised=True),
    "mean_mutual_information": mean_mutual_information,
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
every_method = pytest.mark.parametrize("method", ["lasso", "spearman"])


def normal(num=2000, size=4, seed=0):
    return np.random.default_rng(seed).standard_normal((num, size))


def with_covariance(covariance):
    """Codes that have exactly this covariance."""
    points = np.linalg.cholesky(covariance).T * math.sqrt(len(covariance) - 0.5)
    return np.concatenate([points, -points])


def rotation(size):
    return np.eye(size) - 2 / size


def reordered(codes, seed=0):
    """The same codes in another order, with other signs, scales and shifts."""
    rng = np.random.default_rng(seed)
    size = codes.shape[1]
    return codes[:, rng.permutation(size)] * rng.choice([-1, 1], size) * rng.uniform(
        0.5, 2, size
    ) + rng.normal(size)


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("metric", METRICS)
def test_metrics_without_factors_are_the_reference_values(name, metric):
    codes = REPRESENTATIONS[name].encoder()(REPRESENTATIONS[name].factors()[:NUM_TRAIN])
    value = REFERENCE[name][metric]
    assert METRICS[metric](codes) == (math.inf if value is None else pytest.approx(value, abs=1e-6))


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


def test_mean_mutual_information_is_the_mean_over_pairs_of_scikit_learns():
    from sklearn.metrics import mutual_info_score

    codes = normal(600, 3) @ np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1.0]])
    bins = [np.digitize(c, np.histogram(c, 7)[1][:-1]) for c in codes.T]
    pairs = [mutual_info_score(bins[i], bins[j]) for i in range(3) for j in range(3) if i != j]
    assert mean_mutual_information(codes, bins=7) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_only_mutual_information_sees_dependence_without_correlation():
    wave = np.linspace(-1, 1, 2001)
    codes = np.stack([wave, wave**2], 1)
    assert gaussian_total_correlation(codes) == pytest.approx(0, abs=1e-12)
    assert mean_mutual_information(codes) > 1


@every_metric
def test_metrics_ignore_order_sign_scale_and_shift(metric):
    codes = normal() @ np.linalg.cholesky(0.5 + 0.5 * np.eye(4)).T
    changed = 3 * codes[:, [2, 0, 3, 1]] * np.array([1, -1, -1, 1]) + np.array([5, 0, -2, 1.0])
    factor = 9 if metric is wasserstein_correlation else 1
    assert metric(changed) == pytest.approx(factor * metric(codes), rel=1e-6)


@every_metric
def test_constant_codes_do_no_harm(metric):
    codes = normal() @ np.linalg.cholesky(0.5 + 0.5 * np.eye(4)).T
    padded = np.hstack([codes, np.full((len(codes), 2), 0.1), np.zeros((len(codes), 1))])
    pairs = 4 * 3 / (7 * 6) if metric is mean_mutual_information else 1
    assert metric(padded) == pytest.approx(pairs * metric(codes), rel=1e-12)
    assert metric(np.full((50, 3), 0.1)) == metric(codes[:, :1]) == 0
    with pytest.raises(ValueError, match="NaN or infinity in code column 1"):
        metric(np.where(np.arange(4) == 1, np.nan, codes))
    assert metric(torch.tensor(codes)) == metric(codes)


def test_collapsed_coordinates_are_those_whose_mean_divergence_is_below_the_threshold():
    kls = np.array([[0.0, 0.015, 5.0, 0.019], [0.0, 0.0, 3.0, 0.003]])
    assert collapsed(kls).tolist() == [True, True, False, False]
    assert collapsed(torch.tensor(kls.mean(0)), threshold=0.012).tolist() == [
        True,
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match=r"expected kls of shape .*, got \(\)"):
        collapsed(3.0)
    with pytest.raises(ValueError, match="got NaN"):
        collapsed([0.1, np.nan])


def test_udr_of_the_same_uncorrelated_codes_is_one_and_by_lasso_what_its_penalty_leaves():
    codes = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=4)))
    models = [codes, reordered(codes, 1), reordered(codes, 2)]
    assert udr(models, method="spearman").scores == pytest.approx(1, abs=1e-9)
    found = udr(models)
    assert found.scores == pytest.approx(1 - 0.1, abs=1e-9)
    assert np.isnan(found.pairs.diagonal()).all()


@every_method
def test_udr_of_unrelated_or_rotated_codes_is_low(method):
    codes = normal()
    assert udr([codes, normal(seed=1), normal(seed=2)], method=method).scores.max() < 0.05
    mixed = udr([codes, codes @ rotation(4), reordered(codes)], method=method)
    assert mixed.scores[1] < 0.6 < mixed.pairs[0, 2]


@every_method
def test_udr_is_its_definition_in_loops(method):
    from scipy.stats import spearmanr
    from sklearn.linear_model import Lasso

    models = [normal(300, 3, 0), normal(300, 4, 1)]
    models[1][:, :3] += 2 * models[0] @ np.array([[1, 0, 0], [0.5, 1, 0], [0, 0, 1.0]])
    z = [(m - m.mean(0)) / m.std(0) for m in models]
    for i, j in ((0, 1), (1, 0)):
        relation = np.zeros((z[i].shape[1], z[j].shape[1]))
        for b in range(z[j].shape[1]):
            weights = Lasso(alpha=0.1).fit(z[i], z[j][:, b]).coef_
            for a in range(z[i].shape[1]):
                rank = spearmanr(z[i][:, a], z[j][:, b]).statistic
                relation[a, b] = abs(weights[a] if method == "lasso" else rank)
        columns = [c.max() ** 2 / c.sum() if c.sum() else 0.0 for c in relation.T]
        rows = [r.max() ** 2 / r.sum() if r.sum() else 0.0 for r in relation]
        found = udr(models, method=method)
        assert found.pairs[i, j] == pytest.approx((np.mean(columns) + np.mean(rows)) / 2, abs=1e-9)
        assert found.scores[j] == found.pairs[i, j]


def test_spearman_udr_ignores_monotone_maps():
    codes = normal()
    models = [codes, reordered(codes) + 0.3 * normal(seed=1), normal(seed=2)]
    warped = [np.exp(models[0]), models[1] ** 3, np.arctan(models[2])]
    np.testing.assert_allclose(
        udr(warped, method="spearman").scores, udr(models, method="spearman").scores, atol=1e-12
    )


@pytest.mark.parametrize("score", [udr, model_centrality])
def test_collapsed_and_constant_codes_are_left_out(score):
    codes, other = normal(), normal(seed=1)
    padded = np.hstack([codes, normal(size=2, seed=2), np.full((2000, 1), 0.1)])
    kls = [[1.0] * 4, [1, 1, 1, 1, 0.0, 0.009, 5.0], [1.0] * 4]
    found = score([codes, padded, codes + 0.5 * other], kls)
    np.testing.assert_allclose(
        found.scores, score([codes, codes, codes + 0.5 * other]).scores, atol=1e-12
    )
    with_all = score([codes, padded, codes + 0.5 * other])
    assert with_all.scores[0] < found.scores[0] - 0.05
    none = score([codes, codes, codes], [[1.0] * 4, [1.0] * 4, [0.0] * 4])
    assert (none.pairs if score is udr else none.similarities)[0, 2] == 0


@pytest.mark.parametrize("score", [udr, model_centrality])
def test_models_are_checked(score):
    codes = normal(50)
    with pytest.raises(ValueError, match="expected the codes of at least 2 models, got 1"):
        score([codes])
    with pytest.raises(ValueError, match=r"expected codes of the same data, got \[50, 49\] rows"):
        score([codes, codes[1:]])
    with pytest.raises(ValueError, match="expected kls of 2 models, got 1"):
        score([codes, codes], [[1.0] * 4])
    with pytest.raises(ValueError, match=r"a divergence for each code, \[4, 4\], got \[4, 3\]"):
        score([codes, codes], [[1.0] * 4, [1.0] * 3])


def test_udr_has_two_methods():
    with pytest.raises(
        KeyError, match=r"no method named 'pearson'; there are \['lasso', 'spearman'\]"
    ):
        udr([normal(50), normal(50)], method="pearson")


def test_the_most_central_model_is_the_medoid():
    codes = normal(5000)
    a, b = (codes + 0.75 * normal(5000, seed=seed) for seed in (1, 2))
    found = model_centrality([reordered(a), codes, reordered(b)])
    assert found.scores[1] == pytest.approx(1 / math.sqrt(1 + 0.75**2), abs=0.01)  # 0.8
    assert found.scores[[0, 2]] == pytest.approx((0.8 + 1 / (1 + 0.75**2)) / 2, abs=0.01)
    assert (found.similarities == found.similarities.T).all()


def test_centrality_of_the_same_codes_is_one_and_codes_without_a_partner_count_zero():
    codes = normal()
    found = model_centrality([codes, reordered(codes), reordered(codes[:, :3])])
    assert found.similarities[0, 1] == pytest.approx(1)
    assert found.similarities[0, 2] == pytest.approx(3 / 4, abs=1e-9)
    assert model_centrality([codes, normal(seed=1)]).scores.max() < 0.05


def test_a_matching_takes_the_best_pairs_together_not_one_by_one():
    a = normal(20_000, 2)
    b = np.stack([a[:, 0], 0.9 * a[:, 0] + math.sqrt(1 - 0.81) * normal(20_000, 1, 1)[:, 0]], 1)
    # correlations with a: [[1, 0.9], [0, 0]]; one to one the best is 1 + 0, not 1 + 0.9.
    assert model_centrality([a, b]).scores == pytest.approx(0.5, abs=0.02)
