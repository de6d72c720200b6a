"""The pendulum of CausalVAE, redrawn: a lamp, a pendulum and its shadow; true counterfactuals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.causal.rendered import render_in_chunks
from ppl_disentangle.data.drawn.strokes import BLACK, FIREBRICK, ORANGE, Canvas

__all__ = ["Pendulum"]

_NUM_PUBLISHED = 7308
_RADIANS_PER_STEP = math.pi / 200


class Pendulum(CausalDataset):
    r"""Images of a lit pendulum, whose angle and light cause length and position of its shadow.

    With the angles :math:`\theta` of the pendulum and :math:`\varphi` of the light, the shadow on
    the ground reaches from :math:`a = 10 - 11 \cot \varphi` to :math:`b = 10 + 9.5 \sin \theta -
    (11 - 9.5 \cos \theta) \cot \varphi`, and

    .. math::
        \text{length} = \max(3, |a - b|) + \sigma \varepsilon_1, \qquad
        \text{position} = \tfrac12 (a + b) + \sigma \varepsilon_2, \qquad \varepsilon \sim N(0, 1).

    Angles are in steps of :math:`\pi / 200`, as in the names of the published files; the image is
    20 units of length wide. By default these are the published 7308 images in their published
    order: every angle from -40 to 43 with every light from 60 to 147 except 100, without noise. The
    published labels lack the decimals of the shadow, and matplotlib moved the edges of the
    published shadows to whole pixels.

    All finite values can be drawn; whatever leaves the picture is cut off, and a shadow of negative
    length is not drawn. The light can be set to 1 to 199, where its slope is finite, the length of
    the shadow to 0 or more.

    Args:
        num_data: Number of units with angles drawn uniformly from the range of the published units;
            by default the published units.
        size: Pixels along each side; the published images have 96.
        clamp: Whether a shadow has at least length 3, as published; this concerns 39.6 % of the
            published units.
        noise: Standard deviation :math:`\sigma` of the noise.
        seed: Seed of angles and noise.
        channels: 3, or 4 as published, where the last channel is 255 everywhere.

    References:
        [1] Yang et al., 2021. CausalVAE: disentangled representation learning via neural structural
        causal models. https://arxiv.org/abs/2004.08697

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
        self.size = size
        self.clamp = clamp
        self.scale = noise
        generator = torch.Generator().manual_seed(seed)
        angle, light = _angles(num_data, generator)
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
        """Indices of the 5482 published images for training and of the 1826 for testing."""
        index = torch.arange(_NUM_PUBLISHED)
        is_test = (index % 4 == 0) & (index > 0)
        return index[~is_test], index[is_test]

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """Value of a node.

        Angles equal their noise; the shadow extends from pivot to tip, projected on the ground.
        """
        if node in ("angle", "light"):
            return noise
        theta = _RADIANS_PER_STEP * parent_values["angle"]
        slope = 1 / (_RADIANS_PER_STEP * parent_values["light"]).tan()
        pivot = 10 - 11 * slope
        tip = 10 + 9.5 * theta.sin() - (11 - 9.5 * theta.cos()) * slope
        if node == "shadow_position":
            return (pivot + tip) / 2 + self.scale * noise
        length = (pivot - tip).abs()
        return (length.clamp(min=3) if self.clamp else length) + self.scale * noise

    def render_values(self, values: Tensor) -> Tensor:
        """Images of angle, light, length and position ``(batch, 4)``.

        Returns:
            uint8 of shape ``(batch, channels, size, size)``.
        """
        return render_in_chunks(self._draw, values, self.observation_shape[0])

    def _draw(self, values: Tensor) -> Tensor:
        """RGB images of a chunk of values: rod, bob, lamp and shadow."""
        angle, light, length, position = values.unbind(-1)
        theta = _RADIANS_PER_STEP * angle
        bob_x = 10 + 8 * theta.sin()
        bob_y = 10.5 - 8 * theta.cos()
        lamp_x = 10 + 10 / (_RADIANS_PER_STEP * light).tan()
        half_length = length.clamp(min=0) / 2
        canvas = Canvas(angle, self.size, x_limits=(0, 20), y_limits=(-1, 21))
        canvas.line((10, 10.5), (bob_x, bob_y), 3, BLACK)
        canvas.disc(bob_x, bob_y, 1.5, FIREBRICK)
        canvas.disc(lamp_x, 20.5, 3, ORANGE)
        canvas.line((position - half_length, -0.5), (position + half_length, -0.5), 3, BLACK)
        return canvas.images()


def _angles(num_data: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Angles of pendulum and light: the published grid, or uniform draws."""
    if num_data is None:
        lights = torch.tensor([light for light in range(60, 148) if light != 100])
        grid = torch.cartesian_prod(torch.arange(-40, 44), lights).float()
        return grid[:, 0], grid[:, 1]
    uniform = torch.rand(2, num_data, generator=generator)
    return -40 + 83 * uniform[0], 60 + 87 * uniform[1]
