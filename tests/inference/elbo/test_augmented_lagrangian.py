"""The augmented Lagrangian against its rule and on a problem with a known solution."""

import math

import pytest
import torch
from torch import nn

from ppl_disentangle.inference import AugmentedLagrangian


def test_multiplier_and_penalty_follow_the_rule():
    lagrangian = AugmentedLagrangian(every=3, rho=0.5, growth=4.0, progress=0.25, maximum=20.0)
    values = [
        2.0,
        1.9,
        1.8,
        1.0,
        0.5,
        0.44,
        0.4,
        0.4,
        0.2,
        0.1,
        0.01,
        0.09,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        1.0,
    ]
    alpha, rho, reached = 0.0, 0.5, math.inf
    for step, h in enumerate(values, 1):
        lagrangian.advance(torch.tensor(h), step=torch.tensor(float(step)))
        if step % 3 == 0:
            alpha += rho * h
            if h > 0.25 * reached:
                rho = min(4.0 * rho, 20.0)
            reached = h
        h = torch.tensor(h, requires_grad=True)
        penalty = lagrangian.weight(h) * h
        assert penalty.item() == pytest.approx(alpha * h.item() + rho / 2 * h.item() ** 2)
        penalty.backward()
        assert h.grad.item() == pytest.approx(alpha + rho * h.item())
    assert rho == 20.0
    assert set(lagrangian.state_dict()) == {"multiplier", "rho", "reached"}


def test_it_finds_the_minimum_under_a_constraint():
    # min (x - 2)^2 + (y - 1)^2 subject to x^2 = 0: at (0, 1)
    point = nn.Parameter(torch.tensor([1.0, 0.0]))
    optimizer, lagrangian = (
        torch.optim.Adam([point], lr=0.02),
        AugmentedLagrangian(every=50, maximum=1e4),
    )
    for step in range(1, 2001):
        h = point[0].square()
        loss = (point - torch.tensor([2.0, 1.0])).square().sum() + lagrangian.weight(h) * h
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lagrangian.advance(h, step=torch.tensor(float(step)))
    torch.testing.assert_close(point.detach(), torch.tensor([0.0, 1.0]), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every >= 1 and growth >= 1, got every=0, growth=2.0"),
        ({"growth": 0.5}, "growth >= 1, got every=100, growth=0.5"),
        ({"rho": 0.0}, "0 < rho <= maximum, got rho=0.0"),
        ({"rho": 10.0, "maximum": 1.0}, "0 < rho <= maximum, got rho=10.0, maximum=1.0"),
        ({"progress": 1.0}, "0 < progress < 1, got 1.0"),
    ],
)
def test_arguments_out_of_their_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AugmentedLagrangian(**arguments)
