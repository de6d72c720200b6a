"""Three squares, red, green and blue, on an 8 x 8 grid, drawn on the fly."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid

__all__ = ["XYSquares"]


class XYSquares(FactorGrid):
    r"""All 262,144 images of XYSquares [1], in the order of the paper: 64 x 64 pixels in RGB.

    .. math:: x_{c,i,j} = 255 \cdot [\lfloor i / 8 \rfloor = y_c] \, [\lfloor j / 8 \rfloor = x_c],
       \qquad c \in \{R, G, B\}

    with row i and column j. A square that moves by one step no longer covers any of its former
    pixels. The distance in pixels between two images therefore counts the squares that moved and
    ignores how far they moved: a reconstruction loss cannot order the factor values, which makes
    these data hard.

    References:
        [1] Michlo, James and Klein, 2022. Overlooked implications of the reconstruction loss for
        VAE disentanglement. https://arxiv.org/abs/2202.13341

    Example:
        >>> squares = XYSquares()
        >>> len(squares), squares.factor_names
        (262144, ('x_R', 'y_R', 'x_G', 'y_G', 'x_B', 'y_B'))
    """

    def __init__(self) -> None:
        self.name = "xy_squares"
        self.observation_shape = (3, 64, 64)
        self.maximum = 255
        self.space = tuple(
            Factor(f"{axis}_{colour}", tuple(range(8))) for colour in "RGB" for axis in "xy"
        )

    def render(self, factors: Tensor) -> Tensor:
        """Images of the classes ``(batch, 6)``: uint8 in {0, 255}, ``(batch, 3, 64, 64)``."""
        # Row k of this (8, 64) table is 1 at the 8 pixels of step k.
        steps = torch.eye(8, dtype=torch.uint8, device=factors.device).repeat_interleave(8, 1)
        intervals = steps.index_select(0, factors.flatten()).view(-1, 3, 2, 64)
        across, down = intervals.unbind(2)  # (batch, 3, 64) each
        return down[..., None] * across[..., None, :] * 255
