"""What can be predicted from codes: downstream accuracy, leakage of a factor, and unfairness, against known truth."""

import itertools
import math

import numpy as np
import pytest
import torch
import xarray as xr

from ppl_disentangle.metrics import (
    downstream_accuracy,
    leakage,
    sample_efficiency,
    total_variation,
    unfairness,
    unfairness_from_codes,
)

SIZES = (3, 4, 5)


class Grid:
    """A grid whose observation is its factor vector."""

    def __init__(self, *sizes):
        self.factor_sizes = sizes

    def render(self, factors):
        return factors.double()


def rows(num, seed=0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(n, size=num) for n in sizes], 1)


def halves(codes, factors):
    n = len(codes) // 2
    return codes[:n], factors[:n], codes[n:], factors[n:]


def noise(num, size, seed=7):
    return np.random.default_rng(seed).standard_normal((num, size))


every_predictor = pytest.mark.parametrize("predictor", ["linear", "gbt", "lightgbm", "forest"])


@every_predictor
def test_copied_factors_are_predicted_without_error_and_noise_by_chance(predictor):
    factors = rows(600)
    codes = np.hstack([factors[:, :2], noise(600, 1)])
    found = downstream_accuracy(*halves(codes, factors), predictor=predictor, num_labels=[300])[
        "accuracy"
    ]
    assert found.dims == ("num_labels", "factor")
    assert found.values[0, :2] == pytest.approx(1)
    assert found.values[0, 2] == pytest.approx(1 / 5, abs=4 * math.sqrt(0.2 * 0.8 / 300))


def test_accuracy_is_that_of_the_best_rule_where_labels_are_noisy():
    v = rows(20_000, sizes=(2,))
    flipped = np.random.default_rng(1).random((20_000, 1)) < 0.2
    found = downstream_accuracy(
        *halves(np.where(flipped, 1 - v, v), v), num_labels=[20, 10_000], repeats=30
    )
    assert found["accuracy"].values[1] == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 10_000))
    assert found["accuracy"].values[0] <= 0.8 + 0.01
    assert np.isnan(found["accuracy_standard_error"].values[1, 0])


def test_a_linear_probe_does_not_tell_a_rotated_code_from_a_perfect_one_and_trees_do():
    factors = rows(2000)
    codes = (factors - factors.mean(0)) / factors.std(0) + 0.2 * noise(2000, 3)
    rotated = codes @ (np.eye(3) - 2 / 3)

    def accuracy(z, predictor):
        found = downstream_accuracy(
            *halves(z, factors), predictor=predictor, num_labels=[100], repeats=4
        )
        return found["accuracy"].mean().item()

    assert accuracy(rotated, "linear") == pytest.approx(accuracy(codes, "linear"), abs=0.01)
    assert accuracy(rotated, "forest") < accuracy(codes, "forest") - 0.05


def test_the_standard_error_is_the_spread_of_the_mean_over_draws():
    factors = rows(2000, sizes=(2,))
    split = halves(factors + 0.6 * noise(2000, 1), factors)
    runs = [downstream_accuracy(*split, num_labels=[20], repeats=8, seed=s) for s in range(40)]
    spread = xr.concat([r["accuracy"] for r in runs], "run").std("run", ddof=1)
    expected = np.sqrt(np.mean([r["accuracy_standard_error"].values ** 2 for r in runs], axis=0))
    np.testing.assert_allclose(
        expected, spread.values, rtol=0.35
    )  # 3 standard deviations of a spread of 40


def test_few_labels_do_not_break_a_predictor_and_absent_classes_are_never_predicted():
    factors = rows(400, sizes=(30,))
    split = halves(factors + 0.01 * noise(400, 1), factors)
    for predictor in ("linear", "gbt", "lightgbm"):
        accuracy = downstream_accuracy(*split, predictor=predictor, num_labels=[2, 10], repeats=3)[
            "accuracy"
        ]
        assert (accuracy.values <= [[2 / 30 + 0.1], [10 / 30 + 0.1]]).all()
        assert accuracy.values[1, 0] > (
            0.05 if predictor == "linear" else 0.15
        )  # a line orders few of 30 values
    one = np.zeros((200, 1))
    one[0] = 1
    assert (
        downstream_accuracy(one, one, one, one, num_labels=[2], repeats=2)["accuracy"].values
        >= 0.99
    )


