"""Unfairness and total variation, against predictions whose dependence is known."""

import itertools

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import (
    total_variation,
    unfairness,
    unfairness_from_codes,
)
from tests.metrics.codes import halves, rows

SIZES = (3, 4, 5)
every_predictor = pytest.mark.parametrize("predictor", ["linear", "gbt", "lightgbm", "forest"])


class Grid:
    """A grid whose observation is its factor vector."""

    def __init__(self, *sizes):
        self.factor_sizes = sizes

    def render(self, factors):
        return factors.double()


def test_total_variation_is_its_definition_in_loops():
    rng = np.random.default_rng(0)
    predictions, sensitive = rng.integers(4, size=300), rng.integers(3, size=300)
    given = np.array(
        [[np.mean(predictions[sensitive == c] == y) for y in range(4)] for c in range(3)]
    )
    expected = np.mean([0.5 * np.abs(given[c] - given.mean(0)).sum() for c in range(3)])
    assert total_variation(predictions, sensitive) == pytest.approx(expected, abs=1e-12)
    assert total_variation(sensitive, sensitive) == pytest.approx(2 / 3)


@every_predictor
def test_predictions_from_codes_without_the_sensitive_factor_are_fair(predictor):
    grid = Grid(3, 4)
    fair = unfairness(grid, lambda x: x, seed=0, predictor=predictor, num_train=400, num_test=50)
    assert fair.mean == pytest.approx(0, abs=1e-12)
    assert np.isnan(fair.pairs).tolist() == np.eye(2, dtype=bool).tolist()
    every = np.array(list(itertools.product(range(3), range(4)))).repeat(10, 0)
    assert unfairness_from_codes(
        every, every, every, every, predictor=predictor
    ).mean == pytest.approx(0, abs=1e-12)


def test_predictions_that_follow_the_sensitive_factor_are_as_unfair_as_its_values_are_many():
    # The only code is s; the best guess of the target, which it does not tell, is some function of s.
    grid = Grid(2, 2)
    found = unfairness(
        grid, lambda x: x.sum(1, keepdim=True), seed=0, predictor="gbt", num_train=4001
    )
    # 0 and 2 give both factors away, 1 gives one guess g to both: p(1 | s) is 1/2 g or 1/2 + 1/2 g.
    assert found.pairs[0, 1] == pytest.approx(0.25, abs=0.04)
    assert found.pairs[1, 0] == pytest.approx(0.25, abs=0.04)
    assert found.mean == pytest.approx(0.25, abs=0.04)


def test_given_rows_score_as_drawn_ones_above_the_floor():
    def encode(factors):
        return factors.double().sum(1, keepdim=True)

    drawn = unfairness(Grid(*SIZES), encode, seed=0, predictor="lightgbm", num_train=1000)
    factors = rows(21_000)
    split = encode(torch.tensor(factors)).numpy(), factors
    given = unfairness_from_codes(
        split[0][:1000], factors[:1000], split[0][1000:], factors[1000:], predictor="lightgbm"
    )
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(given.pairs[off], drawn.pairs[off], atol=0.05)
    assert 0 < given.floor < 0.02 < 0.15 < given.mean


def test_the_floor_is_the_unfairness_of_fair_predictions_of_few_rows():
    factors = rows(500)
    fair = unfairness_from_codes(*halves(factors, factors), predictor="forest")
    assert fair.floor > 0.03
    assert fair.mean == pytest.approx(fair.floor, abs=0.03)


def test_a_factor_with_one_value_is_neither_target_nor_sensitive():
    found = unfairness(
        Grid(3, 1, 2), lambda x: x, seed=0, predictor="linear", num_train=200, num_test=20
    )
    assert np.isnan(found.pairs[1]).all()
    assert np.isnan(found.pairs[:, 1]).all()
    assert found.mean == pytest.approx(0, abs=1e-12)
