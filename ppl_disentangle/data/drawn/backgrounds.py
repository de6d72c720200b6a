"""Grids of images in random colours, in noise, or on a random part of a picture."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorGrid
from ppl_disentangle.data.randomness import random_bytes

__all__ = ["Coloured", "Noisy", "OnPicture", "swirls"]

# Centres (x, y) of the swirls and the strength with which the bands turn around them.
_SWIRLS = ((0.3, 0.3, 2.5), (0.9, 0.6, -3.0), (0.6, 0.9, 2.0), (1.15, 0.15, 2.0))
_WARM_RGB = (0.95, 0.5, 0.15)
_COLD_RGB = (0.2, 0.45, 0.65)
_DARK_RGB = (0.12, 0.1, 0.15)


class RandomisedGrid(FactorGrid):
    """A grid whose images are changed at random, while the factors stay the same.

    The change of an image depends on its index and the seed alone, so an image is the same whenever
    it is drawn.

    Implementing one: define :meth:`randomise`.
    """

    def __init__(self, grid: FactorGrid, seed: int, *, name: str) -> None:
        if not isinstance(grid, FactorGrid):
            raise TypeError(f"expected a grid of images, got {type(grid).__name__}")
        shape = grid.observation_shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(
                f"expected images of 1 or 3 channels, got observations of shape {shape}"
            )
        self.grid = grid
        self.seed = seed
        self.name = f"{name}_{grid.name}"
        self.space = grid.space
        self.observation_shape = (3, *shape[1:])
        self.maximum = 255

    @abc.abstractmethod
    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Images in [0, 1] of shape ``(batch, 3, height, width)``.

        Args:
            images: Images of the grid in [0, 1], with 1 or 3 channels.
            index: Indices of the images, ``(batch,)``.
        """

    def render(self, factors: Tensor) -> Tensor:
        """Stored observations of the factor classes ``(batch, len(space))``: uint8."""
        return self.observations(self.index(factors))

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored: uint8 of shape ``(len(index), 3, height, width)``."""
        images = self.grid.to_float(self.grid.observations(index))
        return self.randomise(images, index).mul(255).round_().to(torch.uint8)

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """Conditions of the grid: further arguments of model and guide for each datum, by name."""
        return self.grid.conditions(index)

    @property
    def condition_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the columns of conditions, by condition, where they are known."""
        return self.grid.condition_columns

    def rows(self, index: Tensor) -> Tensor:
        """Rows in the user's own data, int64 ``(len(index),)``."""
        return self.grid.rows(index)

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Names of the rows, ``(len(index),)``."""
        return self.grid.row_labels(index)

    def _uniform(self, index: Tensor, num: int) -> Tensor:
        """Uniform numbers in [0, 1] in steps of 1/255, ``(len(index), num)``."""
        return random_bytes(self.seed, index, num) / 255


class Coloured(RandomisedGrid):
    r"""Each image m in a random colour, as in Color-dSprites [1].

    .. math:: x_{chw} = u_c\, m_{chw}, \qquad u_c \sim U(\tfrac12, 1)

    The colour is a function of seed and index: an image has the same colour whenever it is drawn.
    The colour is not a factor.

    Args:
        grid: Grid of images with 1 or 3 channels.
        seed: Seed of the colours.

    References:
        [1] Locatello et al., 2019. Challenging common assumptions in the unsupervised learning of
        disentangled representations. https://arxiv.org/abs/1811.12359

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = Coloured(Sprites())
        >>> data.name, data.observations(torch.tensor([7])).shape
        ('coloured_sprites', torch.Size([1, 3, 64, 64]))
    """

    def __init__(self, grid: FactorGrid, *, seed: int = 0) -> None:
        super().__init__(grid, seed, name="coloured")

    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Multiply each image by its colour."""
        return images * (0.5 + 0.5 * self._uniform(index, 3))[:, :, None, None]


