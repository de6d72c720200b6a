"""Anti-aliased discs, lines and curves in batches of colour images, drawn by distances."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BLACK", "FIREBRICK", "ORANGE", "SKY_BLUE", "Canvas", "cover"]

BLACK = (0.0, 0.0, 0.0)
FIREBRICK = (178 / 255, 34 / 255, 34 / 255)
ORANGE = (1.0, 165 / 255, 0.0)
SKY_BLUE = (135 / 255, 206 / 255, 250 / 255)

# Edges of matplotlib's default axes, as shares of the image.
_LEFT_SHARE = 0.125
_RIGHT_SHARE = 0.9
_BOTTOM_SHARE = 0.11
_TOP_SHARE = 0.88
_POINTS_PER_INCH = 72
_NUM_NEWTON_STEPS = 6


class Canvas:
    """White square images of one inch, with axes placed like in a default figure of matplotlib.

    A shape is painted over earlier shapes by the :func:`cover` of each pixel, and only inside the
    box. Coordinates are numbers or vectors with one entry for each image, x to the right and y up.
    Line widths are in points; the image is 72 points wide.

    Args:
        like: Vector with one entry for each image; it gives the device and the dtype.
        size: Pixels along each side.
        x_limits: Data coordinates of the left and the right edge of the box.
        y_limits: Data coordinates of the bottom and the top edge of the box.
    """

    def __init__(
        self,
        like: Tensor,
        size: int,
        *,
        x_limits: tuple[float, float],
        y_limits: tuple[float, float],
    ) -> None:
        self.size = size
        self._like = like
        self._pixels_per_point = size / _POINTS_PER_INCH
        # Pixel coordinates are x_zero + x_scale * x to the right and y_zero - y_scale * y down.
        self._x_scale = size * (_RIGHT_SHARE - _LEFT_SHARE) / (x_limits[1] - x_limits[0])
        self._y_scale = size * (_TOP_SHARE - _BOTTOM_SHARE) / (y_limits[1] - y_limits[0])
        self._x_zero = size * _LEFT_SHARE - self._x_scale * x_limits[0]
        self._y_zero = size * (1 - _BOTTOM_SHARE) + self._y_scale * y_limits[0]
        centres = torch.arange(size, dtype=like.dtype, device=like.device) + 0.5
        self._right = centres[None, None, :]
        self._down = centres[None, :, None]
        self._box = _box(centres, size)
        self._channels = [like.new_ones(len(like), size, size) for _ in range(3)]

    def images(self) -> Tensor:
        """The painted images: uint8 of shape ``(batch, 3, size, size)``."""
        channels = [(255 * channel).round_().to(torch.uint8) for channel in self._channels]
        return torch.stack(channels, 1)

    def disc(
        self,
        x: float | Tensor,
        y: float | Tensor,
        radius: float | Tensor,
        colour: tuple[float, ...],
    ) -> None:
        """Paint a disc with an edge of one point; an ellipse if the scales of the axes differ."""
        radius = self._column(radius)
        half_width = radius * self._x_scale + self._pixels_per_point / 2
        half_height = radius * self._y_scale + self._pixels_per_point / 2
        u = (self._right - self._x(x)) / half_width
        v = (self._down - self._y(y)) / half_height
        norm = (u * u + v * v).sqrt() + 1e-6  # positive, so the distance at the centre is negative
        slope = ((u / half_width).square() + (v / half_height).square()).sqrt()
        # First-order distance to the outline: the level function over the norm of its gradient.
        self._paint(cover((norm - 1) * norm / slope.clamp(min=1e-6)), colour)

    def line(
        self,
        start: tuple[float | Tensor, float | Tensor],
        end: tuple[float | Tensor, float | Tensor],
        width: float,
        colour: tuple[float, ...],
    ) -> None:
        """Paint a straight line with butt caps: it does not reach beyond its end points."""
        x = self._x(start[0])
        y = self._y(start[1])
        right = self._x(end[0]) - x
        down = self._y(end[1]) - y
        length = torch.hypot(right, down)
        right = right / length.clamp(min=1e-6)  # (right, down) is a unit vector from here on
        down = down / length.clamp(min=1e-6)
        along = (self._right - x) * right + (self._down - y) * down
        beside = (self._right - x) * down - (self._down - y) * right
        between_ends = cover((along - length / 2).abs() - length / 2).minimum(length)
        self._paint(self._stroke(beside.abs(), width) * between_ends, colour)

    def rectangle(
        self,
        left: float,
        bottom: float,
        width: float,
        height: float | Tensor,
        colour: tuple[float, ...],
    ) -> None:
        """Paint a rectangle with an edge of one point."""
        edge = self._pixels_per_point / 2
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
        """Paint the right half of a parabola from its top to ``end``.

        The curve is longer by half a line width at both ends.
        """
        x = self._x(top[0])
        y = self._y(top[1])
        reach = (self._x(end[0]) - x).clamp(min=1e-3)
        fall = (self._y(end[1]) - y).clamp(min=1e-3)
        right = self._right - x
        down = self._down - y
        s = _nearest_on_parabola(right, down, reach, fall)
        distance = torch.hypot(right - reach * s, down - fall * s * s)
        # Distance beyond the end point along the tangent (reach, 2 * fall) there.
        tangent_length = torch.hypot(reach, 2 * fall)
        beyond_end = ((right - reach) * reach + (down - fall) * 2 * fall) / tangent_length
        cap = width * self._pixels_per_point / 2
        self._paint(self._stroke(distance, width) * cover(beyond_end - cap), colour)

    def _paint(self, share: Tensor, colour: tuple[float, ...]) -> None:
        share = share * self._box
        for channel, shade in zip(self._channels, colour, strict=True):
            channel.mul_(1 - share).add_(share, alpha=shade)

    def _stroke(self, distance: Tensor, width: float) -> Tensor:
        """Cover of pixels at a distance from the middle of a line."""
        pixels = width * self._pixels_per_point
        return cover(distance - pixels / 2).clamp(max=pixels)

    def _column(self, value: float | Tensor) -> Tensor:
        """Numbers as a tensor ``(batch, 1, 1)``."""
        vector = value if isinstance(value, Tensor) else torch.full_like(self._like, value)
        return vector[:, None, None]

    def _x(self, value: float | Tensor) -> Tensor:
        """Pixel coordinate to the right of a data coordinate."""
        return self._x_zero + self._x_scale * self._column(value)

    def _y(self, value: float | Tensor) -> Tensor:
        """Pixel coordinate down of a data coordinate."""
        return self._y_zero - self._y_scale * self._column(value)


def cover(distance: Tensor) -> Tensor:
    r"""The share of a pixel that a shape covers, :math:`\min(1, \max(0, 1/2 - d))`.

    d is the distance in pixels from the pixel's centre to the outline, negative inside.
    """
    return (0.5 - distance).clamp(0, 1)


def _overlap(centre: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The length that a pixel shares with an interval."""
    return (torch.minimum(high, centre + 0.5) - torch.maximum(low, centre - 0.5)).clamp(0, 1)


def _box(centres: Tensor, size: int) -> Tensor:
    """Pixels inside the axes, bool of shape ``(size, size)``."""
    columns = (size * _LEFT_SHARE <= centres) & (centres <= size * _RIGHT_SHARE)
    rows = (size * (1 - _TOP_SHARE) <= centres) & (centres <= size * (1 - _BOTTOM_SHARE))
    return columns & rows[:, None]


def _nearest_on_parabola(right: Tensor, down: Tensor, reach: Tensor, fall: Tensor) -> Tensor:
    """Parameter s of the point ``(reach * s, fall * s ** 2)`` that is nearest to ``(right, down)``.

    It is the largest root of a cubic equation without a quadratic term, to which Newton's method
    descends from a larger value.
    """
    linear = (reach * reach - 2 * fall * down) / (2 * fall * fall)
    constant = reach * right / (2 * fall * fall)
    s = constant.abs().pow(1 / 3) + (-linear).clamp(min=0).sqrt()
    for _ in range(_NUM_NEWTON_STEPS):
        slope = (3 * s * s + linear).clamp(min=1e-9)
        s = ((2 * s.pow(3) + constant) / slope).clamp(min=0)
    return s
