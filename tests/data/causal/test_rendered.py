"""Images of pendulum and flow, compared with matplotlib."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ppl_disentangle.data import Flow, Pendulum


def by_matplotlib(draw, values, *, snap):
    """The image that matplotlib makes of artists; ``snap`` moves upright and level edges to whole pixels."""
    figure = Figure((1, 1), dpi=96)
    axes = figure.add_subplot()
    axes.axis("off")
    draw(axes, *values)
    for artist in axes.get_children():
        artist.set_snap(snap)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].transpose(2, 0, 1) / 255


def draw_pendulum(axes, angle, light, length, position):
    theta, phi = angle * math.pi / 200, light * math.pi / 200
    bob = 10 + 8 * math.sin(theta), 10.5 - 8 * math.cos(theta)
    shadow = (position - length / 2, -0.5), (position + length / 2, -0.5)
    axes.add_artist(plt.Polygon(((10, 10.5), bob), color="black", linewidth=3))
    axes.add_artist(plt.Circle(bob, 1.5, color="firebrick"))
    axes.add_artist(plt.Circle((10 + 10 / math.tan(phi), 20.5), 3, color="orange"))
    axes.add_artist(plt.Polygon(shadow, color="black", linewidth=3))
    axes.set(xlim=(0, 20), ylim=(-1, 21))


def draw_flow(axes, ball, height, hole, jet):
    radius, hole = ball / 30, hole / 3
    axes.add_artist(plt.Rectangle((3, 0), 5, 5 + height, color="lightskyblue"))
    for line in ([(3, 0), (3, 19)], [(8, 0), (8, hole)], [(8, hole + 0.4), (8, 19)]):
        axes.add_artist(plt.Polygon(line, color="black", linewidth=2))
    axes.add_artist(plt.Circle((5.5, radius + 0.5), radius, color="firebrick"))
    y = np.linspace(hole, 0.5, 400)
    axes.plot(8 + jet * np.sqrt((hole - y) / (hole - 0.5)), y, color="lightskyblue", linewidth=2)
    axes.plot([0, 20], [0.2, 0.2], color="black", linewidth=2)
    axes.set(xlim=(0, 20), ylim=(0, 20))


WORLDS = {
    "pendulum": (Pendulum(size=96), draw_pendulum, {}),
    "light and shadow moved": (
        Pendulum(size=96),
        draw_pendulum,
        {"light": 120.0, "shadow_position": 17.0},
    ),
    "swung up": (Pendulum(size=96), draw_pendulum, {"angle": 130.0, "shadow_length": 0.5}),
    "flow": (Flow(size=96), draw_flow, {}),
    "high hole": (Flow(size=96), draw_flow, {"hole": 40.0, "height": 9.0}),
    "steep jet": (Flow(size=96), draw_flow, {"flow": 0.4, "ball": 60.0}),
}


@pytest.mark.parametrize(("data", "draw", "do"), WORLDS.values(), ids=list(WORLDS))
def test_images_equal_matplotlibs(data, draw, do):
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:6]
    values, images = data.counterfactual(index, do)
    expected = np.stack([by_matplotlib(draw, row, snap=False) for row in values.tolist()])
    error = np.abs(images.numpy() / 255 - expected)
    assert error.mean() < 3e-4
    assert error.max() < 0.25


@pytest.mark.parametrize(
    ("data", "draw", "allowed"),
    [WORLDS[n][:2] + (a,) for n, a in (("pendulum", 0.001), ("flow", 0.021))],
)
def test_published_images_differ_by_the_edges_that_matplotlib_moves(data, draw, allowed):
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:12]
    expected = np.stack(
        [by_matplotlib(draw, row, snap=None) for row in data.values[index].tolist()]
    )
    assert 0 < np.abs(data.observations(index).numpy() / 255 - expected).mean() < allowed


@pytest.mark.parametrize("cls", [Pendulum, Flow])
def test_any_resolution_shows_the_same_scene(cls):
    large, small = (
        cls(40, size=size, seed=1).observations(torch.arange(40)).float() / 255 for size in (96, 32)
    )
    assert (torch.nn.functional.avg_pool2d(large, 3) - small).abs().mean() < 0.01


@pytest.mark.parametrize("cls", [Pendulum, Flow])
def test_the_fourth_channel_is_opaque(cls):
    plain, opaque = (cls(5, channels=c).observations(torch.arange(5)) for c in (3, 4))
    assert plain.shape == (5, 3, 64, 64)
    assert opaque.dtype == torch.uint8
    assert torch.equal(opaque[:, :3], plain)
    assert (opaque[:, 3] == 255).all()


def test_a_batch_is_drawn_as_its_parts():
    data = Pendulum(size=24)
    index = torch.arange(0, 7308, 50)
    assert torch.equal(
        data.observations(index), torch.cat([data.observations(i[None]) for i in index])
    )