class Noisy(RandomisedGrid):
    r"""Each image m in front of random noise, as in Noisy-dSprites [1].

    .. math:: x_{chw} = \min(1, m_{chw} + u_{chw}), \qquad u_{chw} \sim U(0, 1)

    The noise is a function of seed and index.

    Args:
        grid: Grid of images with 1 or 3 channels.
        seed: Seed of the noise.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359
    """

    def __init__(self, grid: FactorGrid, *, seed: int = 0) -> None:
        super().__init__(grid, seed, name="noisy")

    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Add noise to each image and cut off at 1."""
        _, height, width = self.observation_shape
        noise = self._uniform(index, 3 * height * width).view(-1, 3, height, width)
        return noise.add_(images).clamp_(max=1)


class OnPicture(RandomisedGrid):
    r"""Each image m as a negative on a part b of a tinted picture, as in Scream-dSprites [1].

    .. math:: x = (1 - m)\, b + m\, (1 - b), \qquad
       b_{chw} = \tfrac12 (\text{picture}_{c, h + \eta, w + \omega} + u_c),
       \qquad u_c \sim U(0, 1)

    with a uniform position :math:`(\eta, \omega)`. Position and tint u are functions of seed and
    index. The published picture is not part of this library: pass it, or use the default
    :func:`swirls`.

    Args:
        grid: Grid of images with 1 or 3 channels.
        picture: Picture, uint8 of shape ``(3, height, width)``, no smaller than the images; by
            default :func:`swirls`.
        seed: Seed of positions and tints.

    Raises:
        ValueError: The picture has another type or shape, or is too small.

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
            got = f"{tuple(picture.shape[1:])}"
            raise ValueError(f"expected a picture of at least {height} x {width} pixels, got {got}")
        self._num_rows = picture.shape[1] - height + 1
        self._num_columns = picture.shape[2] - width + 1
        self._picture = DeviceCopies(picture)

    def randomise(self, images: Tensor, index: Tensor) -> Tensor:
        """Draw each image as a negative on its part of the picture."""
        random = random_bytes(
            self.seed, index, 11
        )  # 4 for the row, 4 for the column, 3 for the tint
        part = self._part(
            _integers(random[:, :4], self._num_rows), _integers(random[:, 4:8], self._num_columns)
        )
        tint = random[:, 8:, None, None] / 255
        background = (part + tint) / 2
        return torch.lerp(background, 1 - background, images.expand_as(background))

    def _part(self, top: Tensor, left: Tensor) -> Tensor:
        """Parts of the picture with the given corners, in [0, 1]: ``(batch, 3, height, width)``."""
        _, height, width = self.observation_shape
        picture = self._picture.on(top.device)
        windows = picture.unfold(1, height, 1).unfold(
            2, width, 1
        )  # (3, rows, columns, height, width)
        return windows[:, top, left].transpose(0, 1).contiguous() / 255


def swirls(height: int = 274, width: int = 350) -> Tensor:
    """A picture of coloured bands that bend around a few centres: uint8 ``(3, height, width)``.

    The default size is the size to which the published picture of Scream-dSprites is scaled.
    """
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, width / height, width)
    phase = _swirl_phase(x, y)
    warm = _colour(_WARM_RGB)
    cold = _colour(_COLD_RGB)
    dark = _colour(_DARK_RGB)
    light = 0.5 + 0.5 * torch.sin(2.2 * phase) * (1 - y)
    line = torch.sin(17 * phase + 5 * x).square() * (0.2 + 0.6 * y)
    picture = torch.lerp(torch.lerp(cold, warm, light), dark, line)
    return (255 * picture).round().to(torch.uint8)


def _swirl_phase(x: Tensor, y: Tensor) -> Tensor:
    """Phase of the bands: a slope, turned around each centre, ``(height, width)``."""
    phase = 9 * y + 2 * x
    for centre_x, centre_y, turn in _SWIRLS:
        squared_distance = (x - centre_x).square() + (y - centre_y).square()
        phase = phase + turn * torch.exp(-12 * squared_distance)
    return phase


def _colour(rgb: tuple[float, float, float]) -> Tensor:
    """A colour as an image of one pixel, ``(3, 1, 1)``."""
    return torch.tensor(rgb)[:, None, None]


def _integers(random: Tensor, num: int) -> Tensor:
    """Integers from 0 to ``num - 1`` from 4 random bytes each, ``(batch,)``."""
    weights = torch.tensor([1, 1 << 8, 1 << 16, 1 << 24], device=random.device)
    return (random.long() * weights).sum(-1) * num >> 32
