"""Independent draws, and draws with correlated factors."""

import itertools
import math

import numpy as np
import pytest
import torch

from ppl_disentangle.data import correlated, correlated_density, iid, split_where
from tests.data.sampled.grids import GRID, SOURCES, assert_follows, counts, everything


@SOURCES
@pytest.mark.parametrize("width", [0.15, 0.5, math.inf])
def test_correlated_factors_have_the_stated_density_and_marginals(data, width):
    drawn = everything(correlated(data, {("size", "turn"): width}, num=20000, seed=5))
    exact = torch.tensor(
        [[math.exp(-((a / 3 - b / 4) ** 2) / (2 * width**2)) for b in range(5)] for a in range(4)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(correlated_density(4, 5, width), exact / exact.sum())
    assert_follows(counts(drawn[:, [1, 2]], (4, 5)), exact)
    assert_follows(drawn[:, 1].bincount(), exact.sum(1))
    joint = exact[:, :, None] * torch.ones(6)
    assert_follows(counts(drawn[:, [1, 2, 0, 3]], (4, 5, 3, 2)), joint)


def test_several_pairs_multiply_and_tables_go_by_the_order_of_their_names():
    kinds = np.array([[0.1, 0.9], [1.0, 0.0], [0.5, 0.5]])
    drawn = everything(
        correlated(
            GRID, {("turn", "size"): 0.3, ("kind", "x"): kinds, ("x", "size"): 0.4}, num=30000
        )
    )
    exact = torch.zeros(3, 4, 5, 2, dtype=torch.float64)
    for a, b, c, d in itertools.product(range(3), range(4), range(5), range(2)):
        exact[a, b, c, d] = kinds[a, d] * math.exp(
            -((c / 4 - b / 3) ** 2) / 0.18 - (d - b / 3) ** 2 / 0.32
        )
    assert_follows(counts(drawn, (3, 4, 5, 2)), exact)


def test_a_correlation_with_a_combination_that_does_not_exist_is_an_error():
    training, _ = split_where(GRID, {"kind": "b", "size": 3.0})
    with pytest.raises(ValueError, match=r"no datum of 'numbers' has kind='b', size=3\.0"):
        correlated(training, {("kind", "size"): torch.ones(3, 4)})
    allowed = torch.ones(3, 4)
    allowed[1, 3] = 0
    drawn = everything(correlated(training, {("kind", "size"): allowed}, num=5000))
    assert_follows(counts(drawn[:, :2], (3, 4)), allowed)


def test_iid_draws_are_uniform_with_replacement():
    assert_follows(counts(everything(iid(GRID, 5000)), GRID.factor_sizes), torch.ones(120))
    assert len(iid(GRID)) == len(GRID)
