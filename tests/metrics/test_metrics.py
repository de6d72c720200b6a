"""Every metric of codes and factors: ceiling, chance, invariances, and unusual codes."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr

from ppl_disentangle.metrics import active_units, mig, mig_per_factor, mutual_information
from tests.metrics.codes import SCORES, grid, half_dci, noisy, rotation, rows, standardised, votes

TRAINED = ("explicitness", "sap", "disentanglement", "completeness", "informativeness")
ON_ALL_ROWS = {n: f for n, f in SCORES.items() if n not in TRAINED} | {
    "mutual_information": mutual_information
}
READ_LINEARLY = ("explicitness", "infomec_explicitness", "informativeness")  # by all codes together
IDLE = ("mig_sup", "modularity")  # where a code that tells nothing counts as 0
CHANCE = {  # between these, for 3, 4 and 5 values
    "mig": (0, 0.05),
    "mig_sup": (0, 0.05),
    "dcimig": (0, 0.05),
    "jemmig": (0, 0.1),
    "modularity": (0.2, 0.8),
    "explicitness": (0.45, 0.55),
    "sap_continuous": (0, 0.02),
    "sap": (0, 0.05),
    "irs": (0, 0.15),
    "mcc": (0, 0.1),
    "mcc_spearman": (0, 0.1),
    "infomec_modularity": (0, 1),
    "infomec_explicitness": (0, 0.02),
    "infomec_compactness": (0, 1),
    "disentanglement": (0, 0.15),
    "completeness": (0, 0.15),
    "informativeness": (0.2, 0.35),  # mean of 1/3, 1/4, 1/5 is 0.26
    "factor_vae_score": (0.28, 0.42),
}
every_score = pytest.mark.parametrize("name", SCORES)


def scores_except(*names):
    kept = [n for n in SCORES if n not in names]
    return pytest.mark.parametrize("name", kept)


@scores_except("sap")
def test_a_perfect_code_scores_one(name):
    factors = grid(3, 4, 5).repeat(15, 0)
    factors = factors[np.random.default_rng(0).permutation(len(factors))]
    tolerance = 1e-3 if name.startswith("infomec") else 1e-6
    assert SCORES[name](standardised(factors), factors) == pytest.approx(1.0, abs=tolerance)


@every_score
def test_scores_ignore_order_sign_scale_and_shift_of_the_codes(name):
    factors = rows()
    codes = noisy(factors)
    changed = codes[:, [2, 0, 1]] * np.array([-2.0, 0.5, 4.0]) + np.array([8.0, -3.0, 0.25])
    if name == "irs":  # which weighs codes by their scale
        changed = -2.0 * codes[:, [2, 0, 1]] + np.array([8.0, -3.0, 0.25])
    assert SCORES[name](changed, factors) == pytest.approx(SCORES[name](codes, factors), abs=0.02)


@scores_except(*READ_LINEARLY)
def test_rotated_codes_score_below_aligned_ones(name):
    factors = rows()
    codes = noisy(factors)
    assert SCORES[name](codes @ rotation(3), factors) < SCORES[name](codes, factors) - 0.1


@pytest.mark.parametrize("name", READ_LINEARLY)
def test_what_is_read_from_all_codes_together_hardly_changes_when_they_are_rotated(name):
    factors = rows()
    codes = noisy(factors)
    assert SCORES[name](codes @ rotation(3), factors) == pytest.approx(
        SCORES[name](codes, factors), abs=0.04
    )


@every_score
def test_codes_in_random_order_score_as_chance(name):
    factors = rows()
    low, high = CHANCE[name]
    assert (
        low <= SCORES[name](np.random.default_rng(3).permutation(noisy(factors)), factors) <= high
    )


@scores_except(*READ_LINEARLY)
def test_constant_codes_change_a_score_only_by_their_number(name):
    factors = rows()
    codes = noisy(factors)
    padded = np.hstack([codes, np.full((len(codes), 2), 0.1)])
    expected = SCORES[name](codes, factors)
    if name == "completeness":
        expected = 1 - (1 - expected) * math.log(3) / math.log(5)
    elif name in IDLE:
        expected *= 3 / 5
    tolerance = (
        1e-3 if name == "sap" else 1e-6
    )  # a machine without a code may do better than a poor runner-up
    assert SCORES[name](padded, factors) == pytest.approx(expected, abs=tolerance)


@every_score
@pytest.mark.parametrize("num_codes", [1, 2])
def test_fewer_codes_than_factors_are_scored(name, num_codes):
    factors = rows()
    score = SCORES[name](noisy(factors)[:, -num_codes:], factors)
    if (name, num_codes) == ("completeness", 1):
        assert np.isnan(score)  # one code serves every factor, whether it knows it or not
    else:
        assert 0 < score <= 1


@every_score
def test_codes_that_are_all_constant_score_zero_or_chance(name):
    factors = rows()
    value = SCORES[name](np.ones((len(factors), 3)), factors)
    if name == "informativeness":
        assert 0.2 < value < 0.35
    elif name == "jemmig":
        entropies = np.log([3, 4, 5])
        assert value == pytest.approx(np.mean(math.log(20) / (entropies + math.log(20))), abs=1e-3)
    else:
        assert value == (0.5 if name == "explicitness" else 0)


@every_score
def test_integer_codes_are_codes(name):
    factors = rows()
    codes = np.round(3 * noisy(factors))
    assert SCORES[name](codes.astype(np.int32), factors) == SCORES[name](codes, factors)


@every_score
def test_factor_values_need_not_be_classes(name):
    factors = rows(sizes=(2, 3))
    codes = noisy(factors)
    expected = SCORES[name](codes, factors)
    assert SCORES[name](codes, 0.5 * factors - 7) == pytest.approx(expected, abs=1e-12)


@every_score
def test_a_factor_with_one_value_is_left_out(name):
    factors = rows()
    codes = noisy(factors)
    more = np.insert(factors, 1, 7, axis=1)
    assert SCORES[name](codes, more) == SCORES[name](codes, factors)


@pytest.mark.parametrize("predictor", ["gbt", "lightgbm", "forest"])
def test_a_factor_with_one_value_has_no_gap_and_no_importances(predictor):
    factors = rows()
    codes = noisy(factors)
    more = np.insert(factors, 1, 7, axis=1)
    assert mig(codes, more) == mig(codes, factors)
    assert np.isnan(mig_per_factor(codes, more)).tolist() == [False, True, False, False]
    assert votes(codes, more) == votes(codes, factors)
    with_it, without = half_dci(codes, more, predictor), half_dci(codes, factors, predictor)
    assert np.isnan(with_it.importances).all(0).tolist() == [False, True, False, False]
    assert with_it[:3] == without[:3]


@every_score
def test_a_single_factor_is_scored(name):
    factors = rows(sizes=(4,))
    codes = np.hstack([noisy(factors, 0.1), np.random.default_rng(5).standard_normal((800, 1))])
    score = SCORES[name](codes, factors)
    if name in ("modularity", "disentanglement"):
        assert np.isnan(score)  # every code serves the one factor, noise too
    else:
        assert 0.1 < score <= 1 + 1e-9


@every_score
def test_factors_of_one_value_alone_are_an_error(name):
    with pytest.raises(ValueError, match="expected a factor with at least two values"):
        SCORES[name](noisy(rows(50)), np.ones((50, 2)))


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (
            np.where(np.arange(4) == 2, np.nan, 1.0) + np.zeros((9, 4)),
            rows(9),
            "NaN or infinity in code column 2",
        ),
        (np.ones((9, 2)) * [1, np.inf], rows(9), "NaN or infinity in code column 1"),
        (np.ones((9, 2)), rows(9) + [0, np.nan, 0], "NaN or infinity in factor column 1"),
        (np.ones(9), rows(9), r"expected codes of shape \(num_data, num_codes\), got \(9,\)"),
        (
            np.ones((9, 0)),
            rows(9),
            r"expected codes of shape \(num_data, num_codes\), got \(9, 0\)",
        ),
        (
            np.ones((9, 2)),
            np.ones(9),
            r"expected factors of shape \(num_data, num_factors\), got \(9,\)",
        ),
        (np.ones((8, 2)), rows(9), "got 8 and 9 rows"),
        (np.ones((1, 2)), rows(1), "expected codes of at least 2 rows, got 1"),
    ],
)
@pytest.mark.parametrize("score", ON_ALL_ROWS.values(), ids=ON_ALL_ROWS)
def test_what_is_no_matrix_of_finite_numbers_is_an_error(score, codes, factors, message):
    with pytest.raises(ValueError, match=message):
        score(codes, factors)


@pytest.mark.parametrize("name", TRAINED)
def test_both_halves_are_checked(name):
    codes, factors = noisy(rows(60)), rows(60)
    with pytest.raises(ValueError, match="NaN or infinity in code column 1"):
        SCORES[name](np.where(np.arange(3) == 1, np.nan, codes), factors)
    with pytest.raises(ValueError, match="got 50 and 60 rows"):
        SCORES[name](codes[:50], factors)


@pytest.mark.parametrize("name", TRAINED)
def test_values_missing_from_training_or_test_are_no_error(name):
    factors = rows(600, (3, 4))
    codes = noisy(factors, 0.05)
    keep = np.where(np.arange(600) < 300, factors[:, 0] != 1, factors[:, 1] != 2)
    n = keep[:300].sum()
    rearranged = np.argsort(~keep, kind="stable")[: 2 * min(n, keep[300:].sum())]
    assert 0 <= SCORES[name](codes[rearranged], factors[rearranged]) <= 1


@pytest.mark.parametrize(
    "convert",
    [
        torch.tensor,
        lambda a: torch.tensor(a).requires_grad_(a.dtype == float),
        lambda a: xr.DataArray(a),
        np.ndarray.tolist,
    ],
    ids=["torch", "grad", "xarray", "list"],
)
def test_codes_of_any_array_library_score_the_same(convert):
    factors = rows()
    codes = noisy(factors)
    for score in SCORES.values():
        assert score(convert(codes), convert(factors)) == pytest.approx(
            score(codes, factors), abs=1e-12
        )
    assert active_units(convert(codes)) == 3


def test_importing_the_metrics_loads_no_predictor():
    code = "import sys, ppl_disentangle.metrics; print([m for m in ('sklearn', 'lightgbm') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_active_units_are_those_of_variance_above_the_threshold():
    wave = np.tile([-1.0, 1.0], 50)[:, None]
    codes = wave * np.array([0.0, 0.09, 0.11, 1.0]) + 5  # variances 0, 0.0081, 0.0121, 1
    assert active_units(codes) == 2
    assert active_units(codes, threshold=0.001) == 3
