"""Two coloured sprites, one before the other, drawn on the fly."""

from __future__ import annotations

import colorsys

import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid
from ppl_disentangle.data.drawn.sprites import Sprites

__all__ = ["TwoObjects"]

_COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
_PLACES = (0, 4, 8, 13, 17, 22, 26, 31)
_CHUNK = 256


class TwoObjects(FactorGrid):
    """Two sprites of six colours at 8 x 8 places each, all 1,327,104 combinations: 64 x 64 pixels in RGB.

    The sprites are those of :class:`Sprites`, upright and at their full size, on black, at eight of their 32 places
    along each axis. Where both are, the second is seen, and not every image tells its factors: of two sprites of one
    shape at one place, only the front is seen.

    Example:
        >>> scene = TwoObjects()
        >>> scene.factor_names[:4], scene.factor_sizes[:4]
        (('back_shape', 'back_hue', 'back_x', 'back_y'), (3, 6, 8, 8))
    """

    def __init__(self) -> None:
        self.name, self.observation_shape, self.maximum = "two_objects", (3, 64, 64), 255
        self._sprites = Sprites()
        place = tuple(self._sprites.space[3].values[k] for k in _PLACES)
        self.space = tuple(
            factor
            for which in ("back", "front")
            for factor in (
                Factor(f"{which}_shape", ("square", "ellipse", "heart"), "categorical"),
                Factor(f"{which}_hue", _COLOURS, "categorical"),
                Factor(f"{which}_x", place),
                Factor(f"{which}_y", place),
            )
        )

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 8)``: uint8 in {0, 255}, ``(batch, 3, 64, 64)``."""
        return torch.cat([self._compose(chunk) for chunk in factors.split(_CHUNK)])

    def _compose(self, factors: Tensor) -> Tensor:
        palette = [colorsys.hsv_to_rgb(k / len(_COLOURS), 1, 255) for k in range(len(_COLOURS))]
        colours = torch.tensor(palette, device=factors.device).round_().to(torch.uint8)
        places = torch.tensor(_PLACES, device=factors.device)
        image = colours.new_zeros(len(factors), 3, 64, 64)
        for shape, hue, x, y in factors.view(-1, 2, 4).movedim(0, -1).unbind(0):
            still = torch.zeros_like(shape)
            classes = torch.stack([shape, still + 5, still, places[x], places[y]], -1)
            inside = self._sprites.render(classes).bool()
            image = torch.where(inside, colours.index_select(0, hue)[:, :, None, None], image)
        return image
