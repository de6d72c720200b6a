"""The mean correlation coefficient against closed forms, enumeration, reference values and its invariances."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import mcc
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]
both_methods = pytest.mark.parametrize("method", ["pearson", "spearman"])


def grid(*sizes):
    return np.indices(sizes).reshape(len(sizes), -1).T


def independent(num=20_000, size=3, seed=0):
    return np.random.default_rng(seed).standard_normal((num, size))


@both_methods
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_mcc_is_the_reference_value(name, method):
    factors = REPRESENTATIONS[name].factors()[:NUM_TRAIN]
    value, tolerance = REFERENCE[name][f"mcc_{method}"]
    assert mcc(REPRESENTATIONS[name].encoder()(factors), factors, method=method) == pytest.approx(
        value, abs=tolerance
    )


@both_methods
def test_a_perfect_code_has_one_and_a_constant_code_beside_it_changes_nothing(method):
    v = grid(3, 4, 5)
    codes = -2.0 * v[:, [2, 0, 1]] + 7
    assert mcc(codes, v, method=method) == pytest.approx(1, abs=1e-12)
    assert mcc(np.insert(codes, 1, 0.1, axis=1), v, method=method) == pytest.approx(1, abs=1e-12)
    assert mcc(np.ones((60, 2)), v, method=method) == 0


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4])
def test_rotated_factors_have_the_larger_of_cosine_and_sine(angle):
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    v = grid(40, 40)
    assert mcc(v @ turn, v) == pytest.approx(math.cos(angle), abs=1e-12)


def test_noise_of_known_size_has_the_closed_form():
    v = independent(200_000)
    codes = v + 0.75 * independent(200_000, seed=1)
    assert mcc(codes, v) == pytest.approx(1 / math.sqrt(1 + 0.75**2), abs=0.003)
    spearman = 6 / math.pi * math.asin(1 / math.sqrt(1 + 0.75**2) / 2)
    assert mcc(codes, v, method="spearman") == pytest.approx(spearman, abs=0.003)


@both_methods
@pytest.mark.parametrize(("num_codes", "num_factors"), [(4, 4), (2, 4), (4, 2), (1, 3)])
def test_the_assignment_is_the_best_of_all(method, num_codes, num_factors):
    from scipy.stats import pearsonr, spearmanr

    v = independent(60, num_factors)
    codes = independent(60, num_codes, seed=1) + v @ independent(num_factors, num_codes, seed=2)
    correlation = pearsonr if method == "pearson" else spearmanr
    table = np.array([[abs(correlation(z, u)[0]) for u in v.T] for z in codes.T])
    table = table if num_codes <= num_factors else table.T
    best = max(
        np.mean([row[k] for row, k in zip(table, columns, strict=True)])
        for columns in itertools.permutations(range(table.shape[1]), len(table))
    )
    assert mcc(codes, v, method=method) == pytest.approx(best, abs=1e-12)


@both_methods
def test_order_sign_shift_and_scale_do_not_matter_and_monotone_maps_not_to_spearman(method):
    v = independent(500)
    codes = v + independent(500, seed=1)
    changed = codes[:, [2, 0, 1]] * [-3.0, 1e-3, 2.0] + [5.0, -1.0, 0.0]
    expected = mcc(codes, v, method=method)
    assert mcc(changed, v, method=method) == pytest.approx(expected, abs=1e-9)
    assert mcc(codes, 4 - 2 * v[:, [1, 2, 0]], method=method) == pytest.approx(expected, abs=1e-9)
    warped = mcc(np.exp(codes), v, method=method)
    assert (
        warped == pytest.approx(expected, abs=1e-12)
        if method == "spearman"
        else warped < expected - 0.05
    )


@both_methods
def test_ties_share_their_rank_and_independent_codes_have_little(method):
    v = grid(2, 3)[np.random.default_rng(0).integers(6, size=5000)]
    shuffled = np.random.default_rng(1).permutation(v)
    assert mcc(shuffled, v, method=method) < 0.05
    assert mcc(v[np.random.default_rng(2).permutation(5000)], v, method=method) == mcc(
        torch.tensor(v)[torch.tensor(np.random.default_rng(2).permutation(5000))],
        torch.tensor(v),
        method=method,
    )


def test_factors_enter_by_their_values_and_constant_ones_are_left_out():
    v = np.array([[0.0, 1.0, 10.0, 2.0]]).T
    z = v + 0.0
    assert mcc(z, np.hstack([v, np.full((4, 1), 3.0)])) == pytest.approx(1)
    assert mcc(np.arange(4.0)[:, None], v) < 0.7


@both_methods
def test_codes_far_from_zero_and_of_any_scale_are_correlated(method):
    v = grid(5, 5).astype(float)
    assert mcc(1e6 + 1e-3 * v, v, method=method) == pytest.approx(1, abs=1e-6)
    assert mcc(1e200 * v, v, method=method) == pytest.approx(1, abs=1e-12)


def test_bad_input_is_named():
    v = independent(10)
    with pytest.raises(
        KeyError, match=r"no method named 'kendall'; there are \['pearson', 'spearman'\]"
    ):
        mcc(v, v, method="kendall")
    with pytest.raises(ValueError, match="expected a factor with at least two values"):
        mcc(v, np.ones((10, 2)))
    with pytest.raises(ValueError, match="NaN or infinity in code column 1"):
        mcc(np.where(np.arange(3) == 1, np.nan, v), v)
    with pytest.raises(ValueError, match="NaN or infinity in factor column 2"):
        mcc(v, np.where(np.arange(3) == 2, np.inf, v))
    with pytest.raises(ValueError, match="got 9 and 10 rows"):
        mcc(v[:9], v)
