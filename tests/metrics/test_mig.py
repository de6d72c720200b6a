"""The mutual information gap against reference values, its definition and its ceiling."""

import json
import math

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import (
    entropies,
    mig,
    mutual_information,
)
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS
from tests.metrics.codes import entangled_and_shared, grid, noisy, rows

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_mig_is_the_reference_value(name):
    factors = REPRESENTATIONS[name].factors()[:NUM_TRAIN]
    value, tolerance = REFERENCE[name]["mig"]
    assert mig(REPRESENTATIONS[name].encoder()(factors), factors) == pytest.approx(
        value, abs=tolerance
    )


def test_mig_is_the_gap_at_its_number_of_bins():
    factors = rows()
    low, middle, high = np.sort(mutual_information(noisy(factors), factors, bins=5), axis=0)
    assert mig(noisy(factors), factors, bins=5) == pytest.approx(
        ((high - middle) / entropies(factors)).mean()
    )
    assert (low < middle).all()
    with pytest.raises(ValueError, match="expected bins >= 1, got 0"):
        mig(noisy(factors), factors, bins=0)


def test_a_perfect_code_of_more_values_than_bins_has_the_mig_of_its_bins():
    values = np.arange(40)
    share = np.bincount(np.digitize(values, np.linspace(0, 39, 21)[:-1]) - 1) / 40
    expected = -(share * np.log(share)).sum() / math.log(40)
    assert expected < 0.95
    assert mig(values[:, None], values[:, None]) == pytest.approx(expected, abs=1e-12)


def test_mig_falls_when_an_outlier_stretches_the_bins():
    factors = rows()
    codes = noisy(factors)
    stretched = np.vstack([codes, 1e3 + codes[:1]])
    assert mig(stretched, np.vstack([factors, factors[:1]])) < 0.05 < 0.3 < mig(codes, factors)


def test_with_one_code_the_runner_up_is_zero():
    factors = rows()
    expected = np.mean(mutual_information(factors[:, :1], factors)[0] / entropies(factors))
    assert mig(factors[:, :1], factors) == pytest.approx(expected, abs=1e-12)


def test_bfloat16_codes_are_converted():
    factors = rows()
    codes = torch.tensor(noisy(factors)).bfloat16()
    assert mig(codes, factors) == mig(codes.double().numpy(), factors)


def test_a_code_of_two_factors_has_the_closed_form():
    codes, v = entangled_and_shared()
    assert mig(codes, v) == pytest.approx((0 + 1) / 2, abs=1e-12)


def test_a_factor_in_two_codes_has_the_closed_form():
    v = grid(4, 4)
    assert mig(v[:, [0, 1, 1]], v) == pytest.approx(1 / 2, abs=1e-12)


def test_a_constant_code_has_score_zero():
    factors = rows()
    fair = noisy(factors, 1.0)
    assert mig(np.ones_like(fair), factors) == 0 < mig(fair, factors)
