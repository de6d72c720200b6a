"""Schedules against their formulas, and as weights in training."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from ppl_disentangle.inference.elbo.schedules import Cyclical, Piecewise
from ppl_disentangle.inference.objectives.beta_vae import BetaELBO
from tests.inference.pairs import (
    Pair,
)


def steps(count):
    return torch.arange(count, dtype=torch.float32)


@pytest.mark.parametrize("cycles", [None, 1, 3])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0])
def test_a_cyclical_weight_is_the_formula_of_its_paper(ratio, cycles):
    def formula(step):
        phase = (step % 20) / 20
        done = cycles is not None and step >= 20 * cycles
        return 3.0 if done or phase > ratio else 0.5 + (3.0 - 0.5) * phase / ratio

    ours = Cyclical(0.5, 3.0, 20, ratio=ratio, cycles=cycles)(steps(100))
    torch.testing.assert_close(ours, torch.tensor([formula(t) for t in range(100)]))


def test_a_piecewise_weight_interpolates_between_its_points():
    points = [(5, 1.0), (6, 4.0), (20, 4.0), (50, -0.5)]
    expected = np.interp(np.arange(70), *zip(*points, strict=True))
    torch.testing.assert_close(
        Piecewise(*points)(steps(70)), torch.tensor(expected, dtype=torch.float32)
    )


@pytest.mark.parametrize(
    "schedule", [Cyclical(0.0, 4.0, 4, cycles=2), Piecewise((1, 0.0), (3, 4.0))], ids=repr
)
def test_schedules_are_weights_that_follow_the_steps_of_training(schedule):
    elbo, pair, seen = BetaELBO(schedule), Pair(), []
    module = elbo(pair.model, pair.guide)
    for _ in range(10):
        seen.append(float(elbo.weight("kl")))
        module().backward()
    assert seen == pytest.approx([float(schedule(torch.tensor(float(t)))) for t in range(10)])
    assert repr(schedule) in repr(elbo)
    assert eval(repr(schedule)) == schedule


def test_a_schedule_has_the_same_text_in_every_process():
    halved = functools.partial(torch.mul, other=0.5)
    assert repr(BetaELBO(halved)) == repr(BetaELBO(functools.partial(torch.mul, other=0.5)))
    assert " at 0x" not in repr(BetaELBO(halved)) + repr(BetaELBO(Rising()))


class Rising:
    """A schedule with the representation that Python gives it."""

    def __call__(self, step):
        return step / 100


def test_invalid_schedules_are_refused():
    with pytest.raises(ValueError, match="period >= 1, got 0"):
        Cyclical(0.0, 1.0, 0)
    with pytest.raises(ValueError, match="ratio above 0 and up to 1, got 1.5"):
        Cyclical(0.0, 1.0, 10, ratio=1.5)
    with pytest.raises(ValueError, match="cycles >= 1 or None, got 0"):
        Cyclical(0.0, 1.0, 10, cycles=0)
    with pytest.raises(
        ValueError, match=r"two or more points \(step, weight\), got \(\(0, 1.0\),\)"
    ):
        Piecewise((0, 1.0))
    with pytest.raises(ValueError, match=r"increasing steps, got steps \[0, 5, 5\]"):
        Piecewise((0, 1.0), (5, 2.0), (5, 3.0))
