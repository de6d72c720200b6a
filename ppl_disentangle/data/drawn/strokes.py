"""Anti-aliased discs, lines and curves in batches of colour images, drawn by their distances."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BLACK", "FIREBRICK", "ORANGE", "SKY_BLUE", "Canvas", "cover"]

BLACK = (0.0, 0.0, 0.0)
FIREBRICK = (178 / 255, 34 / 255, 34 / 255)
ORANGE = (1.0, 165 / 255, 0.0)
SKY_BLUE = (135 / 255, 206 / 255, 250 / 255)

_LEFT, _RIGHT, _BOTTOM, _TOP = 0.125, 0.9, 0.11, 0.88
_NEWTON_STEPS = 6


class Canvas:
    """White square images of one inch, with a box of data coordinates inside, as matplotlib lays out a figure.

    A shape is painted over what is there already, by the :func:`cover` of each pixel, and inside the box only.
    Coordinates are numbers or vectors with one for each image, x to the right and y up; line widths are in points, of
    which the image has 72.

    Args:
        like: a vector with one entry for each image; gives device and dtype.
        size: pixels along each side.
        x_limits: data coordinates at the left and the right of the box.
        y_limits: data coordinates at its bottom and its top.
    """

    def __init__(
        self,
        like: Tensor,
        size: int,
        *,
        x_limits: tuple[float, float],
        y_limits: tuple[float, float],
    ) -> None:
        self.size, self._like, self._point = size, like, size / 72
        self._x_scale = size * (_RIGHT - _LEFT) / (x_limits[1] - x_limits[0])
        self._y_scale = size * (_TOP - _BOTTOM) / (y_limits[1] - y_limits[0])
        self._x_first = size * _LEFT - self._x_scale * x_limits[0]
        self._y_first = size * (1 - _BOTTOM) + self._y_scale * y_limits[0]
        centres = torch.arange(size, dtype=like.dtype, device=like.device) + 0.5
        self._right, self._down = centres[None, None, :], centres[None, :, None]
        across = (size * _LEFT <= centres) & (centres <= size * _RIGHT)
        along = (size * (1 - _TOP) <= centres) & (centres <= size * (1 - _BOTTOM))
        self._box = across & along[:, None]
        self._channels = [like.new_ones(len(like), size, size) for _ in range(3)]

    def images(self) -> Tensor:
        """What has been painted: uint8 of shape ``(batch, 3, size, size)``."""
        return torch.stack(
            [(255 * channel).round_().to(torch.uint8) for channel in self._channels], 1
        )

    def disc(
        self,
        x: float | Tensor,
        y: float | Tensor,
        radius: float | Tensor,
        colour: tuple[float, ...],
    ) -> None:
        """A disc with an edge of one point; an ellipse where the units of the axes differ."""
        radius = self._column(radius)
        half_width, half_height = (
            radius * s + self._point / 2 for s in (self._x_scale, self._y_scale)
        )
        u, v = (self._right - self._x(x)) / half_width, (self._down - self._y(y)) / half_height
        q = (u * u + v * v).sqrt() + 1e-6  # at the very centre too, the distance is negative
        slope = ((u / half_width).square() + (v / half_height).square()).sqrt()
        self._paint(cover((q - 1) * q / slope.clamp(min=1e-6)), colour)

    def line(
        self,
        start: tuple[float | Tensor, float | Tensor],
        end: tuple[float | Tensor, float | Tensor],
        width: float,
        colour: tuple[float, ...],
    ) -> None:
        """A straight line that ends at its ends."""
        x, y = self._x(start[0]), self._y(start[1])
        right, down = self._x(end[0]) - x, self._y(end[1]) - y
        length = torch.hypot(right, down)
        right, down = right / length.clamp(min=1e-6), down / length.clamp(min=1e-6)
        along = (self._right - x) * right + (self._down - y) * down
        beside = (self._right - x) * down - (self._down - y) * right
        inside = cover((along - length / 2).abs() - length / 2).minimum(length)
        self._paint(self._stroke(beside.abs(), width) * inside, colour)

    def rectangle(
        self,
        left: float,
        bottom: float,
        width: float,
        height: float | Tensor,
        colour: tuple[float, ...],
    ) -> None:
        """A rectangle with an edge of one point."""
        edge = self._point / 2
        across = _overlap(self._right, self._x(left) - edge, self._x(left + width) + edge)
        along = _overlap(self._down, self._y(height + bottom) - edge, self._y(bottom) + edge)
        self._paint(across * along, colour)

    def parabola(
        self,
        top: tuple[float | Tensor, float | Tensor],
        end: tuple[float | Tensor, float | Tensor],
        width: float,
        colour: tuple[float, ...],
    ) -> None:
        """The right half of a parabola from its top to ``end``, longer by half a width at both ends.

        The nearest point of the curve ``(reach * s, fall * s ** 2)`` is the largest root s of a cubic, which Newton's
        method approaches from the right.
        """
        x, y = self._x(top[0]), self._y(top[1])
        reach, fall = (self._x(end[0]) - x).clamp(min=1e-3), (self._y(end[1]) - y).clamp(min=1e-3)
        right, down = self._right - x, self._down - y
        linear = (reach * reach - 2 * fall * down) / (2 * fall * fall)
        constant = reach * right / (2 * fall * fall)
        s = constant.abs().pow(1 / 3) + (-linear).clamp(min=0).sqrt()
        for _ in range(_NEWTON_STEPS):
            s = ((2 * s.pow(3) + constant) / (3 * s * s + linear).clamp(min=1e-9)).clamp(min=0)
        distance = torch.hypot(right - reach * s, down - fall * s * s)
        cap = width * self._point / 2
        beyond = ((right - reach) * reach + (down - fall) * 2 * fall) / torch.hypot(reach, 2 * fall)
        self._paint(self._stroke(distance, width) * cover(beyond - cap), colour)

    def _paint(self, share: Tensor, colour: tuple[float, ...]) -> None:
        share = share * self._box
        for channel, shade in zip(self._channels, colour, strict=True):
            channel.mul_(1 - share).add_(share, alpha=shade)

    def _stroke(self, distance: Tensor, width: float) -> Tensor:
        """Cover of a line at a distance from its middle."""
        pixels = width * self._point
        return cover(distance - pixels / 2).clamp(max=pixels)

    def _column(self, value: float | Tensor) -> Tensor:
        return (value if isinstance(value, Tensor) else torch.full_like(self._like, value))[
            :, None, None
        ]

    def _x(self, value: float | Tensor) -> Tensor:
        return self._x_first + self._x_scale * self._column(value)

    def _y(self, value: float | Tensor) -> Tensor:
        return self._y_first - self._y_scale * self._column(value)


def cover(distance: Tensor) -> Tensor:
    r"""The share of a pixel that a shape covers, :math:`\min(1, \max(0, 1/2 - d))`.

    d is the distance in pixels from the pixel's centre to the outline, negative inside.
    """
    return (0.5 - distance).clamp(0, 1)


def _overlap(centre: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The length that a pixel shares with an interval."""
    return (torch.minimum(high, centre + 0.5) - torch.maximum(low, centre - 0.5)).clamp(0, 1)
