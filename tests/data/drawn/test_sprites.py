"""The drawn sprites, compared with real images of dSprites and with closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl_disentangle.data import Sprites
from tests import IMAGES

REAL = IMAGES
SPRITES = Sprites()
INDEX = torch.randint(len(SPRITES), (300,), generator=torch.Generator().manual_seed(0))


def read_real(name):
    with np.load(REAL / f"dsprites_real_{name}.npz", allow_pickle=False) as file:
        return torch.from_numpy(file["latents_classes"][:, 1:]), torch.from_numpy(file["imgs"])


@pytest.mark.parametrize(("name", "num", "allowed"), [("gif258", 258, 4), ("notebook43", 43, 6)])
def test_sprites_differ_from_real_images_in_few_pixels(name, num, allowed):
    classes, images = read_real(name)
    differing = (SPRITES.render(classes)[:, 0] != images).sum((1, 2))
    assert len(differing) == num
    assert differing.max() <= allowed
    assert differing.float().mean() < 1


def test_observations_are_binary_uint8_images():
    images = SPRITES.observations(INDEX)
    assert images.shape == (300, 1, 64, 64)
    assert images.dtype == torch.uint8
    assert images.unique().tolist() == [0, 1]
    assert torch.equal(SPRITES.to_float(images), images.float())


def test_the_factors_equal_the_readme_of_dsprites():
    assert len(SPRITES) == 737_280
    assert SPRITES.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert SPRITES.factor_sizes == (3, 6, 40, 32, 32)
    shape, scale, orientation, x, y = SPRITES.factor_values
    assert shape == ("square", "ellipse", "heart")
    np.testing.assert_allclose(scale, [0.5, 0.6, 0.7, 0.8, 0.9, 1], atol=1e-12)
    np.testing.assert_allclose(np.diff(orientation), 0.16110731, atol=1e-8)
    assert (orientation[0], orientation[-1]) == (0, 2 * math.pi)
    assert x == y == tuple(np.linspace(0, 1, 32))
    kinds = [factor.kind for factor in SPRITES.space]
    assert kinds == ["categorical", "ordinal", "cyclic", "ordinal", "ordinal"]


@given(st.integers(0, 736_000), st.integers(0, 1_000))
def test_factors_and_index_are_row_major_and_inverse(start, num):
    index = torch.arange(start, start + num)
    factors = SPRITES.factors(index)
    expected = np.stack(np.unravel_index(index.numpy(), (3, 6, 40, 32, 32)), -1)
    assert np.array_equal(factors, expected)
    assert torch.equal(SPRITES.index(factors), index)


def test_values_equal_the_factor_values_at_every_class():
    factors = torch.tensor([[k % size for size in SPRITES.factor_sizes] for k in range(40)])
    expected = [
        [values[k % len(values)] for values in SPRITES.factor_values[1:]] for k in range(40)
    ]
    values = SPRITES.values(factors)
    torch.testing.assert_close(values[:, 1:], torch.tensor(expected))
    assert torch.equal(values[:, 0], factors[:, 0].float())


def test_the_first_and_the_last_orientation_are_one_picture():
    positions = torch.arange(0, 32, 3)
    grid = torch.cartesian_prod(
        torch.arange(3), torch.arange(6), torch.tensor([0, 39, 1]), positions, positions
    )
    first, last, second = SPRITES.render(grid).view(18, 3, -1, 64, 64).unbind(1)
    assert torch.equal(first, last)
    assert (first != second).any((-1, -2)).all()


def test_a_chunked_batch_equals_its_parts():
    assert torch.equal(
        SPRITES.observations(INDEX), torch.cat([SPRITES.observations(i[None]) for i in INDEX])
    )
    assert SPRITES.observations(INDEX[:0]).shape == (0, 1, 64, 64)


def test_rendering_stays_on_the_device_of_the_factors():
    images = SPRITES.observations(torch.zeros(300, dtype=torch.int64, device="meta"))
    assert images.device.type == "meta"
    assert images.shape == (300, 1, 64, 64)


def test_an_index_beyond_the_grid_is_an_error():
    with pytest.raises(IndexError, match="out of range"):
        SPRITES.observations(torch.tensor([737_280]))


def test_draw_without_smoothing_equals_render():
    factors = SPRITES.factors(INDEX)
    drawn = SPRITES.draw(SPRITES.values(factors), antialias=1)
    assert drawn.is_floating_point()
    assert torch.equal(drawn, SPRITES.render(factors).float())


def polygon(shape):
    """The outline of a sprite at scale 1 as a polygon, y down: the heart by its parametric curve."""
    t = np.linspace(0, 2 * np.pi, 20_001)
    if shape == 0:
        return 9.6 * np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])
    if shape == 1:
        return np.stack([12.8 * np.cos(t), 7.2 * np.sin(t)])
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([9.6 * np.sin(t) ** 3, -0.66383 * y - 1.436])


def area_and_centroid(x, y):
    """Area and centroid of a closed polygon, by Green's theorem."""
    cross = x[:-1] * y[1:] - x[1:] * y[:-1]
    area = cross.sum() / 2
    return (
        abs(area),
        ((x[:-1] + x[1:]) * cross).sum() / (6 * area),
        ((y[:-1] + y[1:]) * cross).sum() / (6 * area),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2), st.floats(0.5, 1), st.floats(-7, 7), st.floats(0, 1), st.floats(0, 1))
