"""The four numbers of a pendulum, measured in an image by geometry alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_disentangle.data import Pendulum
from ppl_disentangle.data.drawn.strokes import BLACK, FIREBRICK, ORANGE

LEFT, WIDTH, BOTTOM, HEIGHT = 0.125, 0.775, 0.11, 0.77
LIGHTS = torch.linspace(58, 149, 183)
LENGTHS = torch.linspace(1, 14, 131)


def read(images: Tensor) -> Tensor:
    """Angle, light, length and position of the shadow, ``(batch, 4)``, of float images ``(batch, 3, size, size)``.

    The colours of a pixel are shares of white, black, red and orange. The bob is where the red is, the lamp where the
    orange is, the shadow where the ground is black. Lamp and length are read from how they look in true images, since
    the frame cuts them off.
    """
    lamp, length = calibration(images.shape[-1])
    angle, centre, black, position = landmarks(images)
    return torch.stack(
        [angle, interpolate(centre, *lamp), interpolate(black, *length), position], -1
    )


def landmarks(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The angle, the horizontal centre of the lamp, how much of the ground is black, and the centre of that."""
    palette = torch.tensor([(1.0, 1.0, 1.0), BLACK, FIREBRICK, ORANGE])
    equations = torch.cat([palette, torch.ones(4, 1)], 1).T
    shares = torch.linalg.solve(
        equations, torch.nn.functional.pad(images, (0, 0, 0, 0, 0, 1), value=1.0).flatten(2)
    )
    _, black, red, orange = (
        torch.where(shares > 0.1, shares, 0.0).unflatten(-1, images.shape[-2:]).unbind(1)
    )
    centres = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
    x, y = 20 * (centres - LEFT) / WIDTH, 22 * (1 - centres - BOTTOM) / HEIGHT - 1
    ground = black * (y < 0.6)[:, None]
    bob_x, bob_y = centre(red, x, -1), centre(red, y, -2)
    angle = torch.atan2(bob_x - 10, 10.5 - bob_y) * 200 / math.pi
    return (
        angle,
        centre(orange, x, -1),
        ground.sum((-1, -2)) / images.shape[-1],
        centre(ground, x, -1),
    )


def centre(share: Tensor, coordinate: Tensor, dim: int) -> Tensor:
    along = share.sum(-2 if dim == -1 else -1)
    return (along * coordinate).sum(-1) / along.sum(-1).clamp(min=1e-6)


def calibration(size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The measured lamp and shadow length in true images, in rising order, and the true values."""
    pendulum = Pendulum(1, size=size)

    def drawn(light: Tensor, length: Tensor) -> tuple[Tensor, ...]:
        values = torch.stack(
            torch.broadcast_tensors(torch.tensor(0.0), light, length, torch.tensor(10.0)), -1
        )
        return landmarks(pendulum.to_float(pendulum.render_values(values)))

    lamp, length = drawn(LIGHTS, torch.tensor(5.0))[1], drawn(torch.tensor(100.0), LENGTHS)[2]
    return (lamp.flip(0), LIGHTS.flip(0)), (length, LENGTHS)


def interpolate(x: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Linear between ``known``, which rises; its ends beyond."""
    right = torch.searchsorted(known.contiguous(), x.contiguous()).clamp(1, len(known) - 1)
    left = right - 1
    share = ((x - known[left]) / (known[right] - known[left])).clamp(0, 1)
    return torch.lerp(values[left], values[right], share)
