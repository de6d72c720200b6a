"""Downstream accuracy and sample efficiency, against rules whose accuracy is known."""

import math

import numpy as np
import pytest
import xarray as xr

from ppl_disentangle.metrics import (
    downstream_accuracy,
    sample_efficiency,
)
from tests.metrics.codes import halves, noise, rows

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


def test_a_linear_probe_ignores_order_sign_shift_and_scale_of_the_codes():
    factors = rows(600)
    codes = factors + 0.3 * noise(600, 3)
    changed = 1e-3 * codes[:, [2, 0, 1]] * [1, -1, 50] + 7
    first, second = (
        downstream_accuracy(*halves(z, factors), num_labels=[100, 300]) for z in (codes, changed)
    )
    np.testing.assert_allclose(first["accuracy"], second["accuracy"], atol=0.01)
