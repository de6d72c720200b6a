"""XY squares, two objects and grids of causal scenes against loops; the catalogue against the data."""

import itertools
import math

import numpy as np
import pytest
import torch

from ppl_disentangle.data import (
    Flow,
    InputGrid,
    Pendulum,
    Sprites,
    TwoObjects,
    XYSquares,
    catalogue,
    flow_grid,
    pendulum_grid,
)
from ppl_disentangle.data.load import NAMES


def test_the_squares_are_where_their_factors_say():
    squares = XYSquares()
    index = torch.randint(len(squares), (50,), generator=torch.Generator().manual_seed(0))
    for image, i in zip(squares.observations(index).numpy(), index.tolist(), strict=True):
        places = np.unravel_index(i, (8,) * 6)  # x and y of red, of green, of blue
        expected = np.zeros((3, 64, 64), np.uint8)
        for channel in range(3):
            x, y = places[2 * channel : 2 * channel + 2]
            expected[channel, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = 255
        assert np.array_equal(image, expected)


def test_the_distance_of_two_images_of_squares_counts_the_squares_that_moved():
    squares, rng = XYSquares(), torch.Generator().manual_seed(1)
    one, other = (squares.sample_factors(200, rng) for _ in range(2))
    pixels = (squares.render(one) != squares.render(other)).sum((1, 2, 3))
    moved = (one != other).view(-1, 3, 2).any(-1).sum(-1)
    assert torch.equal(pixels, 128 * moved)


def test_the_front_covers_the_back():
    scene, sprites = TwoObjects(), Sprites()
    places = [0, 4, 8, 13, 17, 22, 26, 31]
    colours = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)]
    index = torch.randint(len(scene), (30,), generator=torch.Generator().manual_seed(0))
    factors = scene.factors(index)
    overlaps = 0
    for image, row in zip(scene.observations(index), factors.tolist(), strict=True):
        masks = [
            sprites.render(torch.tensor([[shape, 5, 0, places[x], places[y]]]))[0, 0].bool()
            for shape, _, x, y in (row[:4], row[4:])
        ]
        overlaps += bool((masks[0] & masks[1]).any())
        expected = torch.zeros(64, 64, 3, dtype=torch.uint8)
        for mask, hue in zip(masks, (row[1], row[5]), strict=True):
            expected[mask] = torch.tensor(colours[hue], dtype=torch.uint8)
        assert torch.equal(image, expected.permute(2, 0, 1))
    assert overlaps > 3
    values = [sprites.space[3].values[k] for k in places]
    assert scene.factor_values[2] == scene.factor_values[7] == tuple(values)


@pytest.mark.parametrize(("grid", "scene"), [(pendulum_grid, Pendulum), (flow_grid, Flow)])
def test_a_grid_of_a_scene_has_its_images_in_its_order(grid, scene):
    grid, scene = grid(size=24), scene(size=24)
    assert len(grid) == len(scene)
    index = torch.randint(len(grid), (40,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(grid.observations(index), scene.observations(index))
    assert torch.equal(grid.render(grid.factors(index)), scene.observations(index))


def test_the_grid_of_the_pendulum_is_the_published_one():
    grid = pendulum_grid(size=16)
    named = itertools.product(range(-40, 44), (j for j in range(60, 148) if j != 100))
    found = [
        tuple(values[c] for values, c in zip(grid.factor_values, row, strict=True))
        for row in grid.factors(torch.arange(7308)).tolist()
    ]
    assert found == list(named)


def test_without_the_clamp_the_short_shadows_are_shorter_and_no_other_image_differs():
    clamped, free = pendulum_grid(size=48), pendulum_grid(size=48, clamp=False)
    index = torch.arange(0, 7308, 61)
    differs = (clamped.observations(index) != free.observations(index)).flatten(1).any(1)
    length = Pendulum(size=48, clamp=False).values[index, 2]
    assert differs[length < 2.9].all()
    assert not differs[length >= 3].any()
    assert 0 < (length < 2.9).sum() < len(index)


def test_the_grid_of_the_flow_names_the_free_water_and_not_the_height():
    grid, flow = flow_grid(size=16), Flow(size=16)
    assert grid.factor_names == ("ball", "water", "hole")
    height = flow.values[:, 1] - (flow.values[:, 0] / 30) ** 3
    water = torch.tensor(grid.factor_values[1])[grid.factors(torch.arange(8100))[:, 1]]
    torch.testing.assert_close(height, water)


def test_a_grid_of_units_that_are_none_is_an_error():
    with pytest.raises(
        ValueError, match=r"every combination of {'a': 50, 'l': 50} once and in order, got 50 other"
    ):
        InputGrid(Pendulum(50, size=16), {"angle": "a", "light": "l"})
    with pytest.raises(
        ValueError, match=r"of {'light': 87, 'angle': 84} once and in order, got 7308 other units"
    ):
        InputGrid(Pendulum(size=16), {"light": "light", "angle": "angle"})
    with pytest.raises(ValueError, match=r"expected nodes among \['angle', .*\], got \['moon'\]"):
        InputGrid(Pendulum(50, size=16), {"moon": "moon"})


@pytest.mark.parametrize("entry", [e for e in catalogue() if e.needs_no_file], ids=lambda e: e.name)
def test_the_catalogue_says_what_the_data_are(entry):
    data = NAMES[entry.name]()
    assert (data.name, len(data)) == (entry.name, entry.num_data)
    assert (data.factor_names, data.factor_sizes) == (entry.factors, entry.sizes)
    assert (math.prod(entry.sizes) == entry.num_data) == (
        entry.name not in ("pendulum", "flow", "thickness_intensity", "digits")
    )


def test_the_catalogue_has_each_name_once_and_all_that_load_data_knows():
    names = [entry.name for entry in catalogue()]
    assert len(names) == len(set(names))
    assert [entry.name for entry in catalogue() if entry.needs_no_file] == list(NAMES)
    for entry in catalogue():
        assert len(entry.factors) == len(entry.sizes)
        assert entry.description.endswith(".")
        assert entry.licence
        assert entry.source
