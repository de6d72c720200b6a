"""The pendulum of CausalVAE, redrawn: a lamp, a pendulum and its shadow, with true counterfactuals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.drawn.strokes import BLACK, FIREBRICK, ORANGE, Canvas

__all__ = ["Pendulum"]

_RADIANS = math.pi / 200
_CHUNK = 64


class Pendulum(CausalDataset):
    r"""Images of a lit pendulum and its shadow; both angles cause length and position of the shadow.

    With :math:`\theta` and :math:`\varphi` the angles of pendulum and light, the shadow on the ground reaches from
    :math:`a = 10 - 11 \cot \varphi` to :math:`b = 10 + 9.5 \sin \theta - (11 - 9.5 \cos \theta) \cot \varphi`, and

    .. math::
        \text{length} = \max(3, |a - b|) + \sigma \varepsilon_1, \qquad
        \text{position} = \tfrac12 (a + b) + \sigma \varepsilon_2, \qquad \varepsilon \sim N(0, 1).

    Angles are counted in steps of :math:`\pi / 200`, as the published files are named, lengths in units of which the
    image shows 20 across. By default these are the published 7308 images, in the order in which they are made: every
    angle of -40 to 43 with every light of 60 to 147 but 100, without noise. Published labels lack the decimals of the
    shadow, and matplotlib moved the edges of published shadows to whole pixels.

    Everything finite can be drawn; what leaves the picture is cut off, and a shadow of negative length is none. Light
    can be set within 1 to 199, where its slope is finite, the shadow's length to no less than 0.

    Args:
        num_data: number of units with angles drawn uniformly between those of the grid; ``None`` for the grid.
        size: pixels along each side; 96 as published, 64 by default.
        clamp: whether a shadow is at least 3 long; 39.6 % of the published ones are cut off so.
        noise: the standard deviation :math:`\sigma`.
        seed: of angles and noise.
        channels: 4 as published, where the last is 255 everywhere; 3 by default.

    References:
        [1] Yang et al., 2021. CausalVAE: disentangled representation learning via neural structural causal models.
        https://arxiv.org/abs/2004.08697

    Example:
        >>> pendulum = Pendulum()
        >>> len(pendulum), pendulum.names
        (7308, ('angle', 'light', 'shadow_length', 'shadow_position'))
        >>> values, images = pendulum.counterfactual(torch.tensor([0]), {"angle": 0.0})
        >>> images.shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self,
        num_data: int | None = None,
        *,
        size: int = 64,
        clamp: bool = True,
        noise: float = 0.0,
        seed: int = 0,
        channels: Literal[3, 4] = 3,
    ) -> None:
        self.size, self.clamp, self.scale = size, clamp, noise
        generator = torch.Generator().manual_seed(seed)
        if num_data is None:
            lights = torch.tensor([j for j in range(60, 148) if j != 100])
            angle, light = torch.cartesian_prod(torch.arange(-40, 44), lights).float().unbind(-1)
        else:
            uniform = torch.rand(2, num_data, generator=generator)
            angle, light = -40 + 83 * uniform[0], 60 + 87 * uniform[1]
        length, position = torch.randn(2, len(angle), generator=generator)
        super().__init__(
            "angle, light -> shadow_length, shadow_position",
            {"angle": angle, "light": light, "shadow_length": length, "shadow_position": position},
            name="pendulum",
            observation_shape=(channels, size, size),
            maximum=255,
            ranges={"light": (1, 199), "shadow_length": (0, math.inf)},
        )

    @staticmethod
    def published_split() -> tuple[Tensor, Tensor]:
        """Indices of the 5482 images for training and the 1826 for testing, of the published ones."""
        test = torch.arange(4, 7308, 4)
        return torch.tensor(sorted(set(range(7308)) - set(test.tolist()))), test

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """Angles are their noise; the shadow follows from where both ends of the pendulum fall on the ground."""
        if node in ("angle", "light"):
            return noise
        theta, slope = (
            _RADIANS * parent_values["angle"],
            1 / (_RADIANS * parent_values["light"]).tan(),
        )
        pivot = 10 - 11 * slope
        tip = 10 + 9.5 * theta.sin() - (11 - 9.5 * theta.cos()) * slope
        if node == "shadow_position":
            return (pivot + tip) / 2 + self.scale * noise
        length = (pivot - tip).abs()
        return (length.clamp(min=3) if self.clamp else length) + self.scale * noise

    def render_values(self, values: Tensor) -> Tensor:
        """Images of angle, light, length and position ``(batch, 4)``: uint8 ``(batch, channels, size, size)``."""
        images = torch.cat([self._draw(chunk) for chunk in values.split(_CHUNK)])
        return torch.nn.functional.pad(
            images, (0, 0, 0, 0, 0, self.observation_shape[0] - 3), value=255
        )

    def _draw(self, values: Tensor) -> Tensor:
        angle, light, length, position = values.unbind(-1)
        theta, half = _RADIANS * angle, length.clamp(min=0) / 2
        bob = 10 + 8 * theta.sin(), 10.5 - 8 * theta.cos()
        canvas = Canvas(angle, self.size, x_limits=(0, 20), y_limits=(-1, 21))
        canvas.line((10, 10.5), bob, 3, BLACK)
        canvas.disc(*bob, 1.5, FIREBRICK)
        canvas.disc(10 + 10 / (_RADIANS * light).tan(), 20.5, 3, ORANGE)
        canvas.line((position - half, -0.5), (position + half, -0.5), 3, BLACK)
        return canvas.images()
