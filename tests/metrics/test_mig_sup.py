"""MIG-sup against closed forms and its formula as loops over scikit-learn's information."""

import math

import numpy as np
import pytest

from ppl_disentangle.metrics import mig_sup
from tests.metrics.codes import (
    entangled_and_shared,
    grid,
    information_by_scikit_learn,
    information_of_bins,
    mixed_rows,
    noisy,
    rows,
)


def test_a_code_of_two_factors_has_the_closed_form():
    codes, v = entangled_and_shared()
    assert mig_sup(codes, v) == pytest.approx((1 + 0) / 2, abs=1e-12)


def test_a_factor_in_two_codes_costs_nothing():
    v = grid(4, 4)
    assert mig_sup(v[:, [0, 1, 1]], v) == pytest.approx(1, abs=1e-12)


def test_a_factor_without_a_code_costs_nothing():
    v = grid(2, 8)
    assert mig_sup(v[:, :1], v) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("bins", [5, 20])
def test_mig_sup_is_its_definition_in_loops(bins):
    codes, factors = mixed_rows()
    information, _, factor_entropies = information_by_scikit_learn(codes, factors, bins)
    gaps = []
    for row in information:
        low, high = sorted(i / h for i, h in zip(row, factor_entropies, strict=True))[-2:]
        gaps.append(high - low)
    assert mig_sup(codes, factors, bins=bins) == pytest.approx(np.mean(gaps), abs=1e-12)


def test_a_constant_code_has_score_zero():
    factors = rows()
    fair = noisy(factors, 1.0)
    assert mig_sup(np.ones_like(fair), factors) == 0 < mig_sup(fair, factors)


def test_more_values_than_bins_lower_the_ceiling():
    values = np.arange(40)[:, None]
    expected = information_of_bins(values[:, 0]) / math.log(40)
    assert mig_sup(values, values) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="expected bins >= 1, got 0"):
        mig_sup(values, values, bins=0)
