"""Causal data as grids over their free inputs."""

import itertools

import pytest
import torch

from ppl_disentangle.data import Flow, InputGrid, Pendulum, flow_grid, pendulum_grid


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


def test_units_that_form_no_grid_are_an_error():
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