def test_a_factor_with_one_value_has_no_accuracy():
    factors = np.insert(rows(200), 1, 3, axis=1)
    found = downstream_accuracy(*halves(factors, factors), predictor="forest", num_labels=[50, 100])
    assert np.isnan(found["accuracy"]).all("num_labels").values.tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert sample_efficiency(found["accuracy"], few=50, many=100) == pytest.approx(1, abs=0.05)


def test_sample_efficiency_is_the_ratio_of_mean_accuracies():
    accuracy = xr.DataArray(
        [[0.2, 0.4], [0.5, 1.0]], {"num_labels": [100, 10_000]}, ("num_labels", "factor")
    )
    assert sample_efficiency(accuracy) == pytest.approx(0.3 / 0.75)
    with pytest.raises(KeyError, match=r"no accuracy with 10 labels; there are \[100, 10000\]"):
        sample_efficiency(accuracy, few=10)


@pytest.mark.parametrize("num_labels", [[], [1], [10, 101]])
def test_more_labels_than_rows_are_an_error(num_labels):
    factors = rows(200)
    with pytest.raises(ValueError, match="expected num_labels of 2 to 100 training rows"):
        downstream_accuracy(*halves(factors, factors), num_labels=num_labels)


@every_predictor
def test_a_copied_factor_leaks_in_full_and_an_independent_one_not_at_all(predictor):
    factors = rows(1600)
    codes = np.hstack([factors[:, :1] * 2.0 - 5, noise(1600, 2)])
    found = leakage(*halves(codes, factors), sensitive=0, predictor=predictor)
    assert found["whole"] == found["alone"][0] == pytest.approx(1)
    assert found["whole_standard_error"] == 0
    none = [found["alone"][1], found["alone"][2], found["without"][0]]
    errors = [
        found["alone_standard_error"][1],
        found["alone_standard_error"][2],
        found["without_standard_error"][0],
    ]
    for value, error in zip(none, errors, strict=True):
        assert 0.01 < error < 0.05
        assert abs(value) < 4 * error
    assert found["without"][1] == pytest.approx(1)


def test_a_factor_spread_over_two_codes_leaks_without_either():
    factors = rows(3000, sizes=(3, 4))
    z = factors[:, 0] - 1.0
    codes = np.stack([z + 0.3 * noise(3000, 1)[:, 0], z + 0.3 * noise(3000, 1, 8)[:, 0]], 1)
    found = leakage(*halves(codes, factors), sensitive=0, predictor="linear")
    assert found["without"].values == pytest.approx(found["alone"].values[::-1])
    # Nearest of -1, 0, 1: the middle is missed where |noise| > 0.5, the ends where noise > 0.5 on one side.
    miss = math.erfc(0.5 / 0.3 / math.sqrt(2))
    recall = (1 - miss + 2 * (1 - miss / 2)) / 3
    expected = (recall - 1 / 3) / (2 / 3)
    np.testing.assert_allclose(
        found["alone"], expected, atol=4 * found["alone_standard_error"].values.max() + 0.01
    )
    assert found["whole"] > found["alone"].max() + 0.02


def test_leakage_of_an_independent_factor_is_zero_on_average_however_rare_its_values():
    scores, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        factors = (rng.random((800, 1)) < 0.1).astype(int)
        found = leakage(
            *halves(rng.standard_normal((800, 1)), factors), sensitive=0, predictor="linear"
        )
        scores.append(found["whole"].item())
        errors.append(found["whole_standard_error"].item())
    assert abs(np.mean(scores)) < 4 * np.std(scores) / math.sqrt(60)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(scores), rel=0.3)


def test_a_rare_value_that_is_copied_leaks_in_full():
    factors = (np.arange(1000) % 50 == 0).astype(int)[:, None]
    found = leakage(
        *halves(factors + 0.1 * noise(1000, 1), factors), sensitive=0, predictor="linear"
    )
    assert found["whole"] == pytest.approx(1, abs=0.02)
    assert found["without"].item() == 0


