"""Leakage of a sensitive factor, against codes whose content is known."""

import math

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    leakage,
)
from tests.metrics.codes import halves, noise, rows

every_predictor = pytest.mark.parametrize("predictor", ["linear", "gbt", "lightgbm", "forest"])


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
