"""The grid of 3D Shapes, drawn on the fly: an object in a coloured room, 64 x 64 pixels in RGB."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorGrid
from ppl_disentangle.data.drawn.ranges import check_ranges
from ppl_disentangle.data.drawn.rays import SHAPES, shares

__all__ = ["Room"]

_SKY_RGB = (154.0, 226.0, 249.0)
_WHITE_RGB = (255.0, 255.0, 255.0)
_NUM_HUES = 10
_NUM_SCALES = 8
_NUM_ORIENTATIONS = 15
_SIZE_PIXELS = 64
_CHUNK_IMAGES = 256
_CHUNK_CAST_IMAGES = 32
_RAYS_PER_PIXEL_SIDE = 2
_LOWEST = (0.0, 0.0, 0.0, 0.5, 0.0, -45.0)
_HIGHEST = (1.0, 1.0, 1.0, 1.5, 3.0, 45.0)


class Room(FactorGrid):
    r"""All 480,000 combinations of 3D Shapes [1], in the order of its file, drawn on the fly.

    A pixel is a mixture of five colours, weighted by the shares w of the surfaces that it sees:

    .. math::
        x = w_{\text{sky}} s + w_{\text{wall}} c(h_{\text{wall}}) + w_{\text{floor}} c(h_{\text{floor}})
        + w_{\text{object}} c(h_{\text{object}}) + w_{\text{white}} 1,

    with sky colour s and the colour c(h) of hue h at full saturation and value. The shares include
    the light and depend on shape, scale and orientation alone. The first call of :meth:`render`
    casts rays through the 480 scenes, which takes seconds, and keeps the shares in 10 MB for the
    life of the process.

    The images resemble 3D Shapes without being a copy: camera, room, objects and lamps were fitted
    on 50 frames, from which the drawn images differ by 4.2 of 255 levels on average, and the walls
    have no grain. Do not compare scores on the two data sets.

    References:
        [1] Burgess and Kim, 2018. 3D Shapes dataset. https://github.com/google-deepmind/3d-shapes

    Example:
        >>> room = Room()
        >>> len(room), room.factor_sizes
        (480000, (10, 10, 10, 8, 4, 15))
        >>> room.draw(torch.tensor([[0.0, 0.35, 0.7, 1.0, 2, 12.5]])).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self) -> None:
        self.name = "room"
        self.observation_shape = (3, _SIZE_PIXELS, _SIZE_PIXELS)
        self.maximum = 255
        hue = tuple(k / _NUM_HUES for k in range(_NUM_HUES))
        self.space = (
            Factor("floor_hue", hue, "cyclic"),
            Factor("wall_hue", hue, "cyclic"),
            Factor("object_hue", hue, "cyclic"),
            Factor("scale", tuple(np.linspace(0.75, 1.25, _NUM_SCALES).tolist())),
            Factor("shape", SHAPES, "categorical"),
            Factor("orientation", tuple(np.linspace(-30, 30, _NUM_ORIENTATIONS).tolist())),
        )

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 6)``: uint8 ``(batch, 3, 64, 64)``."""
        scenes = _scenes().on(factors.device)
        chunks = factors.split(_CHUNK_IMAGES)
        return torch.cat([_coloured_scenes(scenes, chunk) for chunk in chunks])

    def draw(self, values: Tensor) -> Tensor:
        """Images of any factor values on the grid, between its values and somewhat beyond.

        Each image is ray-cast anew, which is slow.

        Args:
            values: Hue of floor, wall and object in [0, 1], scale in [0.5, 1.5], shape class, and
                orientation in degrees in [-45, 45]; of shape ``(batch, 6)``.

        Returns:
            Floats in [0, 1] of shape ``(batch, 3, 64, 64)``.

        Raises:
            ValueError: A value is out of range.
        """
        check_ranges(self.factor_names, values, _LOWEST, _HIGHEST)
        scale = values[:, 3]
        orientation = values[:, 5]
        seen = values.new_empty(len(values), 5, _SIZE_PIXELS, _SIZE_PIXELS)
        for shape in range(len(SHAPES)):
            rows_of_shape = (values[:, 4].long() == shape).nonzero()[:, 0]
            for rows in rows_of_shape.split(_CHUNK_CAST_IMAGES):
                seen[rows] = _cast(shape, scale[rows], orientation[rows])
        return (_mixed(seen, _rainbow(values[:, :3])) / 255).clamp(max=1)


def _coloured_scenes(scenes: Tensor, factors: Tensor) -> Tensor:
    """Images of factor classes ``(batch, 6)``, from the shares of all scenes."""
    scale = factors[:, 3]
    shape = factors[:, 4]
    orientation = factors[:, 5]
    scene = (scale * len(SHAPES) + shape) * _NUM_ORIENTATIONS + orientation
    hues = torch.arange(_NUM_HUES, device=factors.device) / _NUM_HUES
    palette = _rainbow(hues).round_()  # (hues, 3)
    colours = palette.index_select(0, factors[:, :3].flatten()).view(-1, 3, 3)
    # Shares and colours are whole numbers: sums of their products are exact, in any order.
    mixed = _mixed(scenes.index_select(0, scene).float(), colours)
    return mixed.mul_(1 / 255).round_().clamp_(max=255).to(torch.uint8)


def _mixed(seen: Tensor, colours: Tensor) -> Tensor:
    """Images ``(batch, 3, height, width)`` as mixtures of colours.

    Args:
        seen: Shares of sky, wall, floor, object and white, ``(batch, 5, height, width)``.
        colours: Colours of floor, wall and object, ``(batch, 3, 3)``.
    """
    sky = colours.new_tensor(_SKY_RGB).expand(len(colours), 1, 3)
    white = colours.new_tensor(_WHITE_RGB).expand(len(colours), 1, 3)
    wall_floor_object = colours[:, [1, 0, 2]]
    all_colours = torch.cat([sky, wall_floor_object, white], 1)  # (batch, 5, 3)
    return (all_colours.mT @ seen.flatten(2)).unflatten(2, seen.shape[2:])


def _rainbow(hues: Tensor) -> Tensor:
    """Colours of hues at full saturation and value, ``(*hues.shape, 3)``: 0 to 255."""
    sixths = (hues[..., None] * 6 + hues.new_tensor([5, 3, 1])) % 6
    return 255 * (1 - torch.minimum(sixths, 4 - sixths).clamp(0, 1))


def _cast(shape: int, scale: Tensor, degrees: Tensor) -> Tensor:
    """Shares of the surfaces in each pixel, ``(batch, 5, 64, 64)``."""
    return shares(shape, scale, degrees, size=_SIZE_PIXELS, samples=_RAYS_PER_PIXEL_SIDE)


@functools.cache
def _scenes() -> DeviceCopies:
    """Shares of every scale, shape and orientation, in this order: uint8 ``(480, 5, 64, 64)``."""
    scales = torch.linspace(0.75, 1.25, _NUM_SCALES)
    degrees = torch.linspace(-30, 30, _NUM_ORIENTATIONS)
    by_shape = []
    for shape in range(len(SHAPES)):
        seen = [_cast(shape, scale.repeat(_NUM_ORIENTATIONS), degrees) for scale in scales]
        by_shape.append((255 * torch.stack(seen)).round_().to(torch.uint8))
    return DeviceCopies(torch.stack(by_shape, 1).flatten(0, 2))  # from (scale, shape, orientation)
