"""The dSprites grid, drawn on the fly: binary squares, ellipses and hearts of 64 x 64 pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid
from ppl_disentangle.data.drawn.ranges import check_ranges

__all__ = ["Sprites"]

_HEART_UNIT_PIXELS = 0.66383
# Half width w, exponent p | half height h1, h3 | middle line m0, m2, m4; see Sprites.
_OUTLINES = (
    (9.6, math.inf, 9.6, 0.0, 0.0, 0.0, 0.0),
    (12.8, 2.0, 7.2, 0.0, 0.0, 0.0, 0.0),
    (
        *(9.6, 2 / 3),
        *(19 * _HEART_UNIT_PIXELS, -8 * _HEART_UNIT_PIXELS),
        *(-4 * _HEART_UNIT_PIXELS - 1.436, 2 * _HEART_UNIT_PIXELS, 8 * _HEART_UNIT_PIXELS),
    ),
)
_LOWEST = (0.0, 0.0, -math.inf, 0.0, 0.0)
_HIGHEST = (2.0, 1.0, math.inf, 1.0, 1.0)

# Only a window around a sprite is drawn; 4 pixels of a byte each are written as one word of int32.
_REACH_PIXELS = 13.6
_WINDOW_ROWS = 29
_WINDOW_WORDS = 8
_IMAGE_WORDS = 16  # words of a row of the image


class Sprites(FactorGrid):
    r"""All 737,280 images of dSprites [1], in the order of its file, drawn on the fly.

    In its own frame, with :math:`u` to the right and :math:`v` down in pixels at scale 1, each
    sprite is the set of points with

    .. math::
        |v - m(c)| < h(c), \qquad c = \sqrt{1 - (|u| / w)^p},

    with half width :math:`w`, exponent :math:`p`, half height :math:`h = h_1 c + h_3 c^3` and
    middle line :math:`m = m_0 + m_2 c^2 + m_4 c^4`. The square has :math:`p = \infty`, the ellipse
    :math:`p = 2`, and the heart :math:`p = 2/3`, which makes it the curve :math:`u = 9.6 \sin^3 t`,
    :math:`v = -0.66383\,(13 \cos t - 5 \cos 2t - 2 \cos 3t - \cos 4t) - 1.436`.

    A pixel is 1 if and only if its centre is inside. The constants were fitted on 258 real frames:
    at most 4 of 4096 pixels differ there, and at most 6 on 43 others. As in the file, orientations
    0 and 39 give the same picture.

    References:
        [1] Matthey et al., 2017. dSprites: Disentanglement testing Sprites dataset.
        https://github.com/google-deepmind/dsprites-dataset

    Example:
        >>> sprites = Sprites()
        >>> len(sprites), sprites.factor_names
        (737280, ('shape', 'scale', 'orientation', 'x', 'y'))
        >>> sprites.observations(torch.tensor([0, 1])).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(self) -> None:
        position = tuple(np.linspace(0, 1, 32).tolist())
        self.name = "sprites"
        self.space = (
            Factor("shape", ("square", "ellipse", "heart"), "categorical"),
            Factor("scale", tuple(np.linspace(0.5, 1, 6).tolist())),
            Factor("orientation", tuple(np.linspace(0, 2 * math.pi, 40).tolist()), "cyclic"),
            Factor("x", position),
            Factor("y", position),
        )
        self.observation_shape = (1, 64, 64)
        self.maximum = 1

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 5)``: uint8 in {0, 1}, ``(batch, 1, 64, 64)``."""
        return torch.cat([_paint(chunk, 1) for chunk in self.values(factors).split(256)])

    def values(self, factors: Tensor) -> Tensor:
        """Factor values of the classes ``(batch, 5)``, as :meth:`draw` takes them: floats."""
        shape, scale, orientation, x, y = factors.unbind(-1)
        radians = orientation * (math.tau / 39)
        return torch.stack([shape, 0.5 + 0.1 * scale, radians, x / 31, y / 31], -1)

    def draw(self, values: Tensor, *, antialias: int = 2) -> Tensor:
        """Images of any factor values, with smooth edges that show changes of less than a pixel.

        This is equivalent to :meth:`render` at ``antialias=1`` and the values of the grid, in
        floats.

        Args:
            values: Shape class, scale, orientation in radians, x and y, of shape ``(batch, 5)``.
                Positive orientations turn counter-clockwise; x = 0 is left and y = 0 is up.
            antialias: Sampled points in each pixel, along each side.

        Returns:
            Share of each pixel that is inside, floats in [0, 1] of shape ``(batch, 1, 64, 64)``.

        Raises:
            ValueError: A value or ``antialias`` is out of range.
        """
        if not 1 <= antialias <= 15:
            raise ValueError(f"expected 1 <= antialias <= 15, got {antialias}")
        check_ranges(self.factor_names, values, _LOWEST, _HIGHEST)
        chunks = values.split(max(1, 256 // antialias**2))
        return torch.cat([_paint(chunk, antialias) for chunk in chunks]).float() / antialias**2


def _paint(values: Tensor, antialias: int) -> Tensor:
    """Number of the ``antialias ** 2`` points of each pixel that are inside the sprite.

    Returns:
        uint8 of shape ``(batch, 1, 64, 64)``.
    """
    shape, scale, orientation, x, y = values.unbind(-1)
    first_row, first_word = _window_corner(x, y)
    # Points of the window relative to the sprite's centre, at 16 + 32 x and 16 + 32 y pixels.
    columns = _points(4 * _WINDOW_WORDS, antialias, values)
    rows = _points(_WINDOW_ROWS, antialias, values)
    right = columns + (4 * first_word - 16 - 32 * x)[:, None]  # (batch, width)
    down = rows + (first_row - 16 - 32 * y)[:, None]  # (batch, height)
    inside = _inside(shape.long(), orientation, right / scale[:, None], down / scale[:, None])
    if antialias > 1:
        points = inside.view(len(values), _WINDOW_ROWS, antialias, 4 * _WINDOW_WORDS, antialias)
        inside = points.sum((2, 4), dtype=torch.uint8)
    return _placed(inside.view(torch.uint8), first_row, first_word)


def _window_corner(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """First row and first word of the window around a sprite, as floats ``(batch,)``."""
    left = (16 + 32 * x - _REACH_PIXELS) / 4
    top = 16 + 32 * y - _REACH_PIXELS
    first_row = top.floor().clamp(0, 64 - _WINDOW_ROWS)
    first_word = left.floor().clamp(0, _IMAGE_WORDS - _WINDOW_WORDS)
    return first_row, first_word


def _points(num_pixels: int, antialias: int, like: Tensor) -> Tensor:
    """Coordinates of the sampled points along a side of the window, in pixels."""
    return torch.arange(0.5 / antialias, num_pixels, 1 / antialias, device=like.device)


def _placed(windows: Tensor, first_row: Tensor, first_word: Tensor) -> Tensor:
    """Images ``(batch, 1, 64, 64)`` that are 0 outside of a window ``(batch, rows, width)``."""
    batch = len(windows)
    device = windows.device
    words = windows.flatten(1).view(torch.int32)  # (batch, rows * words)
    row_starts = _IMAGE_WORDS * torch.arange(_WINDOW_ROWS, device=device)
    offsets = row_starts[:, None] + torch.arange(_WINDOW_WORDS, device=device)  # (rows, words)
    corner = (_IMAGE_WORDS * first_row + first_word).long()
    image = torch.zeros(batch, 64 * _IMAGE_WORDS, dtype=torch.int32, device=device)
    image.scatter_(1, corner[:, None] + offsets.view(-1), words)
    return image.view(torch.uint8).view(batch, 1, 64, 64)


def _inside(shape: Tensor, orientation: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Whether points are inside the sprite, bool of shape ``(batch, height, width)``.

    Args:
        shape: Shape classes ``(batch,)``.
        orientation: Angles in radians, ``(batch,)``.
        right: Horizontal distances from the centre at scale 1, ``(batch, width)``.
        down: Vertical distances from the centre at scale 1, ``(batch, height)``.
    """
    outline = torch.tensor(_OUTLINES, device=shape.device).index_select(0, shape)
    w, p, h1, h3, m0, m2, m4 = outline[:, :, None, None].unbind(1)  # (batch, 1, 1) each
    u, v = _rotated(orientation, right, down)
    c_squared = 1 - (u.abs_() / w).clamp_(max=1).pow_(p)
    middle = m0 + c_squared * (m2 + m4 * c_squared)
    return (v - middle).abs_() < c_squared.sqrt() * (h1 + h3 * c_squared)


def _rotated(orientation: Tensor, right: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates u and v of the points in the sprite's frame, ``(batch, height, width)`` each."""
    cos = orientation.cos()[:, None, None]
    sin = orientation.sin()[:, None, None]
    u = cos * right[:, None, :] - sin * down[:, :, None]
    v = sin * right[:, None, :] + cos * down[:, :, None]
    return u, v
