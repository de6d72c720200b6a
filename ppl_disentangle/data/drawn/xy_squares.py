"""Three squares, red, green and blue, on an 8 x 8 grid, drawn on the fly."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid

__all__ = ["XYSquares"]


class XYSquares(FactorGrid):
    r"""All 262,144 images of XYSquares [1], in its order: 64 x 64 pixels in RGB.

    .. math:: x_{c,i,j} = 255 \cdot [\lfloor i / 8 \rfloor = y_c] \, [\lfloor j / 8 \rfloor = x_c],
       \qquad c \in \{R, G, B\}

    with row i and column j. A square that moves by one step no longer covers any of its pixels, hence the distance in
    pixels between two images says how many squares moved and not how far: a reconstruction loss cannot order the
    factors, which is what makes these data hard.

    References:
        [1] Michlo, James and Klein, 2022. Overlooked implications of the reconstruction loss for VAE disentanglement.
        https://arxiv.org/abs/2202.13341

    Example:
        >>> squares = XYSquares()
        >>> len(squares), squares.factor_names
        (262144, ('x_R', 'y_R', 'x_G', 'y_G', 'x_B', 'y_B'))
    """

    def __init__(self) -> None:
        self.name, self.observation_shape, self.maximum = "xy_squares", (3, 64, 64), 255
        self.space = tuple(
            Factor(f"{axis}_{colour}", tuple(range(8))) for colour in "RGB" for axis in "xy"
        )

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 6)``: uint8 in {0, 255}, ``(batch, 3, 64, 64)``."""
        steps = torch.eye(8, dtype=torch.uint8, device=factors.device).repeat_interleave(8, 1)
        across, down = (
            steps.index_select(0, factors.flatten()).view(-1, 3, 2, 64).unbind(2)
        )  # (batch, 3, 64)
        return down[..., None] * across[..., None, :] * 255
