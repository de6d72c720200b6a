"""Lines, discs and curves cover the pixels that they should."""

import math

import pytest
import torch

from ppl_disentangle.data.drawn.strokes import BLACK, Canvas


def canvas(size=64, num=1):
    return Canvas(torch.zeros(num), size, x_limits=(0, 20), y_limits=(0, 22))


def ink(painted):
    """Painted area in units of data, from black on white."""
    x_unit, y_unit = painted.size * 0.775 / 20, painted.size * 0.77 / 22
    return (1 - painted.images()[:, 0].float() / 255).sum((1, 2)) / (x_unit * y_unit)


def test_a_line_covers_its_length_times_its_width():
    angle = torch.linspace(0, math.pi, 9)
    painted = canvas(200, 9)
    x_unit, y_unit = 200 * 0.775 / 20, 200 * 0.77 / 22
    painted.line(
        (10, 11), (10 + 6 * angle.cos() / x_unit * 10, 11 + 6 * angle.sin() / y_unit * 10), 3, BLACK
    )
    torch.testing.assert_close(
        ink(painted), torch.full((9,), 60 * 3 * 200 / 72 / (x_unit * y_unit)), rtol=0.01, atol=0
    )


@pytest.mark.parametrize("size", [12, 64])
def test_thin_and_short_lines_fade_with_their_area(size):
    y = torch.linspace(10, 12, 20)
    for length in (0.0, 0.3, 1.0):
        painted = canvas(size, 20)
        painted.line((10.3, y), (10.3 + length, y), 0.5, BLACK)
        expected = length * (0.5 * size / 72) / (size * 0.77 / 22)
        torch.testing.assert_close(ink(painted), torch.full((20,), expected), rtol=0.15, atol=0.002)


def test_a_disc_covers_its_ellipse_with_its_edge():
    radius = torch.tensor([0.5, 1.5, 4.0])
    painted = canvas(160, 3)
    painted.disc(10.2, 11.1, radius, BLACK)
    x_unit, y_unit, edge = 160 * 0.775 / 20, 160 * 0.77 / 22, 160 / 144
    expected = math.pi * (radius * x_unit + edge) * (radius * y_unit + edge) / (x_unit * y_unit)
    torch.testing.assert_close(ink(painted), expected, rtol=0.01, atol=0)


def test_the_very_centre_of_a_disc_is_covered():
    painted = Canvas(torch.zeros(1), 64, x_limits=(0, 49.6), y_limits=(0, 49.28))
    painted.disc(24.5, 24.46, 5, BLACK)  # the middle of a pixel
    assert painted.images()[0, 0, 32, 32] == 0


def test_the_nearest_point_of_a_jet_is_found():
    size = 40
    painted = canvas(size, 4)
    reach, top = torch.tensor([0.2, 2.0, 5.0, 9.0]), torch.tensor([20.0, 3.0, 12.0, 1.0])
    painted.parabola((8, top), (8 + reach, 0.5), 4, BLACK)
    s = torch.linspace(0, 1, 4001)
    for k in range(4):
        x = size * (0.125 + 0.775 * (8 + reach[k] * s) / 20)
        y = size * (0.89 - 0.77 * (top[k] - (top[k] - 0.5) * s**2) / 22)
        centres = torch.arange(size) + 0.5
        distance = (
            ((centres[:, None, None] - y).square() + (centres[None, :, None] - x).square())
            .sqrt()
            .min(-1)
            .values
        )
        away_from_ends = (torch.hypot(centres[None] - x[0], centres[:, None] - y[0]) > 3) & (
            torch.hypot(centres[None] - x[-1], centres[:, None] - y[-1]) > 3
        )
        box = (centres[:, None] >= size * 0.12) & (centres[:, None] <= size * 0.89)
        expected = (0.5 + 2 * size / 72 - distance).clamp(0, 1)
        seen = 1 - painted.images()[k, 0].float() / 255
        torch.testing.assert_close(
            seen[away_from_ends & box], expected[away_from_ends & box], atol=0.01, rtol=0
        )