def test_leakage_checks_the_sensitive_factor():
    factors = np.insert(rows(100), 0, 1, axis=1)
    with pytest.raises(IndexError, match="no factor 4; there are 4"):
        leakage(*halves(factors, factors), sensitive=4)
    with pytest.raises(ValueError, match="several values in both halves, factor 0 has one"):
        leakage(*halves(factors, factors), sensitive=0)
    with pytest.raises(KeyError, match="no predictor named 'tree'"):
        leakage(*halves(factors, factors), sensitive=1, predictor="tree")


def test_total_variation_is_its_definition_in_loops():
    rng = np.random.default_rng(0)
    predictions, sensitive = rng.integers(4, size=300), rng.integers(3, size=300)
    given = np.array(
        [[np.mean(predictions[sensitive == c] == y) for y in range(4)] for c in range(3)]
    )
    expected = np.mean([0.5 * np.abs(given[c] - given.mean(0)).sum() for c in range(3)])
    assert total_variation(predictions, sensitive) == pytest.approx(expected, abs=1e-12)
    assert total_variation(sensitive, sensitive) == pytest.approx(2 / 3)


@every_predictor
def test_predictions_from_codes_without_the_sensitive_factor_are_fair(predictor):
    grid = Grid(3, 4)
    fair = unfairness(grid, lambda x: x, seed=0, predictor=predictor, num_train=400, num_test=50)
    assert fair.mean == pytest.approx(0, abs=1e-12)
    assert np.isnan(fair.pairs).tolist() == np.eye(2, dtype=bool).tolist()
    every = np.array(list(itertools.product(range(3), range(4)))).repeat(10, 0)
    assert unfairness_from_codes(
        every, every, every, every, predictor=predictor
    ).mean == pytest.approx(0, abs=1e-12)


def test_predictions_that_follow_the_sensitive_factor_are_as_unfair_as_its_values_are_many():
    # The only code is s; the best guess of the target, which it does not tell, is some function of s.
    grid = Grid(2, 2)
    found = unfairness(
        grid, lambda x: x.sum(1, keepdim=True), seed=0, predictor="gbt", num_train=4001
    )
    # 0 and 2 give both factors away, 1 gives one guess g to both: p(1 | s) is 1/2 g or 1/2 + 1/2 g.
    assert found.pairs[0, 1] == pytest.approx(0.25, abs=0.04)
    assert found.pairs[1, 0] == pytest.approx(0.25, abs=0.04)
    assert found.mean == pytest.approx(0.25, abs=0.04)


def test_given_rows_score_as_drawn_ones_above_the_floor():
    def encode(factors):
        return factors.double().sum(1, keepdim=True)

    drawn = unfairness(Grid(*SIZES), encode, seed=0, predictor="lightgbm", num_train=1000)
    factors = rows(21_000)
    split = encode(torch.tensor(factors)).numpy(), factors
    given = unfairness_from_codes(
        split[0][:1000], factors[:1000], split[0][1000:], factors[1000:], predictor="lightgbm"
    )
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(given.pairs[off], drawn.pairs[off], atol=0.05)
    assert 0 < given.floor < 0.02 < 0.15 < given.mean


def test_the_floor_is_the_unfairness_of_fair_predictions_of_few_rows():
    factors = rows(500)
    fair = unfairness_from_codes(*halves(factors, factors), predictor="forest")
    assert fair.floor > 0.03
    assert fair.mean == pytest.approx(fair.floor, abs=0.03)


def test_a_factor_with_one_value_is_neither_target_nor_sensitive():
    found = unfairness(
        Grid(3, 1, 2), lambda x: x, seed=0, predictor="linear", num_train=200, num_test=20
    )
    assert np.isnan(found.pairs[1]).all()
    assert np.isnan(found.pairs[:, 1]).all()
    assert found.mean == pytest.approx(0, abs=1e-12)


def test_a_linear_probe_ignores_order_sign_shift_and_scale_of_the_codes():
    factors = rows(600)
    codes = factors + 0.3 * noise(600, 3)
    changed = 1e-3 * codes[:, [2, 0, 1]] * [1, -1, 50] + 7
    first, second = (
        downstream_accuracy(*halves(z, factors), num_labels=[100, 300]) for z in (codes, changed)
    )
    np.testing.assert_allclose(first["accuracy"], second["accuracy"], atol=0.01)
