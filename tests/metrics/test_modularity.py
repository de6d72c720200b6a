"""Modularity against reference values and closed forms, and its blindness to rotations."""

import json

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    explicitness,
    mig,
    modularity,
    modularity_per_code,
    mutual_information,
)
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS
from tests.metrics.codes import grid, noisy, rows

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_modularity_is_the_reference_value(name):
    factors = REPRESENTATIONS[name].factors()[:NUM_TRAIN]
    value, tolerance = REFERENCE["cases"][name]["modularity"]
    assert modularity(REPRESENTATIONS[name].encoder()(factors), factors) == pytest.approx(
        value, abs=tolerance
    )


@pytest.mark.parametrize("matrix", REFERENCE["matrices"].values(), ids=REFERENCE["matrices"])
def test_modularity_of_a_fixed_matrix_is_the_reference_value(matrix):
    assert modularity_per_code(np.array(matrix["matrix"])).mean() == pytest.approx(
        matrix["modularity"], abs=1e-9
    )


def test_a_code_loses_the_squares_of_what_it_tells_of_other_factors():
    information = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(
        modularity_per_code(information), [1 - 1.25 / 8, 1, 0, 0], atol=1e-15
    )
    assert np.isnan(modularity_per_code(np.array([[0.3], [0.0]]))).all()  # of one factor


def test_a_code_of_two_factors_has_the_closed_form():
    v = grid(2, 8)
    code = v @ [[8], [1]]  # tells both: log 2 and log 8
    assert modularity(code, v) == pytest.approx(1 - (np.log(2) / np.log(8)) ** 2, abs=1e-12)


def test_a_factor_may_be_in_many_codes():
    factors = rows()
    codes = noisy(factors)
    assert modularity(codes[:, [0, 0, 1, 2, 2, 1]], factors) == pytest.approx(
        modularity(codes, factors), abs=1e-12
    )


def test_modularity_and_explicitness_hardly_tell_a_rotated_code_from_a_perfect_one():
    scores = {}
    for name in ("perfect", "rotated"):
        factors = REPRESENTATIONS[name].factors()
        codes = REPRESENTATIONS[name].encoder()(factors)
        train, test = (slice(3000), slice(NUM_TRAIN, NUM_TRAIN + 2000))
        explicit = explicitness(codes[train], factors[train], codes[test], factors[test])
        scores[name] = modularity(codes, factors), explicit, mig(codes, factors)
    assert scores["perfect"][0] - scores["rotated"][0] < 0.2
    assert abs(scores["perfect"][1] - scores["rotated"][1]) < 0.01
    assert scores["perfect"][2] - scores["rotated"][2] > 0.8


def test_the_number_of_bins_is_that_of_the_information():
    factors = rows()
    information = mutual_information(noisy(factors), factors, bins=5)
    assert modularity(noisy(factors), factors, bins=5) == modularity_per_code(information).mean()
