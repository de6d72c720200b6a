"""InfoMEC and nearest-neighbour information against reference values, scikit-learn and closed forms."""

import json

import numpy as np
import pytest

from ppl_disentangle.metrics import infomec, mutual_information, neighbour_information
from ppl_disentangle.metrics.infomec import concentration
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS
from tests.metrics.codes import grid, noisy, rows, standardised

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]
KEYS = {"modularity": "infom", "explicitness": "infoe", "compactness": "infoc"}


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_infomec_is_the_reference_value(name):
    factors = REPRESENTATIONS[name].factors()[:NUM_TRAIN]
    scores = infomec(REPRESENTATIONS[name].encoder()(factors), factors)
    for score, key in KEYS.items():
        value, tolerance = REFERENCE[name][key]
        assert getattr(scores, score) == pytest.approx(value, abs=tolerance)


def test_infomec_of_discrete_codes_is_the_reference_value():
    factors = REPRESENTATIONS["quantised_dup"].factors()[:NUM_TRAIN]
    scores = infomec(REPRESENTATIONS["quantised_dup"].encoder()(factors), factors, discrete=True)
    for score, key in KEYS.items():
        value, tolerance = REFERENCE["quantised_dup"][f"{key}_discrete"]
        assert getattr(scores, score) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("neighbours", [1, 3, 10, 15])
def test_neighbour_information_is_scikit_learns(neighbours):
    from sklearn.feature_selection import mutual_info_classif

    factors = rows(300, (2, 7, 3))
    codes = noisy(factors)
    factors[:20, 2] = np.arange(3, 23)  # values of a single row each
    pairs = [
        mutual_info_classif(codes, v, n_neighbors=neighbours, random_state=0) for v in factors.T
    ]
    information = neighbour_information(codes, factors, neighbours=neighbours)
    np.testing.assert_allclose(information, np.stack(pairs, 1), atol=1e-9)
    assert (information.diagonal() > 0.1).all()


@pytest.mark.parametrize("apart", [0.25, 0.5, 1.0])
def test_two_overlapping_uniform_codes_tell_the_part_that_does_not_overlap(apart):
    v = rows(40_000, (2,))
    code = v * apart + np.random.default_rng(1).random(v.shape)
    assert neighbour_information(code, v).item() == pytest.approx(apart * np.log(2), abs=0.01)


def test_a_bin_hides_what_neighbours_find():
    v = rows(4000, (2,))
    code = 0.01 * v + 0.005 * np.random.default_rng(1).random(v.shape)
    code[0] = 10
    assert mutual_information(code, v).item() < 0.01 < 0.6 < neighbour_information(code, v).item()


def test_neighbour_information_follows_its_seed_only_through_ties():
    factors = rows(sizes=(4, 5))
    free, tied = noisy(factors), standardised(factors)
    for codes, differ in ((free, False), (tied, True)):
        first, again, other = (neighbour_information(codes, factors, seed=s) for s in (0, 0, 1))
        assert np.array_equal(first, again)
        assert (np.abs(first - other).max() > 1e-6) == differ
    with pytest.raises(ValueError, match="expected neighbours >= 1, got 0"):
        neighbour_information(free, factors, neighbours=0)


def test_values_of_a_single_row_each_tell_nothing():
    assert neighbour_information(noisy(rows(20)), np.arange(20)[:, None]).tolist() == [
        [0],
        [0],
        [0],
    ]


def test_concentration_runs_from_an_even_share_to_one():
    assert concentration(np.array([[0.0, 3.0, 0.0], [1.0, 0.0, 0.0]])) == 1
    assert concentration(np.full((2, 4), 0.7)) == concentration(np.zeros((2, 4))) == 0
    assert concentration(np.array([[2.0, 1.0, 1.0]])) == pytest.approx(
        (1 / 2 - 1 / 3) / (1 - 1 / 3)
    )
    assert concentration(np.array([[0.2], [0.5]])) == 1


def test_discrete_codes_have_the_closed_form():
    v = grid(2, 4, 5)[:, :2]
    both, second = (
        v @ [[4], [1]],
        v[:, [1]],
    )  # the first code tells log 2 and log 4, the second log 4
    scores = infomec(np.hstack([both, second]), v, discrete=True)
    assert scores.modularity == pytest.approx((np.mean([1 / 2, 1]) - 1 / 2) / (1 / 2), abs=1e-9)
    assert scores.compactness == pytest.approx((np.mean([1, 1 / 2]) - 1 / 2) / (1 / 2), abs=1e-9)
    assert scores.explicitness == pytest.approx(1, abs=0.01)


def test_explicitness_of_codes_that_tell_nothing_is_zero_and_of_one_factor_its_share():
    v = np.tile(grid(3, 4), (50, 1))
    alone = infomec(
        np.hstack([v[:, :1], np.random.default_rng(0).permutation(v[:, :1])]), v, discrete=True
    )
    assert alone.explicitness == pytest.approx(0.5, abs=0.02)


def test_codes_of_a_small_range_are_idle_unless_discrete():
    factors = rows(sizes=(4, 5))
    codes = noisy(factors)
    idle = np.hstack([codes, 0.04 * np.random.default_rng(4).random((800, 1))])
    assert infomec(idle, factors)[::2] == infomec(codes, factors)[::2]
    wide = np.hstack([codes, np.random.default_rng(4).random((800, 1))])
    assert infomec(wide, factors)[::2] != infomec(codes, factors)[::2]
    levels = np.hstack([factors, 0.01 * factors[:, :1]])
    assert infomec(levels, factors, discrete=True).compactness == pytest.approx(
        (0.75 - 1 / 3) / (2 / 3), abs=0.02
    )


def test_a_code_of_noise_may_look_modular():
    factors = rows(2000, (4, 5, 6))
    noise = np.random.default_rng(1).standard_normal((2000, 1))
    shares = neighbour_information(noise, factors)
    assert shares.max() < 0.05
    assert infomec(noise, factors).modularity > 0.5
