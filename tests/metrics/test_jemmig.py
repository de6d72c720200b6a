"""JEMMIG against closed forms and its formula as loops over scikit-learn's information."""

import math

import numpy as np
import pytest

from ppl_disentangle.metrics import jemmig
from tests.metrics.codes import (
    entangled_and_shared,
    grid,
    information_by_scikit_learn,
    information_of_bins,
    mixed_rows,
    noisy,
    rows,
)

LOG = {n: math.log(n) for n in (4, 16, 20)}


def test_a_code_of_two_factors_has_the_closed_form():
    codes, v = entangled_and_shared()
    first = 1 - (LOG[4] - LOG[4] + LOG[4]) / (LOG[4] + LOG[20])
    second = 1 - (LOG[16] - LOG[4] + 0) / (LOG[4] + LOG[20])
    assert jemmig(codes, v) == pytest.approx((first + second) / 2, abs=1e-12)


def test_a_factor_in_two_codes_has_the_closed_form():
    v = grid(4, 4)
    expected = (1 + 1 - LOG[4] / (LOG[4] + LOG[20])) / 2
    assert jemmig(v[:, [0, 1, 1]], v) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bins", [5, 20])
def test_jemmig_is_its_definition_in_loops(bins):
    codes, factors = mixed_rows()
    information, code_entropies, factor_entropies = information_by_scikit_learn(
        codes, factors, bins
    )
    scores = []
    for column, entropy in zip(information.T, factor_entropies, strict=True):
        d = int(np.argmax(column))
        joint = code_entropies[d] + entropy - column[d]
        scores.append(1 - (joint - column[d] + sorted(column)[-2]) / (entropy + math.log(bins)))
    assert jemmig(codes, factors, bins=bins) == pytest.approx(np.mean(scores), abs=1e-12)


def test_a_constant_code_beats_a_fair_one():
    factors = rows()
    fair = noisy(factors, 1.0)
    assert jemmig(np.ones_like(fair), factors) > jemmig(fair, factors) + 0.1


def test_more_values_than_bins_lower_the_ceiling():
    values = np.arange(40)[:, None]
    lost = math.log(40) - information_of_bins(values[:, 0])
    expected = 1 - lost / (math.log(40) + math.log(20))
    assert jemmig(values, values) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="expected bins >= 1, got 0"):
        jemmig(values, values, bins=0)
