"""The drawn room, compared with real frames of 3D Shapes and with projective geometry."""

import colorsys
import math

import numpy as np
import pytest
import torch

from ppl_disentangle.data import Room
from ppl_disentangle.data.drawn import rays as constants
from ppl_disentangle.data.drawn.rays import SHAPES, shares
from tests import IMAGES

REAL = IMAGES / "shapes3d_real_notebook50.npz"
ROOM = Room()
INDEX = torch.randint(len(ROOM), (300,), generator=torch.Generator().manual_seed(0))
SKY, WALL, FLOOR, OBJECT, WHITE = range(5)


def test_the_room_looks_like_the_real_frames():
    with np.load(REAL, allow_pickle=False) as file:
        real = torch.from_numpy(file["images"]).permute(0, 3, 1, 2)
        drawn = ROOM.render(torch.from_numpy(file["factors_estimated"]))
    errors = (drawn.float() - real.float()).abs().mean((1, 2, 3))
    assert len(errors) == 50
    assert errors.mean() < 4.3
    assert errors.max() < 8
    # One class further in any factor is further from the real frame, but where the step of size or turn is small.
    for k in range(6):
        with np.load(REAL, allow_pickle=False) as file:
            other = torch.from_numpy(file["factors_estimated"])
        other[:, k] = (other[:, k] + ROOM.factor_sizes[k] // 2) % ROOM.factor_sizes[k]
        further = (ROOM.render(other).float() - real.float()).abs().mean((1, 2, 3))
        assert (further > errors).all(), ROOM.factor_names[k]


def test_the_factors_equal_the_readme_of_3d_shapes():
    assert len(ROOM) == 480_000
    assert ROOM.factor_sizes == (10, 10, 10, 8, 4, 15)
    for k in range(3):
        np.testing.assert_allclose(ROOM.factor_values[k], np.arange(10) / 10)
    np.testing.assert_allclose(ROOM.factor_values[3], np.linspace(0.75, 1.25, 8))
    assert ROOM.factor_values[4] == ("cube", "cylinder", "sphere", "capsule")
    np.testing.assert_allclose(ROOM.factor_values[5], np.linspace(-30, 30, 15), atol=1e-12)
    steps = np.cumprod([1, 15, 4, 8, 10, 10])[::-1]  # orientation fastest
    assert ROOM.index(torch.eye(6, dtype=torch.int64)).tolist() == steps.tolist()


def test_images_are_uint8_and_the_same_alone_and_in_a_batch():
    images = ROOM.observations(INDEX)
    assert images.shape == (300, 3, 64, 64)
    assert images.dtype == torch.uint8
    assert torch.equal(images, torch.cat([ROOM.observations(i[None]) for i in INDEX]))


def test_values_of_the_grid_are_drawn_as_the_grid():
    factors = ROOM.factors(INDEX[:24])
    hues, scale, shape, turn = factors[:, :3] / 10, factors[:, 3], factors[:, 4], factors[:, 5]
    values = torch.cat([hues, torch.stack([0.75 + scale / 14, shape, -30 + turn * 30 / 7], -1)], -1)
    drawn = ROOM.draw(values)
    assert (
        255 * drawn - ROOM.render(factors).float()
    ).abs().max() <= 3  # five shares, each rounded by half a level


def test_each_hue_colours_its_surface_and_no_other():
    factors = ROOM.factors(INDEX[:50])
    scene = shares_of(factors)
    for column, surface in ((0, FLOOR), (1, WALL), (2, OBJECT)):
        other = factors.clone()
        other[:, column] = (other[:, column] + 5) % 10
        changed = (ROOM.render(factors) != ROOM.render(other)).any(1)
        assert not (changed & (scene[:, surface] == 0)).any()
        assert changed[scene[:, surface] > 0.2].all()


def test_colours_are_hues_at_full_saturation_and_value():
    factors = torch.tensor([[k, (k + 3) % 10, 0, 0, 2, 7] for k in range(10)])
    scene = shares_of(factors)[0]
    lightest = scene[FLOOR].flatten().argmax()
    assert scene[FLOOR].max() > 0.99
    seen = ROOM.render(factors).flatten(2)[:, :, lightest]
    expected = 255 * torch.tensor([colorsys.hsv_to_rgb(k / 10, 1, 1) for k in range(10)])
    assert (seen - expected).abs().max() <= 2.5
    assert ROOM.render(factors)[0, :, 0, 0].tolist() == [154, 226, 249]


def shares_of(factors):
    parts = [
        shares(
            shape,
            torch.tensor([0.75 + scale / 14]),
            torch.tensor([-30 + turn * 30 / 7]),
            size=64,
            samples=2,
        )
        for scale, shape, turn in factors[:, 3:].tolist()
    ]
    return torch.cat(parts)


def surface(shape, scale):
    """Points on the surface of an object that stands on the floor at the origin: ``(num, 3)``."""
    u, v = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, 481), np.linspace(-1, 1, 481)))
    turn, flat = math.pi * u, np.zeros_like(u)
    ball = np.stack(
        [np.cos(turn) * np.cos(math.pi / 2 * v), np.sin(turn) * np.cos(math.pi / 2 * v)], -1
    )
    ball = np.column_stack([ball, np.sin(math.pi / 2 * v)])
    if SHAPES[shape] == "cube":
        half = constants._CUBE_HALF_EDGE
        sides = [
            np.insert(np.stack([u, v], -1), axis, side, 1) for axis in range(3) for side in (-1, 1)
        ]
        points = half * np.concatenate(sides)
    elif SHAPES[shape] == "sphere":
        half, points = constants._SPHERE_RADIUS, constants._SPHERE_RADIUS * ball
    elif SHAPES[shape] == "cylinder":
        half, radius = constants._CYLINDER_HALF_HEIGHT, constants._CYLINDER_RADIUS
        mantle = np.stack([radius * np.cos(turn), radius * np.sin(turn), half * v], -1)
        lids = [
            np.stack([radius * v * np.cos(turn), radius * v * np.sin(turn), flat + s * half], -1)
            for s in (-1, 1)
        ]
        points = np.concatenate([mantle, *lids])
    else:
        radius, straight = constants._CAPSULE_RADIUS, constants._CAPSULE_HALF_HEIGHT
        half = radius + straight
        mantle = np.stack([radius * np.cos(turn), radius * np.sin(turn), straight * v], -1)
        ends = [radius * ball + [0, 0, s * straight] for s in (-1, 1)]
        points = np.concatenate([mantle, *ends])
    return scale * (points + [0, 0, half])


