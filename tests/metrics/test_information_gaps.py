"""MIG-sup, DCIMIG and JEMMIG against closed forms and the formulas as loops over scikit-learn's information."""

import math

import numpy as np
import pytest

from ppl_disentangle.metrics import dcimig, jemmig, mig, mig_sup
from tests.metrics.codes import grid, noisy, rotation, rows

LOG = {n: math.log(n) for n in (4, 16, 20)}


def both_and_one():
    """Factors of 4 values each; the first code holds the first factor, the second code both."""
    v = grid(4, 4)
    return np.stack([v[:, 0], 4 * v[:, 1] + v[:, 0]], 1), v


def test_a_code_of_two_factors_has_the_closed_forms():
    codes, v = both_and_one()
    assert mig(codes, v) == pytest.approx((0 + 1) / 2, abs=1e-12)
    assert mig_sup(codes, v) == pytest.approx((1 + 0) / 2, abs=1e-12)
    assert dcimig(codes, v) == pytest.approx(LOG[4] / (2 * LOG[4]), abs=1e-12)
    first = 1 - (LOG[4] - LOG[4] + LOG[4]) / (LOG[4] + LOG[20])
    second = 1 - (LOG[16] - LOG[4] + 0) / (LOG[4] + LOG[20])
    assert jemmig(codes, v) == pytest.approx((first + second) / 2, abs=1e-12)


def test_a_factor_in_two_codes_has_the_closed_forms():
    v = grid(4, 4)
    codes = v[:, [0, 1, 1]]
    assert mig(codes, v) == pytest.approx(1 / 2, abs=1e-12)
    assert mig_sup(codes, v) == pytest.approx(1, abs=1e-12)
    assert dcimig(codes, v) == pytest.approx(1, abs=1e-12)
    assert jemmig(codes, v) == pytest.approx((1 + 1 - LOG[4] / (LOG[4] + LOG[20])) / 2, abs=1e-12)


def test_a_factor_without_a_code_costs_dcimig_its_entropy_and_mig_sup_nothing():
    v = grid(2, 8)
    assert dcimig(v[:, :1], v) == pytest.approx(1 / 4, abs=1e-12)
    assert dcimig(v[:, 1:], v) == pytest.approx(3 / 4, abs=1e-12)
    assert mig_sup(v[:, :1], v) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("bins", [5, 20])
def test_scores_are_their_definitions_in_loops(bins):
    from sklearn.metrics import mutual_info_score

    factors = rows(500, (3, 4, 6))
    codes = noisy(np.hstack([factors, factors[:, :1]]), 0.7) @ (np.eye(4) + 0.3 * rotation(4))
    binned = [np.digitize(z, np.histogram(z, bins)[1][1:-1]) for z in codes.T]
    information = np.array([[mutual_info_score(v, b) for v in factors.T] for b in binned])
    of_codes = [mutual_info_score(b, b) for b in binned]
    of_factors = [mutual_info_score(v, v) for v in factors.T]

    gaps = []
    for row in information:
        low, high = sorted(i / h for i, h in zip(row, of_factors, strict=True))[-2:]
        gaps.append(high - low)
    assert mig_sup(codes, factors, bins=bins) == pytest.approx(np.mean(gaps), abs=1e-12)

    best = [0.0] * 3
    for row in information:
        low, high = sorted(row)[-2:]
        k = int(np.argmax(row))
        best[k] = max(best[k], high - low)
    assert dcimig(codes, factors, bins=bins) == pytest.approx(
        sum(best) / sum(of_factors), abs=1e-12
    )

    scores = []
    for column, entropy in zip(information.T, of_factors, strict=True):
        d = int(np.argmax(column))
        joint = of_codes[d] + entropy - column[d]
        scores.append(1 - (joint - column[d] + sorted(column)[-2]) / (entropy + math.log(bins)))
    assert jemmig(codes, factors, bins=bins) == pytest.approx(np.mean(scores), abs=1e-12)


def test_a_constant_code_beats_a_fair_one_in_jemmig_alone():
    factors = rows()
    fair = noisy(factors, 1.0)
    constant = np.ones_like(fair)
    assert jemmig(constant, factors) > jemmig(fair, factors) + 0.1
    for score in (mig, mig_sup, dcimig):
        assert score(constant, factors) == 0 < score(fair, factors)


@pytest.mark.parametrize("score", [mig_sup, dcimig, jemmig])
def test_more_values_than_bins_lower_the_ceiling(score):
    values = np.arange(40)[:, None]
    share = np.bincount(np.digitize(values[:, 0], np.linspace(0, 39, 21)[1:-1])) / 40
    told = -(share * np.log(share)).sum()
    expected = {
        mig_sup: told / math.log(40),
        dcimig: told / math.log(40),
        jemmig: 1 - (math.log(40) - told) / (math.log(40) + math.log(20)),
    }
    assert score(values, values) == pytest.approx(expected[score], abs=1e-12)
    with pytest.raises(ValueError, match="expected bins >= 1, got 0"):
        score(values, values, bins=0)
