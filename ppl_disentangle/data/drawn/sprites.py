"""The dSprites grid, drawn on the fly: binary squares, ellipses and hearts of 64 x 64 pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid

__all__ = ["Sprites"]

_HEART = 0.66383
# half width, exponent | half height: c, c^3 | middle line: 1, c^2, c^4
_OUTLINES = (
    (9.6, math.inf, 9.6, 0.0, 0.0, 0.0, 0.0),
    (12.8, 2.0, 7.2, 0.0, 0.0, 0.0, 0.0),
    (9.6, 2 / 3, 19 * _HEART, -8 * _HEART, -4 * _HEART - 1.436, 2 * _HEART, 8 * _HEART),
)
_LOWEST = (0.0, 0.0, -math.inf, 0.0, 0.0)
_HIGHEST = (2.0, 1.0, math.inf, 1.0, 1.0)
_REACH, _ROWS, _WORDS = 13.6, 29, 8


class Sprites(FactorGrid):
    r"""All 737,280 images of dSprites, in the order of its file, drawn instead of read.

    In its own frame, :math:`u` to the right and :math:`v` down in pixels at scale 1, each sprite is

    .. math::
        |v - m(c)| < h(c), \qquad c = \sqrt{1 - (|u| / w)^p},

    with half width :math:`w`, exponent :math:`p`, half height :math:`h = h_1 c + h_3 c^3` and middle line
    :math:`m = m_0 + m_2 c^2 + m_4 c^4`. The square has :math:`p = \infty`, the ellipse :math:`p = 2`, and the
    heart :math:`p = 2/3`, which makes it the curve :math:`u = 9.6 \sin^3 t`,
    :math:`v = -0.66383\,(13 \cos t - 5 \cos 2t - 2 \cos 3t - \cos 4t) - 1.436`.

    A pixel is 1 iff its centre is inside. The constants are fitted on 258 real frames: at most 4 of 4096
    pixels differ there, and at most 6 on 43 others. As in the file, orientations 0 and 39 are one picture.

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
        self.observation_shape, self.maximum = (1, 64, 64), 1

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 5)``: uint8 in {0, 1}, ``(batch, 1, 64, 64)``."""
        return torch.cat([_paint(chunk, 1) for chunk in self.values(factors).split(256)])

    def values(self, factors: Tensor) -> Tensor:
        """What :meth:`draw` takes for the factor classes ``(batch, 5)``: floats of the same shape."""
        shape, scale, orientation, x, y = factors.unbind(-1)
        return torch.stack(
            [shape, 0.5 + 0.1 * scale, orientation * (math.tau / 39), x / 31, y / 31], -1
        )

    def draw(self, values: Tensor, *, antialias: int = 2) -> Tensor:
        """Images of any values between those of the grid, smoothed so that small changes are seen.

        This is equivalent to :meth:`render` at ``antialias=1`` and the values of the grid, in floats.

        Args:
            values: shape class, scale, orientation in radians, x and y, of shape ``(batch, 5)``. Positive
                orientations turn counter-clockwise; x = 0 is left and y = 0 is up.
            antialias: points looked at in each pixel, along each side.

        Returns:
            Share of each pixel that is inside, floats in [0, 1] of shape ``(batch, 1, 64, 64)``.
        """
        if not 1 <= antialias <= 15:
            raise ValueError(f"expected 1 <= antialias <= 15, got {antialias}")
        for name, column, low, high in zip(
            self.factor_names, values.unbind(-1), _LOWEST, _HIGHEST, strict=True
        ):
            outside = column[~((low <= column) & (column <= high))]
            if len(outside):
                raise ValueError(
                    f"expected {name} in [{low:g}, {high:g}], got {outside[0].item():g}"
                )
        chunks = values.split(max(1, 256 // antialias**2))
        return torch.cat([_paint(chunk, antialias) for chunk in chunks]).float() / antialias**2


def _paint(values: Tensor, antialias: int) -> Tensor:
    """How many of the ``antialias ** 2`` points of each pixel are inside: uint8 ``(batch, 1, 64, 64)``."""
    shape, scale, orientation, x, y = values.unbind(-1)
    batch, device = len(values), values.device
    # Only a window of 29 x 32 pixels is drawn. Its left is a multiple of 4, to write 4 pixels as one word.
    word = ((16 + 32 * x - _REACH) / 4).floor().clamp(0, 16 - _WORDS)
    row = (16 + 32 * y - _REACH).floor().clamp(0, 64 - _ROWS)
    first, step = 0.5 / antialias, 1 / antialias
    right = torch.arange(first, 4 * _WORDS, step, device=device) + (4 * word - 16 - 32 * x)[:, None]
    down = torch.arange(first, _ROWS, step, device=device) + (row - 16 - 32 * y)[:, None]
    inside = _inside(shape.long(), orientation, right / scale[:, None], down / scale[:, None])
    if antialias > 1:
        inside = inside.view(batch, _ROWS, antialias, 4 * _WORDS, antialias).sum(
            (2, 4), dtype=torch.uint8
        )
    words = inside.view(torch.uint8).flatten(1).view(torch.int32)  # (batch, rows * words)
    offsets = 16 * torch.arange(_ROWS, device=device)[:, None] + torch.arange(_WORDS, device=device)
    image = torch.zeros(batch, 64 * 16, dtype=torch.int32, device=device)
    image.scatter_(1, (16 * row + word).long()[:, None] + offsets.view(-1), words)
    return image.view(torch.uint8).view(batch, 1, 64, 64)


def _inside(shape: Tensor, orientation: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Whether points ``right`` ``(batch, width)`` and ``down`` ``(batch, height)`` of the centre are in."""
    outline = torch.tensor(_OUTLINES, device=shape.device).index_select(0, shape)
    w, p, h1, h3, m0, m2, m4 = outline[:, :, None, None].unbind(1)
    cos, sin = orientation.cos()[:, None, None], orientation.sin()[:, None, None]
    u = cos * right[:, None, :] - sin * down[:, :, None]  # (batch, height, width)
    v = sin * right[:, None, :] + cos * down[:, :, None]
    c2 = 1 - (u.abs_() / w).clamp_(max=1).pow_(p)
    return (v - (m0 + c2 * (m2 + m4 * c2))).abs_() < c2.sqrt() * (h1 + h3 * c2)
