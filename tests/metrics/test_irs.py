"""Interventional robustness against reference values, loops and closed forms."""

import json

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import irs, irs_of_grid
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS, SIZES
from tests.metrics.codes import Factors, grid, noisy, rows

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]
SETTINGS = {
    "irs_static_q1.0": {},
    "irs_static_q0.99": {"quantile": 0.99},
    "irs_static_binned_q0.99": {"quantile": 0.99, "bins": 20},
}


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("key", SETTINGS)
def test_irs_is_the_reference_value(name, key):
    factors = REPRESENTATIONS[name].factors()[:NUM_TRAIN]
    value, tolerance = REFERENCE[name][key]
    codes = REPRESENTATIONS[name].encoder()(factors)
    assert irs(codes, factors, **SETTINGS[key]) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_irs_of_draws_from_a_grid_is_the_reference_value(name):
    encode = REPRESENTATIONS[name].encoder()
    value, tolerance = REFERENCE[name]["irs"]
    score = irs_of_grid(
        Factors(*SIZES), lambda x: encode(x.long().numpy()), seed=0, quantile=0.99, bins=20
    )
    assert score == pytest.approx(value, abs=tolerance)


def test_a_sum_of_two_factors_moves_with_the_other_one():
    v = grid(5, 9) - [2, 4]
    codes = np.stack([v.sum(1), v[:, 0]], 1)
    # holding the second factor, of 9 values, leaves 2 of the sum's largest deviation of 6
    expected = np.average([1 - 2 / 6, 1], weights=[6, 2])
    assert irs(codes, v) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 1.0])
def test_irs_is_its_definition_in_loops(quantile):
    factors = rows(300)
    codes = noisy(factors) * [1.0, 0.2, 5.0]
    scores, weights = [], []
    for z in codes.T:
        largest = np.abs(z - z.mean()).max()
        by_factor = []
        for v in factors.T:
            moves = [
                np.quantile(np.abs(z[v == c] - z[v == c].mean()), quantile) for c in np.unique(v)
            ]
            by_factor.append(1 - np.mean(moves) / largest)
        scores.append(max(by_factor))
        weights.append(largest)
    assert irs(codes, factors, quantile=quantile) == pytest.approx(
        np.average(scores, weights=weights), abs=1e-12
    )


def test_a_common_scale_does_not_matter_and_another_weighs_its_code():
    factors = rows()
    codes = noisy(factors, 0.2) + [0, 0, 1] * noisy(factors, 3.0, seed=2)
    assert irs(-1e3 * codes, factors) == pytest.approx(irs(codes, factors), abs=1e-12)
    assert irs(codes * [1, 1, 1e-6], factors) > irs(codes, factors) + 0.05


def test_a_factor_that_differs_in_every_row_makes_any_code_robust_but_not_in_bins():
    codes = np.random.default_rng(0).standard_normal((2000, 2))
    index = np.arange(2000)[:, None]
    assert irs(codes, index) == 1
    assert irs(codes, index, bins=10) < 0.4


def test_draws_follow_their_seed_and_leave_the_global_one_alone():
    state, mixed = torch.get_rng_state(), torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    scores = [
        irs_of_grid(Factors(6, 7), lambda x: x @ mixed, seed=s, num_data=20) for s in (0, 0, 1)
    ]
    assert scores[0] == scores[1] != scores[2]
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("quantile", "bins"), [(0.0, None), (1.1, None), (1.0, 1)])
def test_settings_are_checked(quantile, bins):
    with pytest.raises(
        ValueError, match=f"expected 0 < quantile <= 1 and bins >= 2, got {quantile} and {bins}"
    ):
        irs(np.ones((4, 1)), np.ones((4, 1)), quantile=quantile, bins=bins)
