"""The grid of 3D Shapes, drawn on the fly: an object in a coloured room, 64 x 64 pixels in RGB."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorGrid
from ppl_disentangle.data.drawn.rays import SHAPES, shares

__all__ = ["Room"]

_SKY, _WHITE = (154.0, 226.0, 249.0), (255.0, 255.0, 255.0)
_CHUNK, _SAMPLES = 256, 2
_LOWEST = (0.0, 0.0, 0.0, 0.5, 0.0, -45.0)
_HIGHEST = (1.0, 1.0, 1.0, 1.5, 3.0, 45.0)


class Room(FactorGrid):
    r"""All 480,000 combinations of 3D Shapes [1], in the order of its file, drawn instead of read.

    A pixel is a mixture of five colours with the shares w of what it sees,

    .. math::
        x = w_{\text{sky}} s + w_{\text{wall}} c(h_{\text{wall}}) + w_{\text{floor}} c(h_{\text{floor}})
        + w_{\text{object}} c(h_{\text{object}}) + w_{\text{white}} 1,

    with c(h) the colour of hue h at full saturation and value. The shares hold the light, and depend on shape, scale
    and orientation alone: rays are cast once for each of the 480 scenes, in the first call of :meth:`render`, which
    takes seconds, and are kept in 10 MB for the life of the process.

    It looks like 3D Shapes, and is no copy: the camera, the room, the objects and the lamps are fitted on 50 frames,
    from which the drawn ones differ by 4.2 of 255 levels in the mean; the walls have no grain here. Scores on the
    two are not to be compared.

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
        self.name, self.observation_shape, self.maximum = "room", (3, 64, 64), 255
        hue = tuple(k / 10 for k in range(10))
        self.space = (
            Factor("floor_hue", hue, "cyclic"),
            Factor("wall_hue", hue, "cyclic"),
            Factor("object_hue", hue, "cyclic"),
            Factor("scale", tuple(np.linspace(0.75, 1.25, 8).tolist())),
            Factor("shape", SHAPES, "categorical"),
            Factor("orientation", tuple(np.linspace(-30, 30, 15).tolist())),
        )

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 6)``: uint8 ``(batch, 3, 64, 64)``."""
        table = _scenes().on(factors.device)
        return torch.cat([self._mix(table, chunk) for chunk in factors.split(_CHUNK)])

    def _mix(self, table: Tensor, factors: Tensor) -> Tensor:
        scene = (factors[:, 3] * 4 + factors[:, 4]) * 15 + factors[:, 5]
        tenths = _rainbow(torch.arange(10, device=factors.device) / 10).round_()
        colours = tenths.index_select(0, factors[:, :3].flatten()).view(-1, 3, 3)
        # Shares and colours are whole numbers here, whose sums of products are exact in floats of any order.
        mixed = _mixed(table.index_select(0, scene).float(), colours)
        return mixed.mul_(1 / 255).round_().clamp_(max=255).to(torch.uint8)

    def draw(self, values: Tensor) -> Tensor:
        """Images of any values between those of the grid and somewhat beyond; each is cast anew, which is slow.

        Args:
            values: hue of floor, wall and object in [0, 1], scale in [0.5, 1.5], shape class, and orientation in
                degrees in [-45, 45]; of shape ``(batch, 6)``.

        Returns:
            Floats in [0, 1] of shape ``(batch, 3, 64, 64)``.
        """
        for name, column, low, high in zip(
            self.factor_names, values.unbind(-1), _LOWEST, _HIGHEST, strict=True
        ):
            outside = column[~((low <= column) & (column <= high))]
            if len(outside):
                raise ValueError(
                    f"expected {name} in [{low:g}, {high:g}], got {outside[0].item():g}"
                )
        seen = values.new_empty(len(values), 5, 64, 64)
        for shape in range(len(SHAPES)):
            for rows in (values[:, 4].long() == shape).nonzero()[:, 0].split(_CHUNK // 8):
                seen[rows] = shares(
                    shape, values[rows, 3], values[rows, 5], size=64, samples=_SAMPLES
                )
        return (_mixed(seen, _rainbow(values[:, :3])) / 255).clamp(max=1)


def _mixed(seen: Tensor, colours: Tensor) -> Tensor:
    """Images ``(batch, 3, height, width)`` from :func:`shares` and colours of floor, wall, object ``(batch, 3, 3)``."""
    sky, white = (
        colours.new_tensor(colour).expand(len(colours), 1, 3) for colour in (_SKY, _WHITE)
    )
    colours = torch.cat([sky, colours[:, [1, 0, 2]], white], 1)  # (batch, 5, 3)
    return (colours.mT @ seen.flatten(2)).unflatten(2, seen.shape[2:])


def _rainbow(hues: Tensor) -> Tensor:
    """Colours of hues at full saturation and value, ``(*hues.shape, 3)``: 0 to 255."""
    sixths = (hues[..., None] * 6 + hues.new_tensor([5, 3, 1])) % 6
    return 255 * (1 - torch.minimum(sixths, 4 - sixths).clamp(0, 1))


@functools.cache
def _scenes() -> DeviceCopies:
    """The shares of every scale, shape and orientation, in this order: uint8 of shape ``(480, 5, 64, 64)``."""
    scale = torch.linspace(0.75, 1.25, 8).repeat_interleave(15)
    degrees = torch.linspace(-30, 30, 15).repeat(8)
    chunks = []
    for shape in range(len(SHAPES)):
        parts = zip(scale.split(15), degrees.split(15), strict=True)
        seen = torch.cat([shares(shape, *part, size=64, samples=_SAMPLES) for part in parts])
        chunks.append((255 * seen).round_().to(torch.uint8).unflatten(0, (8, 15)))
    return DeviceCopies(torch.stack(chunks, 1).flatten(0, 2))
