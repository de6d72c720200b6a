"""Two coloured sprites, one in front of the other, drawn on the fly."""

from __future__ import annotations

import colorsys

import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid
from ppl_disentangle.data.drawn.sprites import Sprites

__all__ = ["TwoObjects"]

_COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
_POSITION_CLASSES = (0, 4, 8, 13, 17, 22, 26, 31)  # of the 32 positions of Sprites
_FULL_SCALE_CLASS = 5
_CHUNK_IMAGES = 256


class TwoObjects(FactorGrid):
    """Two sprites of six colours on an 8 x 8 grid each: 64 x 64 pixels in RGB.

    These are all 1,327,104 combinations. The sprites are the ones of :class:`Sprites`, upright and
    at full size, on black, at eight of the 32 positions along each axis. The second sprite hides
    the first where they overlap, so not every image determines its factors: if both sprites have
    the same shape and position, only the front one is visible.

    Example:
        >>> scene = TwoObjects()
        >>> scene.factor_names[:4], scene.factor_sizes[:4]
        (('back_shape', 'back_hue', 'back_x', 'back_y'), (3, 6, 8, 8))
    """

    def __init__(self) -> None:
        self.name = "two_objects"
        self.observation_shape = (3, 64, 64)
        self.maximum = 255
        self._sprites = Sprites()
        sprite_positions = self._sprites.space[3].values
        position = tuple(sprite_positions[k] for k in _POSITION_CLASSES)
        self.space = (*_sprite_factors("back", position), *_sprite_factors("front", position))

    def render(self, factors: Tensor) -> Tensor:
        """Images of the classes ``(batch, 8)``: uint8 in {0, 255}, ``(batch, 3, 64, 64)``."""
        return torch.cat([self._compose(chunk) for chunk in factors.split(_CHUNK_IMAGES)])

    def _compose(self, factors: Tensor) -> Tensor:
        """Paint the back sprite, then the front sprite over it."""
        palette = _palette(factors)
        image = palette.new_zeros(len(factors), 3, 64, 64)
        by_sprite = factors.view(-1, 2, 4).movedim(0, -1)  # (2 sprites, 4 factors, batch)
        for shape, hue, x, y in by_sprite.unbind(0):
            inside = self._mask(shape, x, y)
            colour = palette.index_select(0, hue)[:, :, None, None]
            image = torch.where(inside, colour, image)
        return image

    def _mask(self, shape: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Pixels of a sprite of the given classes, bool of shape ``(batch, 1, 64, 64)``."""
        positions = torch.tensor(_POSITION_CLASSES, device=shape.device)
        upright = torch.zeros_like(shape)
        scale = torch.full_like(shape, _FULL_SCALE_CLASS)
        classes = torch.stack([shape, scale, upright, positions[x], positions[y]], -1)
        return self._sprites.render(classes).bool()


def _sprite_factors(name: str, position: tuple[float | str, ...]) -> tuple[Factor, ...]:
    """Factors of one of the two sprites."""
    return (
        Factor(f"{name}_shape", ("square", "ellipse", "heart"), "categorical"),
        Factor(f"{name}_hue", _COLOURS, "categorical"),
        Factor(f"{name}_x", position),
        Factor(f"{name}_y", position),
    )


def _palette(like: Tensor) -> Tensor:
    """The six colours at full saturation and value, uint8 of shape ``(6, 3)``."""
    colours = [colorsys.hsv_to_rgb(k / len(_COLOURS), 1, 255) for k in range(len(_COLOURS))]
    return torch.tensor(colours, device=like.device).round_().to(torch.uint8)