def pixels(points, degrees):
    """Where a pinhole camera sees points: right and down, in pixels of 64."""
    azimuth = math.radians(degrees)
    eye = np.array([math.sin(azimuth), -math.cos(azimuth), constants._CAMERA_HEIGHT])
    ahead = np.array([0, 0, constants._TARGET_HEIGHT]) - eye
    ahead = ahead / np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 0, 1])
    right = right / np.linalg.norm(right)
    up = np.cross(right, ahead)
    x, y, depth = ((points - eye) @ np.stack([right, up, ahead], -1)).T
    focal = 32 / math.tan(constants._FIELD_OF_VIEW_RADIANS / 2)
    return 32 + focal * x / depth, 32 - focal * y / depth


@pytest.mark.parametrize("shape", range(4), ids=SHAPES)
@pytest.mark.parametrize(("scale", "degrees"), [(0.75, -30.0), (1.25, 17.0), (1.0, 0.0)])
def test_an_object_covers_the_pixels_that_its_surface_projects_to(shape, scale, degrees):
    right, down = pixels(surface(shape, scale), degrees)
    expected = np.zeros((256, 256), bool)
    expected[np.floor(4 * down).astype(int), np.floor(4 * right).astype(int)] = True
    scene = shares(shape, torch.tensor([scale]), torch.tensor([degrees]), size=256, samples=1)[0]
    seen = ((scene[OBJECT] + scene[WHITE]) > 0).numpy()
    rows, columns = (np.flatnonzero(expected.any(axis)) for axis in (1, 0))
    seen_rows, seen_columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    assert abs(rows[[0, -1]] - seen_rows[[0, -1]]).max() <= 1
    assert abs(columns[[0, -1]] - seen_columns[[0, -1]]).max() <= 1
    assert (seen != expected).sum() <= 1.5 * (np.ptp(rows) + np.ptp(columns))  # the outline alone


def test_the_shadow_is_where_the_sun_does_not_come_past_a_sphere():
    scene = shares(2, torch.tensor([1.0]), torch.tensor([0.0]), size=128, samples=1)[0]
    right, down = np.meshgrid(np.linspace(-0.2, 0.2, 61), np.linspace(-0.2, 0.2, 61))
    ground = np.stack([right.ravel(), down.ravel(), np.zeros(61 * 61)], -1)
    sun = np.array(constants._SUN_DIRECTION) / np.linalg.norm(constants._SUN_DIRECTION)
    from_centre = ground - [0, 0, constants._SPHERE_RADIUS]
    distance = np.linalg.norm(np.cross(from_centre, sun), axis=1)
    x, y = (np.floor(2 * p).astype(int) for p in pixels(ground, 0.0))
    floor = scene[FLOOR].numpy()[y, x]
    clear = floor > 0  # the floor is seen there, and not the sphere
    inside, outside = (
        distance < constants._SPHERE_RADIUS - 0.02,
        distance > constants._SPHERE_RADIUS + 0.02,
    )
    assert (clear & inside).sum() > 20
    np.testing.assert_allclose(floor[clear & inside], constants._SHADOW_BRIGHTNESS, atol=1e-6)
    assert floor[clear & outside].min() > constants._SHADOW_BRIGHTNESS + 0.1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 1.5, r"expected floor_hue in \[0, 1\], got 1.5"),
        (3, 0.25, r"expected scale in \[0.5, 1.5\], got 0.25"),
        (4, 4.0, r"expected shape in \[0, 3\], got 4"),
        (5, math.nan, r"expected orientation in \[-45, 45\], got nan"),
    ],
)
def test_draw_rejects_values_outside_its_range(column, value, message):
    values = torch.tensor([[0.5, 0.5, 0.5, 1, 1, 0.0]] * 2)
    values[1, column] = value
    with pytest.raises(ValueError, match=message):
        ROOM.draw(values)
