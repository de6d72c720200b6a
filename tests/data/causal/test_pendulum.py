"""The pendulum: its geometry, its published figures, its ranges."""

import math

import numpy as np
import pytest
import torch

from ppl_disentangle.data import Pendulum

# angle ──► shadow_length
#       ╲ ╱
#       ╱ ╲
# light ──► shadow_position


def where_light_falls(x, y, light):
    """Where the ray through a point, at the angle of the light, meets the ground at -0.5: two points on a line."""
    step = np.array([math.cos(light), math.sin(light)])
    return x + (-0.5 - y) / step[1] * step[0]


def test_the_shadow_lies_where_the_light_casts_it():
    pendulum = Pendulum()
    for i in range(0, 7308, 101):
        angle, light, length, position = pendulum.values[i].tolist()
        theta, phi = angle * math.pi / 200, light * math.pi / 200
        start = where_light_falls(10, 10.5, phi)
        end = where_light_falls(10 + 9.5 * math.sin(theta), 10.5 - 9.5 * math.cos(theta), phi)
        assert length == pytest.approx(max(3, abs(start - end)), abs=1e-4)
        assert position == pytest.approx((start + end) / 2, abs=1e-4)


def linear_fit(predictors, outcome):
    """Share of the variance that a linear regression explains."""
    design = torch.cat([predictors, torch.ones(len(predictors), 1)], 1).double()
    residual = (
        outcome.double()
        - design @ torch.linalg.lstsq(design, outcome.double()[:, None]).solution[:, 0]
    )
    return 1 - (residual.var() / outcome.double().var()).item()


def test_the_published_pendulum_has_its_published_figures():
    pendulum = Pendulum()
    values = pendulum.values
    angle, light, length, position = values.unbind(1)
    assert len(pendulum) == 7308
    assert values[0, :2].tolist() == [-40, 60]
    assert values[1, :2].tolist() == [-40, 61]
    assert (length.min(), length.max()) == pytest.approx((3.00, 12.58), abs=0.005)
    assert (length.mean(), length.std()) == pytest.approx((4.97, 2.37), abs=0.005)
    assert (position.min(), position.max()) == pytest.approx((2.01, 19.61), abs=0.005)
    assert (position.mean(), position.std()) == pytest.approx((10.54, 3.43), abs=0.005)
    assert (length == 3).float().mean().item() == pytest.approx(0.396, abs=5e-4)
    leaves = (position - length / 2 < 0) | (position + length / 2 > 20)
    assert leaves.float().mean().item() == pytest.approx(0.016, abs=5e-4)
    assert linear_fit(values[:, :2], position) == pytest.approx(0.996, abs=5e-4)
    assert linear_fit(values[:, :2], length) == pytest.approx(0.017, abs=5e-4)
    training, test = pendulum.published_split()
    assert (len(training), len(test)) == (5482, 1826)
    assert torch.equal(torch.cat([training, test]).sort().values, torch.arange(7308))
    assert test[:3].tolist() == [4, 8, 12]


def test_a_shadow_keeps_its_noise_when_the_light_moves():
    noisy, clean = Pendulum(500, noise=0.5, seed=2), Pendulum(500, noise=0.0, seed=2)
    assert torch.equal(noisy.noise, clean.noise)
    everything = torch.arange(500)
    for do in ({}, {"light": 80.0}, {"angle": torch.linspace(-50, 50, 500)}):
        error = noisy.intervene(everything, do) - clean.intervene(everything, do)
        torch.testing.assert_close(error[:, 2:], 0.5 * noisy.noise[:, 2:], atol=1e-4, rtol=0)
    assert abs(noisy.noise[:, 2:].std() - 1) < 0.05
    assert abs(torch.corrcoef(noisy.noise[:, 2:].T)[0, 1]) < 0.15


def test_without_clamp_short_shadows_stay_short():
    free, clamped = Pendulum(1000, clamp=False).values, Pendulum(1000).values
    assert free[:, 2].min() < 0.1
    assert torch.equal(free[:, 2].clamp(min=3), clamped[:, 2])


def test_random_angles_fill_the_range_of_the_grid():
    angle, light = Pendulum(5000).values[:, :2].T
    assert -40 <= angle.min() < -39.5 < 42.5 < angle.max() <= 43
    assert 60 <= light.min() < 60.5 < 146.5 < light.max() <= 147
    assert abs(torch.corrcoef(torch.stack([angle, light]))[0, 1]) < 0.05
