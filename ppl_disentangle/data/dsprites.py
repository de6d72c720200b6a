"""The dSprites file, kept at one bit a pixel."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib import format as npy
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid, Stored
from ppl_disentangle.data.sprites import Sprites

__all__ = ["DSprites"]

_SHAPES = {1: "square", 2: "ellipse", 3: "heart"}
_BLOCK = 4096


class DSprites(FactorGrid):
    """The images of ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``, or of a sub-grid in the same format.

    The images are streamed from the file and kept at one bit a pixel: 377 MB instead of 3 GB. Nothing in
    the file is unpickled. Colour, which has one value, is no factor. :class:`Sprites` has the same grid and
    needs no file. The images are copied once to each device that an index comes from.

    Args:
        path: where the file is.

    References:
        [1] Matthey et al., 2017. dSprites: Disentanglement testing Sprites dataset.
        https://github.com/google-deepmind/dsprites-dataset
    """

    def __init__(self, path: str | Path) -> None:
        self.name, self.observation_shape, self.maximum = "dsprites", (1, 64, 64), 1
        try:
            with zipfile.ZipFile(path) as archive:
                self.space = _read_space(archive)
                self._packed = Stored(_read_packed(archive, len(self)))
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a dSprites file: {error}") from error
        pixels = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        self._words = Stored(torch.from_numpy(pixels).view(torch.int64).view(-1))  # 8 pixels a word

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 5)``: uint8 in {0, 1}, ``(batch, 1, 64, 64)``."""
        return self.observations(self.index(factors))

    def observations(self, index: Tensor) -> Tensor:
        """Equal to ``render(factors(index))``, without the way through the factors."""
        rows = self._packed.on(index.device).index_select(0, index)  # (batch, 512)
        words = self._words.on(index.device).index_select(0, rows.view(-1).int())
        return words.view(torch.uint8).view(-1, 1, 64, 64)


def _read_space(archive: zipfile.ZipFile) -> tuple[Factor, ...]:
    """The factors, from the values of the file; an error unless they form a grid in row-major order."""
    values = _read_table(archive, "latents_values", "f8")
    classes = _read_table(archive, "latents_classes", "i8")
    if len(values) != len(classes):
        raise ValueError(f"latents_values has {len(values)} rows, latents_classes {len(classes)}")
    levels = [np.unique(column) for column in values.T]
    sizes = [len(level) for level in levels]
    if sizes[0] != 1 or np.prod(sizes) != len(values):
        raise ValueError(f"expected one colour and every combination once, got {sizes} values, {len(values)} rows")
    grid = np.indices(sizes, dtype=np.int32).reshape(6, -1)
    for table_name, table in (("latents_values", values), ("latents_classes", classes)):
        for column, expected in zip(table.T, grid, strict=True):
            if not np.array_equal(np.unique(column, return_inverse=True)[1], expected):
                raise ValueError(f"expected rows in row-major order with posY fastest, {table_name} has another")
    if not set(levels[1].tolist()) <= set(_SHAPES):
        raise ValueError(f"expected shapes among {list(_SHAPES)}, got {levels[1].tolist()}")
    shapes = tuple(_SHAPES[shape] for shape in levels[1].tolist())
    found = [shapes, *(tuple(level.tolist()) for level in levels[2:])]
    return tuple(dataclasses.replace(f, values=v) for f, v in zip(Sprites().space, found, strict=True))


def _read_table(archive: zipfile.ZipFile, key: str, dtype: str) -> npt.NDArray[np.generic]:
    """An array of shape ``(rows, 6)``."""
    with _member(archive, key) as member:
        table = npy.read_array(member, allow_pickle=False)
    if table.dtype != np.dtype(dtype) or table.ndim != 2 or table.shape[1] != 6:
        raise ValueError(f"expected {key} of {np.dtype(dtype)} (rows, 6), got {table.dtype} {table.shape}")
    return table


def _read_packed(archive: zipfile.ZipFile, num: int) -> Tensor:
    """The images, streamed into uint8 ``(num, 512)``: 8 pixels a byte, the first in the highest bit."""
    packed = np.empty((num, 512), dtype=np.uint8)
    with _member(archive, "imgs") as member:
        if (version := npy.read_magic(member)) != (1, 0):
            raise ValueError(f"expected imgs in npy format (1, 0), got {version}")
        shape, fortran, dtype = npy.read_array_header_1_0(member)
        if dtype != np.uint8 or shape != (num, 64, 64) or fortran:
            raise ValueError(f"expected imgs of uint8 ({num}, 64, 64) in C order, got {dtype} {shape}, {fortran=}")
        for start in range(0, num, _BLOCK):
            rows = packed[start : start + _BLOCK]
            block = np.frombuffer(member.read(len(rows) * 4096), dtype=np.uint8)
            if block.size != len(rows) * 4096:
                raise ValueError(f"imgs ends in row {start + block.size // 4096} of {num}")
            if block.max() > 1:
                raise ValueError(f"expected imgs of 0 and 1, got {block.max()} in rows {start} to {start + len(rows)}")
            rows[:] = np.packbits(block.reshape(-1, 4096), axis=1)
    return torch.from_numpy(packed)


def _member(archive: zipfile.ZipFile, key: str) -> IO[bytes]:
    if f"{key}.npy" not in archive.namelist():
        raise ValueError(f"expected an array {key!r}, got {archive.namelist()}")
    return archive.open(f"{key}.npy")
