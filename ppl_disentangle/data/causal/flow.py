"""The flow of CausalVAE, redrawn: a ball in a cup of water, with true counterfactuals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.causal.rendered import render_in_chunks
from ppl_disentangle.data.drawn.strokes import BLACK, FIREBRICK, SKY_BLUE, Canvas

__all__ = ["Flow"]

_NUM_PUBLISHED = 8100
_RADII_PER_LENGTH = 30
_HOLES_PER_LENGTH = 3


class Flow(CausalDataset):
    r"""Images of a cup of water with a ball and a hole, which cause the jet that pours out.

    With a ball of radius r/30, a hole at height d = hole/3 and m the height of the water without
    the ball,

    .. math::
        \text{height} = (r / 30)^3 + m, \qquad
        \text{flow} = \sqrt{2 \cdot 0.98 \cdot \text{height} \cdot (d - 0.5)} + \sigma \varepsilon,
        \qquad \varepsilon \sim N(0, 1).

    The node ``ball`` is r, ``flow`` is the distance from the cup at which the jet lands, and m is
    the noise of ``height``. By default these are the published 8100 units in their published order:
    every r from 5 to 34 with every m of 1, 1.1, …, 3.9 and every hole from 6 to 14. The names of
    the published files are r, the height and ten times the flow without their decimals, and the
    hole.

    The published images differ in two ways: matplotlib moved upright and level edges to whole
    pixels, and a hidden jitter, which belongs to no node, lets the jet land a little further than
    the label says.

    All finite values can be drawn; whatever leaves the picture is cut off. Ball, height and flow
    can be set to 0 or more, the hole to 1.5 to 57, the extent of the cup's wall.

    Args:
        num_data: Number of units with r, m and hole drawn uniformly from the range of the published
            units; by default the published units.
        size: Pixels along each side; the published images have 96.
        noise: Standard deviation :math:`\sigma` of the noise.
        seed: Seed of r, m, hole and noise.
        channels: 3, or 4 as published, where the last channel is 255 everywhere.

    References:
        [1] Yang et al., 2021. CausalVAE: disentangled representation learning via neural structural
        causal models. https://arxiv.org/abs/2004.08697

    Example:
        >>> flow = Flow()
        >>> len(flow), flow.names
        (8100, ('ball', 'height', 'hole', 'flow'))
        >>> flow.intervene(torch.tensor([0]), {"hole": 13.5})
        tensor([[ 5.0000,  1.0046, 13.5000,  2.8065]])
    """

    def __init__(
        self,
        num_data: int | None = None,
        *,
        size: int = 64,
        noise: float = 0.0,
        seed: int = 0,
        channels: Literal[3, 4] = 3,
    ) -> None:
        self.size = size
        self.scale = noise
        generator = torch.Generator().manual_seed(seed)
        ball, water_tenths, hole = _inputs(num_data, generator)
        jet = torch.randn(len(ball), generator=generator)
        super().__init__(
            "ball -> height -> flow; hole -> flow",
            {"ball": ball, "height": water_tenths / 10, "hole": hole, "flow": jet},
            name="flow",
            observation_shape=(channels, size, size),
            maximum=255,
            ranges={
                "ball": (0, math.inf),
                "height": (0, math.inf),
                "hole": (1.5, 57),
                "flow": (0, math.inf),
            },
        )

    @staticmethod
    def published_split() -> tuple[Tensor, Tensor]:
        """Indices of the 6480 published images for training and of the 1620 for testing."""
        index = torch.arange(_NUM_PUBLISHED)
        is_test = index % 5 == 4
        return index[~is_test], index[is_test]

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """Value of a node.

        Ball and hole equal their noise, the ball raises the water by the cube of its radius, and
        the jet follows Torricelli's formula.
        """
        if node in ("ball", "hole"):
            return noise
        if node == "height":
            return (parent_values["ball"] / _RADII_PER_LENGTH) ** 3 + noise
        hole_height = parent_values["hole"] / _HOLES_PER_LENGTH
        squared_flow = 1.96 * parent_values["height"] * (hole_height - 0.5)
        return squared_flow.clamp(min=0).sqrt() + self.scale * noise

    def render_values(self, values: Tensor) -> Tensor:
        """Images of ball, height, hole and flow ``(batch, 4)``.

        Returns:
            uint8 of shape ``(batch, channels, size, size)``.
        """
        return render_in_chunks(self._draw, values, self.observation_shape[0])

    def _draw(self, values: Tensor) -> Tensor:
        """RGB images of a chunk of values: cup with water, ball, jet and ground."""
        ball, height, hole, flow = values.unbind(-1)
        radius = ball / _RADII_PER_LENGTH
        hole_height = hole / _HOLES_PER_LENGTH
        canvas = Canvas(ball, self.size, x_limits=(0, 20), y_limits=(0, 20))
        canvas.rectangle(3, 0, 5, 5 + height, SKY_BLUE)
        canvas.line((3, 0), (3, 19), 2, BLACK)
        canvas.line((8, 0), (8, hole_height), 2, BLACK)
        canvas.line((8, hole_height + 0.4), (8, 19), 2, BLACK)
        canvas.disc(5.5, radius + 0.5, radius, FIREBRICK)
        canvas.parabola((8, hole_height), (8 + flow, 0.5), 2, SKY_BLUE)
        canvas.line((0, 0.2), (20, 0.2), 2, BLACK)
        return canvas.images()


def _inputs(num_data: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Ball, tenths of the water's height, and hole: the published grid, or uniform draws."""
    if num_data is None:
        ball = torch.arange(5, 35)
        water_tenths = torch.arange(10, 40)
        hole = torch.arange(6, 15)
        grid = torch.cartesian_prod(ball, water_tenths, hole).float()
        return grid[:, 0], grid[:, 1], grid[:, 2]
    uniform = torch.rand(3, num_data, generator=generator)
    return 5 + 29 * uniform[0], 10 + 29 * uniform[1], 6 + 8 * uniform[2]
