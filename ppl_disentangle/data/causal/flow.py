"""The flow of CausalVAE, redrawn: a ball in a cup of water that pours from a hole, with true counterfactuals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.drawn.strokes import BLACK, FIREBRICK, SKY_BLUE, Canvas

__all__ = ["Flow"]

_CHUNK = 64


class Flow(CausalDataset):
    r"""Images of a cup with a ball and a hole; the ball lifts the water, and water and hole make the jet.

    With a ball of radius r/30, a hole at the height d = hole/3 and m the water without the ball,

    .. math::
        \text{height} = (r / 30)^3 + m, \qquad
        \text{flow} = \sqrt{2 \cdot 0.98 \cdot \text{height} \cdot (d - 0.5)} + \sigma \varepsilon,
        \qquad \varepsilon \sim N(0, 1).

    The flow is how far from the cup the jet lands; m is the noise of the height, and the ball is r. By default these
    are the published 8100 units, in the order in which they are made: every r of 5 to 34 with every m of 1, 1.1, …, 3.9
    and every hole of 6 to 14. Published files are named by r, the height and ten times the flow without their decimals,
    and the hole.

    Published images differ in two ways: matplotlib moved their upright and level edges to whole pixels, and a hidden
    jitter, which no node accounts for, lets the jet land a little further than the label says.

    Everything finite can be drawn; what leaves the picture is cut off. Ball, height and flow can be set to no less than
    0, the hole within 1.5 to 57, where the cup has a wall.

    Args:
        num_data: number of units with r, m and hole drawn uniformly between those of the grid; ``None`` for the grid.
        size: pixels along each side; 96 as published, 64 by default.
        noise: the standard deviation :math:`\sigma`.
        seed: of r, m, hole and noise.
        channels: 4 as published, where the last is 255 everywhere; 3 by default.

    References:
        [1] Yang et al., 2021. CausalVAE: disentangled representation learning via neural structural causal models.
        https://arxiv.org/abs/2004.08697

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
        self.size, self.scale = size, noise
        generator = torch.Generator().manual_seed(seed)
        if num_data is None:
            grid = torch.cartesian_prod(
                torch.arange(5, 35), torch.arange(10, 40), torch.arange(6, 15)
            )
            ball, water, hole = grid.float().unbind(-1)
        else:
            uniform = torch.rand(3, num_data, generator=generator)
            ball, water, hole = 5 + 29 * uniform[0], 10 + 29 * uniform[1], 6 + 8 * uniform[2]
        jet = torch.randn(len(ball), generator=generator)
        super().__init__(
            "ball -> height -> flow; hole -> flow",
            {"ball": ball, "height": water / 10, "hole": hole, "flow": jet},
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
        """Indices of the 6480 images for training and the 1620 for testing, of the published ones."""
        test = torch.arange(4, 8100, 5)
        return torch.tensor(sorted(set(range(8100)) - set(test.tolist()))), test

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """Ball and hole are their noise; the ball lifts the water by its cube; the jet is Torricelli's."""
        if node in ("ball", "hole"):
            return noise
        if node == "height":
            return (parent_values["ball"] / 30) ** 3 + noise
        return (1.96 * parent_values["height"] * (parent_values["hole"] / 3 - 0.5)).clamp(
            min=0
        ).sqrt() + self.scale * noise

    def render_values(self, values: Tensor) -> Tensor:
        """Images of ball, height, hole and flow ``(batch, 4)``: uint8 ``(batch, channels, size, size)``."""
        images = torch.cat([self._draw(chunk) for chunk in values.split(_CHUNK)])
        return torch.nn.functional.pad(
            images, (0, 0, 0, 0, 0, self.observation_shape[0] - 3), value=255
        )

    def _draw(self, values: Tensor) -> Tensor:
        ball, height, hole, flow = values.unbind(-1)
        radius, hole = ball / 30, hole / 3
        canvas = Canvas(ball, self.size, x_limits=(0, 20), y_limits=(0, 20))
        canvas.rectangle(3, 0, 5, 5 + height, SKY_BLUE)
        canvas.line((3, 0), (3, 19), 2, BLACK)
        canvas.line((8, 0), (8, hole), 2, BLACK)
        canvas.line((8, hole + 0.4), (8, 19), 2, BLACK)
        canvas.disc(5.5, radius + 0.5, radius, FIREBRICK)
        canvas.parabola((8, hole), (8 + flow, 0.5), 2, SKY_BLUE)
        canvas.line((0, 0.2), (20, 0.2), 2, BLACK)
        return canvas.images()
