"""Images in random colours, in noise, or on a random part of a picture; the factors stay those of the grid."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorGrid
from ppl_disentangle.data.randomness import random_bytes

__all__ = ["Coloured", "Noisy", "OnPicture", "swirls"]


class RandomisedGrid(FactorGrid):
    """A grid whose images are changed at random.

    The change of an image depends on its index and the seed alone, so an image is the same whenever it is drawn.

    Implementing one: define :meth:`randomise`.
    """

    def __init__(self, grid: FactorGrid, seed: int, *, name: str) -> None:
        if not isinstance(grid, FactorGrid):
            raise TypeError(f"expected a grid of images, got {type(grid).__name__}")
        if len(grid.observation_shape) != 3 or grid.observation_shape[0] not in (1, 3):
            raise ValueError(
                f"expected images of 1 or 3 channels, got observations of shape {grid.observation_shape}"
            )
        self.grid, self.seed, self.name, self.space = grid, seed, f"{name}_{grid.name}", grid.space
        self.observation_shape, self.maximum = (3, *grid.observation_shape[1:]), 255

    @abc.abstractmethod
    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Images in [0, 1] of shape ``(batch, 3, height, width)`` from those of the grid with 1 or 3 channels."""

    def render(self, factors: Tensor) -> Tensor:
        """Stored observations of the factor classes ``(batch, len(space))``: uint8."""
        return self.observations(self.index(factors))

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored: uint8 of shape ``(len(index), 3, height, width)``."""
        images = self.grid.to_float(self.grid.observations(index))
        return self.randomise(images, index).mul(255).round_().to(torch.uint8)

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """What else a story is told of each datum of the grid."""
        return self.grid.conditions(index)

    def _uniform(self, index: Tensor, num: int) -> Tensor:
        """Numbers in [0, 1] in 256 steps, ``(len(index), num)``."""
        return random_bytes(self.seed, index, num) / 255


class Coloured(RandomisedGrid):
    r"""Each image m in a colour of its own, as Color-dSprites [1].

    .. math:: x_{chw} = u_c\, m_{chw}, \qquad u_c \sim U(\tfrac12, 1)

    The colour is a function of seed and index: an image has the same colour whenever it is drawn. It is no factor.

    Args:
        grid: images of 1 or 3 channels.
        seed: of the colours.

    References:
        [1] Locatello et al., 2019. Challenging common assumptions in the unsupervised learning of disentangled
        representations. https://arxiv.org/abs/1811.12359

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = Coloured(Sprites())
        >>> data.name, data.observations(torch.tensor([7])).shape
        ('coloured_sprites', torch.Size([1, 3, 64, 64]))
    """

    def __init__(self, grid: FactorGrid, *, seed: int = 0) -> None:
        super().__init__(grid, seed, name="coloured")

    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Images times colours."""
        return images * (0.5 + 0.5 * self._uniform(index, 3))[:, :, None, None]


class Noisy(RandomisedGrid):
    r"""Each image m in front of noise of its own, as Noisy-dSprites [1].

    .. math:: x_{chw} = \min(1, m_{chw} + u_{chw}), \qquad u_{chw} \sim U(0, 1)

    The noise is a function of seed and index.

    Args:
        grid: images of 1 or 3 channels.
        seed: of the noise.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359
    """

    def __init__(self, grid: FactorGrid, *, seed: int = 0) -> None:
        super().__init__(grid, seed, name="noisy")

    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Images plus noise, at most 1."""
        _, height, width = self.observation_shape
        noise = self._uniform(index, 3 * height * width).view(-1, 3, height, width)
        return noise.add_(images).clamp_(max=1)


class OnPicture(RandomisedGrid):
    r"""Each image m as a negative on a random part b of a picture in a random tint, as Scream-dSprites [1].

    .. math:: x = (1 - m)\, b + m\, (1 - b), \qquad b_{chw} = \tfrac12 (\text{picture}_{c, h + \eta, w + \omega} + u_c),
       \qquad u_c \sim U(0, 1)

    with a uniform place :math:`(\eta, \omega)`. Place and tint are functions of seed and index. The published picture
    does not come with this library; pass it, or use :func:`swirls`, which is drawn.

    Args:
        grid: images of 1 or 3 channels.
        picture: uint8 of shape ``(3, height, width)``, no smaller than the images; by default :func:`swirls`.
        seed: of places and tints.

    Raises:
        ValueError: a picture of another type or shape, or one that is too small.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359
    """

    def __init__(self, grid: FactorGrid, picture: Tensor | None = None, *, seed: int = 0) -> None:
        super().__init__(grid, seed, name="on_picture")
        picture = swirls() if picture is None else picture
        _, height, width = self.observation_shape
        if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[0] != 3:
            got = f"{picture.dtype} of shape {tuple(picture.shape)}"
            raise ValueError(f"expected a picture of uint8 and shape (3, height, width), got {got}")
        if picture.shape[1] < height or picture.shape[2] < width:
            raise ValueError(
                f"expected a picture of at least {height} x {width} pixels, got {tuple(picture.shape[1:])}"
            )
        self._places = (picture.shape[1] - height + 1, picture.shape[2] - width + 1)
        self._picture = DeviceCopies(picture)

    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Negatives on tinted parts of the picture."""
        _, height, width = self.observation_shape
        numbers = random_bytes(self.seed, index, 11)
        top, left = (_below(numbers[:, 4 * i : 4 * i + 4], n) for i, n in enumerate(self._places))
        parts = (
            self._picture.on(index.device).unfold(1, height, 1).unfold(2, width, 1)
        )  # (3, places, height, width)
        part = parts[:, top, left].transpose(0, 1).contiguous() / 255  # (batch, 3, height, width)
        part = (part + numbers[:, 8:, None, None] / 255) / 2
        return torch.lerp(part, 1 - part, images.expand_as(part))


def swirls(height: int = 274, width: int = 350) -> Tensor:
    """A picture of coloured bands that bend around a few centres: uint8 of shape ``(3, height, width)``.

    It has the size to which the published picture of Scream-dSprites is scaled.
    """
    y, x = torch.linspace(0, 1, height)[:, None], torch.linspace(0, width / height, width)
    phase = 9 * y + 2 * x
    for cx, cy, turn in ((0.3, 0.3, 2.5), (0.9, 0.6, -3.0), (0.6, 0.9, 2.0), (1.15, 0.15, 2.0)):
        phase = phase + turn * torch.exp(-12 * ((x - cx).square() + (y - cy).square()))
    warm, cold, dark = torch.tensor([[0.95, 0.5, 0.15], [0.2, 0.45, 0.65], [0.12, 0.1, 0.15]])[
        :, :, None, None
    ]
    light = 0.5 + 0.5 * torch.sin(2.2 * phase) * (1 - y)
    line = torch.sin(17 * phase + 5 * x).square() * (0.2 + 0.6 * y)
    picture = torch.lerp(torch.lerp(cold, warm, light), dark, line)
    return (255 * picture).round().to(torch.uint8)


def _below(numbers: Tensor, num: int) -> Tensor:
    """Integers below ``num`` from 4 random bytes each, ``(batch,)``."""
    weights = torch.tensor([1, 1 << 8, 1 << 16, 1 << 24], device=numbers.device)
    return (numbers.long() * weights).sum(-1) * num >> 32
