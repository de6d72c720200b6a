"""Walks along the factors."""

import itertools
import math

import pytest
import torch
from scipy.stats import binom

from ppl_disentangle.data import laplace_transition, walks
from tests.data.sampled.grids import MORE, assert_follows, counts, everything, table


@pytest.mark.parametrize("data", [MORE, table(MORE)], ids=["grid", "table"])
def test_walks_follow_their_transitions_in_every_frame(data):
    matrix = torch.tensor(
        [[0.5, 0.5, 0, 0], [0, 0.2, 0.8, 0], [0, 0, 0, 1.0], [0.1, 0.2, 0.3, 0.4]]
    )
    turn = (
        2.0 if data is MORE else laplace_transition(6, 2.0, cyclic=True)
    )  # arrays have no cyclic factors
    frames = everything(walks(data, 4, {"size": matrix, "turn": turn}, num=12000, seed=3))
    assert (frames[:, :, [0, 3]] == frames[:, :1, [0, 3]]).all()
    assert_follows(counts(frames[:, 0], MORE.factor_sizes), torch.ones(360))
    law = torch.full((4,), 0.25, dtype=torch.float64)
    for before, after in itertools.pairwise(frames.unbind(1)):
        both = torch.stack([before, after], -1)
        assert_follows(counts(both[:, 1], (4, 4)), law[:, None] * matrix)
        law = law @ matrix.double()
        for c in range(6):
            expected = [
                math.exp(-2 * min(abs(c - j), 6 - abs(c - j)) / math.log(6)) for j in range(6)
            ]
            assert_follows(
                both[both[:, 2, 0] == c][:, 2, 1].bincount(minlength=6), torch.tensor(expected)
            )
    independent = frames[:, 1][:, [1, 2]]
    assert_follows(
        counts(independent, (4, 6)), (torch.full((4,), 0.25) @ matrix)[:, None].expand(4, 6)
    )


def test_one_rate_moves_every_factor_but_categories_and_a_step_may_be_forced():
    first, second = everything(walks(MORE, 2, 3.0, num=40000)).unbind(1)
    assert (first[:, 0] == second[:, 0]).all()
    still = (first == second).all(1)
    stays = [laplace_transition(n, 3.0, cyclic=c) for n, c in ((4, False), (6, True), (5, False))]
    probability = math.prod(t.diagonal().mean().item() for t in stays)
    assert binom(40000, probability).cdf(still.sum()) == pytest.approx(0.5, abs=0.499)
    first, second = everything(walks(MORE, 2, 3.0, always_moves=True, num=40000)).unbind(1)
    assert (first != second).any(1).all()
    moved = (first[:, 1] != second[:, 1]).double().mean()
    # it moves by itself, or nothing does and it is chosen, one time in three
    expected = 1 - stays[0].diagonal().mean().item() + probability / 3
    assert moved == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 40000))


def test_the_laplace_transition_is_its_formula():
    for cyclic in (False, True):
        matrix = laplace_transition(7, 1.3, cyclic=cyclic)
        for i, j in itertools.product(range(7), repeat=2):
            distance = min(abs(i - j), 7 - abs(i - j)) if cyclic else abs(i - j)
            assert matrix[i, j] / matrix[i, i] == pytest.approx(
                math.exp(-1.3 * distance / math.log(7))
            )
        torch.testing.assert_close(matrix.sum(1), torch.ones(7).double())
    assert torch.equal(laplace_transition(4, 0.0), torch.full((4, 4), 0.25).double())
