"""Pairs that share all factors but a few."""

import itertools

import pytest
import torch

from ppl_disentangle.data import from_arrays, pairs
from tests.data.sampled.grids import (
    GRID,
    SOURCES,
    Numbers,
    assert_follows,
    counts,
    everything,
    table,
)


@SOURCES
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pairs_differ_in_exactly_k_factors_and_every_factor_changes_equally_often(data, k):
    drawn = pairs(data, k, num=6000, seed=1, conditions=True)
    first, second = everything(drawn).unbind(1)
    changed = first != second
    assert (changed.sum(1) == k).all()
    assert torch.equal(drawn.conditions(torch.arange(6000))["changed"], changed)
    assert torch.equal(drawn.factors(torch.arange(6000)), first)
    if k < 4:
        subsets = torch.tensor(
            [[i in s for i in range(4)] for s in itertools.combinations(range(4), k)]
        )
        assert_follows((changed[:, None] == subsets).all(-1).sum(0), torch.ones(len(subsets)))
    assert_follows(counts(first, GRID.factor_sizes), torch.ones(120))
    assert_follows(counts(second, GRID.factor_sizes), torch.ones(120))


@SOURCES
def test_the_other_of_a_pair_is_uniform_among_those_that_fit(data):
    first, second = everything(pairs(data, 1, factors=["turn"], num=5000)).unbind(1)
    apart = torch.ones(5, 5).fill_diagonal_(0)
    assert_follows(counts(torch.stack([first[:, 2], second[:, 2]], -1), (5, 5)), apart)


def test_a_random_number_of_factors_is_uniform_below_all():
    first, second = everything(pairs(GRID, "random", num=6000)).unbind(1)
    assert_follows((first != second).sum(1).bincount()[1:], torch.ones(3))


def test_pairs_of_a_subset_follow_the_distribution_given_that_a_partner_exists():
    # Of the grid 3 x 4, a cross is left: kind 0 in all sizes, and all kinds in size 0.
    cross = table(Numbers(3, 4), torch.tensor([0, 1, 2, 3, 4, 8]))
    first, second = everything(pairs(cross, 1, num=8000)).unbind(1)
    exact = torch.zeros(12, 12)
    rows = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0)]
    for a in rows:
        for k in (0, 1):
            fits = [b for b in rows if b[k] != a[k] and b[1 - k] == a[1 - k]]
            for b in fits:
                exact[4 * a[0] + a[1], 4 * b[0] + b[1]] += 1 / len(fits)
    code = 4 * first[:, 0] + first[:, 1], 4 * second[:, 0] + second[:, 1]
    assert_follows((12 * code[0] + code[1]).bincount(minlength=144), exact)


def test_a_partner_that_rejection_misses_is_found():
    x = torch.cat([torch.zeros(5000), torch.ones(1)]).long()
    first, second = everything(pairs(from_arrays(x[:, None].float(), x), num=200)).unbind(1)
    assert (first + second == 1).all()


def test_pairs_that_hardly_exist_are_an_error():
    diagonal = table(Numbers(3, 4), torch.tensor([0, 5, 10]))
    with pytest.raises(
        ValueError,
        match=r"hardly any .* 'table' differ in exactly k=1 of \['kind', 'size'\].* 0 of 1\d{3}",
    ):
        pairs(diagonal, 1, num=100)
    few = from_arrays(torch.zeros(100, 1), {"a": [*range(99), 0], "b": [*range(98), 0, 1]})
    assert len(pairs(few, 1, num=1)) == 1  # most draws find nobody
    assert (
        everything(pairs(diagonal, 2, num=100))[:, 0]
        != everything(pairs(diagonal, 2, num=100))[:, 1]
    ).all()
