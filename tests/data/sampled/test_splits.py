"""Splits by combinations of factors."""

import pytest
import torch

from ppl_disentangle.data import groups, pairs, split_combinations, split_where, triplets
from tests.data.sampled.grids import GRID, SOURCES, Numbers, everything


def combinations(data, columns):
    return {tuple(row) for row in everything(data)[:, columns].tolist()}


@SOURCES
@pytest.mark.parametrize("factors", [None, ["size", "kind"]])
def test_held_out_combinations_are_never_seen_though_each_value_is(data, factors):
    for seed in range(5):
        training, test = split_combinations(data, factors, fraction=0.4, seed=seed)
        columns = [0, 1] if factors else [0, 1, 2, 3]
        seen, unseen = combinations(training, columns), combinations(test, columns)
        assert seen.isdisjoint(unseen)
        assert len(unseen) == round(0.4 * (12 if factors else 120))
        assert len(training) + len(test) == len(data)
        assert all(
            set(v) == set(range(n))
            for v, n in zip(zip(*seen, strict=True), GRID.factor_sizes, strict=False)
        )
        for drawn in (
            pairs(training, num=500),
            groups(training, 3, num=500),
            triplets(training, "size", num=500),
        ):
            members = drawn.observations(torch.arange(500)).long().flatten(0, 1)[:, columns]
            assert {tuple(row) for row in members.tolist()} <= seen
    splits = [
        sorted(combinations(split_combinations(data, factors, seed=s)[1], columns))
        for s in (0, 0, 1)
    ]
    assert splits[0] == splits[1] != splits[2]


def test_every_combination_but_a_cover_can_be_held_out():
    square = Numbers(3, 3)
    seen = set()
    for seed in range(40):
        training, test = split_combinations(square, fraction=4 / 9, seed=seed)
        assert len(test) == 4
        assert {
            len(set(column)) for column in zip(*combinations(training, [0, 1]), strict=True)
        } == {3}
        seen |= combinations(test, [0, 1])
    assert len(seen) == 9
    with pytest.raises(
        ValueError,
        match=r"cannot hold out 8 of 9 combinations: between 1 and [3456] leave each value",
    ):
        split_combinations(square, fraction=8 / 9)
    with pytest.raises(ValueError, match="cannot hold out 0 of 9"):
        split_combinations(square, fraction=0.01)


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"size": (2, 3)}, lambda k, s, t, x: s >= 2),
        ({"kind": "b", "turn": (1.5, 4)}, lambda k, s, t, x: k == 1 and t >= 2),
        ({"kind": ["a", "c"], "size": 0.0}, lambda k, s, t, x: k != 1 and s == 0),
        (
            [{"kind": "a", "size": 1.0}, {"kind": "b", "size": 2.0}],
            lambda k, s, t, x: s == k + 1 and k < 2,
        ),
    ],
    ids=["extrapolation", "recombination", "values", "named combinations"],
)
@SOURCES
def test_data_that_meet_conditions_are_held_out_and_no_others(data, where, holds):
    training, test = split_where(data, where)
    assert all(holds(*row) for row in everything(test).tolist())
    assert not any(holds(*row) for row in everything(training).tolist())
    assert len(training) + len(test) == 120