def test_area_and_centroid_of_a_drawn_sprite_equal_its_outlines(shape, scale, orientation, x, y):
    image = SPRITES.draw(torch.tensor([[shape, scale, orientation, x, y]]), antialias=15)[0, 0]
    u, v = scale * polygon(shape)
    cos, sin = math.cos(orientation), math.sin(orientation)
    area, right, down = area_and_centroid(
        16 + 32 * x + cos * u + sin * v, 16 + 32 * y - sin * u + cos * v
    )
    centres = torch.arange(64) + 0.5
    perimeter = scale * np.linalg.norm(np.diff(polygon(shape)), axis=0).sum()
    assert image.sum().item() == pytest.approx(area, abs=perimeter / 15)
    assert (image.sum(0) @ centres / image.sum()).item() == pytest.approx(right, abs=1 / 15)
    assert (image.sum(1) @ centres / image.sum()).item() == pytest.approx(down, abs=1 / 15)


@pytest.mark.parametrize("antialias", [1, 5])
def test_the_window_cuts_nothing_off(monkeypatch, antialias):
    largest = torch.cartesian_prod(
        torch.arange(3.0),
        torch.ones(1),
        torch.arange(6) * math.pi / 12,
        *[torch.tensor([0, 0.48, 0.51, 1])] * 2,
    )
    windowed = SPRITES.draw(largest, antialias=antialias)
    monkeypatch.setattr("ppl_disentangle.data.drawn.sprites._WINDOW_ROWS", 64)
    monkeypatch.setattr("ppl_disentangle.data.drawn.sprites._WINDOW_WORDS", 16)
    assert torch.equal(windowed, SPRITES.draw(largest, antialias=antialias))


def test_smoothing_shows_a_turn_of_one_degree():
    values = SPRITES.values(SPRITES.factors(INDEX))
    turned = values + torch.tensor([0, 0, math.radians(1), 0, 0])
    unchanged = [
        (SPRITES.draw(values, antialias=n) == SPRITES.draw(turned, antialias=n))
        .all((1, 2, 3))
        .float()
        .mean()
        for n in (1, 2)
    ]
    assert unchanged[0] > 0.05
    assert unchanged[1] < 0.03


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 3.0, r"expected shape in \[0, 2\], got 3"),
        (1, 1.25, r"expected scale in \[0, 1\], got 1.25"),
        (2, math.nan, r"expected orientation in \[-inf, inf\], got nan"),
        (3, -0.5, r"expected x in \[0, 1\], got -0.5"),
        (4, 1.5, r"expected y in \[0, 1\], got 1.5"),
    ],
)
def test_draw_rejects_values_outside_its_range(column, value, message):
    values = torch.tensor([[1, 0.5, 0, 0.5, 0.5]] * 2)
    values[1, column] = value
    with pytest.raises(ValueError, match=message):
        SPRITES.draw(values)


@pytest.mark.parametrize("antialias", [0, 16])
def test_draw_rejects_an_antialias_that_it_cannot_count(antialias):
    with pytest.raises(ValueError, match=f"expected 1 <= antialias <= 15, got {antialias}"):
        SPRITES.draw(torch.tensor([[1, 0.5, 0, 0.5, 0.5]]), antialias=antialias)
