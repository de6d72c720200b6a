"""SAP against reference values and squared correlations of known size, for each kind of factor."""

import json

import numpy as np
import pytest

from ppl_disentangle.metrics import sap
from ppl_disentangle.metrics.mig import information_gaps
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS
from tests.metrics.codes import grid, halves, noisy, rows, standardised

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_sap_is_the_reference_value(name, kind):
    factors = REPRESENTATIONS[name].factors()
    codes = REPRESENTATIONS[name].encoder()(factors)
    split = codes[:NUM_TRAIN], factors[:NUM_TRAIN], codes[NUM_TRAIN:], factors[NUM_TRAIN:]
    value, tolerance = REFERENCE["cases"][name][f"sap_{kind}"]
    assert sap(*split, continuous=kind == "continuous") == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("matrix", REFERENCE["matrices"].values(), ids=REFERENCE["matrices"])
def test_the_gap_of_a_fixed_matrix_is_the_reference_value(matrix):
    scores = np.array(matrix["matrix"])
    assert information_gaps(scores, np.ones(5)).mean() == pytest.approx(matrix["sap_gap"], abs=1e-9)


def test_linear_codes_have_the_gap_of_their_explained_variance():
    v = standardised(rows(200_000, (7, 9)))
    noise = np.random.default_rng(1).standard_normal(v.shape)
    codes = v @ np.array([[2.0, 0.0], [1.0, 1.0]]) + 0.5 * noise
    # z0 = 2 v0 + v1 + noise, of variance 5.25; z1 = v1 + noise, of variance 1.25
    expected = np.mean([4 / 5.25 - 0, 1 / 1.25 - 1 / 5.25])
    assert sap(codes, v, continuous=True) == pytest.approx(expected, abs=0.005)


def test_continuous_factors_enter_by_their_values():
    v = np.array([[0.0, 1.0, 10.0, 2.0]]).T
    assert sap(-3 * v + 1, v, continuous=True) == pytest.approx(1)
    assert sap(np.argsort(np.argsort(v, 0), 0), v, continuous=True) < 0.8


def test_a_monotone_map_costs_and_a_shift_does_not():
    v = grid(10, 10)
    assert sap(np.exp(v), v, continuous=True) < 0.7 < sap(v + 1e4, v, continuous=True)


@pytest.mark.parametrize("values", [2, 3])
def test_few_values_in_a_code_of_their_own_are_told_apart_and_in_others_guessed(values):
    factors = np.tile(grid(values, 2), (100, 1))
    codes = np.eye(values)[factors[:, 0]]
    scores = sap(codes, factors[:, :1], codes, factors[:, :1], continuous=False)
    assert scores == 0  # every indicator tells as much as the next
    perfect = sap(standardised(factors), factors, standardised(factors), factors, continuous=False)
    assert perfect == pytest.approx(((1 - 1 / values) + (1 - 1 / 2)) / 2, abs=1e-12)


def test_kinds_may_differ_by_factor():
    factors = rows(sizes=(3, 5))
    split = halves(noisy(factors), factors)
    alone = [
        sap(split[0], split[1][:, [k]], split[2], split[3][:, [k]], continuous=k == 1)
        for k in (0, 1)
    ]
    assert sap(*split, continuous=[False, True]) == pytest.approx(np.mean(alone))
    assert sap(*split, continuous=(False, True)) != sap(*split, continuous=True)


def test_what_kinds_need_is_said():
    factors = rows(100)
    codes = noisy(factors)
    with pytest.raises(
        ValueError,
        match="expected codes_test and factors_test, since not all factors are continuous",
    ):
        sap(codes, factors, continuous=[True, False, True])
    with pytest.raises(ValueError, match="expected continuous as one bool or 3, got 2"):
        sap(codes, factors, continuous=[True, False])
    with pytest.raises(
        ValueError, match=r"expected factors of shape \(num_data, num_factors\), got \(100,\)"
    ):
        sap(codes, factors[:, 0], continuous=True)
    assert sap(
        codes, np.insert(factors, 0, 1, axis=1), continuous=[False, True, True, True]
    ) == pytest.approx(sap(codes, factors, continuous=True))
