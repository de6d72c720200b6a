"""The dSprites file, npz or HDF5, kept at one bit a pixel."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorGrid
from ppl_disentangle.data.drawn.sprites import Sprites
from ppl_disentangle.data.files import hdf5, npz
from ppl_disentangle.data.files.stored_grid import row_major

__all__ = ["DSprites"]

_SHAPES = {1: "square", 2: "ellipse", 3: "heart"}
_BLOCK = 4096


class DSprites(FactorGrid):
    """The images of ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64`` (npz or hdf5), or of a sub-grid in these formats.

    The images are streamed from the file and kept at one bit a pixel: 377 MB instead of 3 GB. Nothing in
    the file is unpickled. Colour, which has one value, is no factor. :class:`Sprites` has the same grid and
    needs no file. The images are copied once to each device that an index comes from.

    Args:
        path: where the file is.

    Raises:
        ValueError: it is no such file, is damaged, or ends too early; the error says where.

    References:
        [1] Matthey et al., 2017. dSprites: Disentanglement testing Sprites dataset.
        https://github.com/google-deepmind/dsprites-dataset
    """

    def __init__(self, path: str | Path) -> None:
        self.name, self.observation_shape, self.maximum = "dsprites", (1, 64, 64), 1
        path = Path(path)
        try:
            self.space, packed = _read_hdf5(path) if h5py.is_hdf5(path) else _read_npz(path)
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a dSprites file: {error}") from error
        self._packed = DeviceCopies(packed)
        pixels = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        self._words = DeviceCopies(
            torch.from_numpy(pixels).view(torch.int64).view(-1)
        )  # 8 pixels a word

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 5)``: uint8 in {0, 1}, ``(batch, 1, 64, 64)``."""
        return self.observations(self.index(factors))

    def observations(self, index: Tensor) -> Tensor:
        """Equal to ``render(factors(index))``, without the way through the factors."""
        rows = self._packed.on(index.device).index_select(0, index)  # (batch, 512)
        words = self._words.on(index.device).index_select(0, rows.view(-1).int())
        return words.view(torch.uint8).view(-1, 1, 64, 64)


def _read_npz(path: Path) -> tuple[tuple[Factor, ...], Tensor]:
    with zipfile.ZipFile(path) as archive:
        values, classes = (
            npz.small_array(archive, f"latents_{key}") for key in ("values", "classes")
        )
        space = _space(values, classes)
        images = npz.Member(archive, "imgs")
        return space, _packed(images.shape, images.blocks(_BLOCK), len(values))


def _read_hdf5(path: Path) -> tuple[tuple[Factor, ...], Tensor]:
    with hdf5.opened(path) as file:
        values, classes = (
            np.concatenate(list(hdf5.blocks(hdf5.array(file, f"latents/{key}", dtype, (6,)))))
            for key, dtype in (("values", "f8"), ("classes", "i8"))
        )
        space = _space(values, classes)
        images = hdf5.array(file, "imgs", "u1", (64, 64))
        return space, _packed(images.shape, hdf5.blocks(images), len(values))


def _space(values: npt.NDArray[np.generic], classes: npt.NDArray[np.generic]) -> tuple[Factor, ...]:
    """The factors, from the values of the file; an error unless they form a grid in row-major order."""
    for name, table, dtype in (
        ("latents_values", values, "f8"),
        ("latents_classes", classes, "i8"),
    ):
        if table.dtype != np.dtype(dtype) or table.ndim != 2 or table.shape[1] != 6:
            raise ValueError(
                f"expected {name} of {np.dtype(dtype)} (rows, 6), got {table.dtype} {table.shape}"
            )
    if len(values) != len(classes):
        raise ValueError(f"latents_values has {len(values)} rows, latents_classes {len(classes)}")
    levels = row_major(values, "latents_values", "posY")
    row_major(classes, "latents_classes", "posY")
    if len(levels[0]) != 1:
        raise ValueError(f"expected one colour, got {len(levels[0])}")
    if not set(levels[1].tolist()) <= set(_SHAPES):
        raise ValueError(f"expected shapes among {list(_SHAPES)}, got {levels[1].tolist()}")
    shapes = tuple(_SHAPES[shape] for shape in levels[1].tolist())
    found = [shapes, *(tuple(level.tolist()) for level in levels[2:])]
    return tuple(
        dataclasses.replace(f, values=v) for f, v in zip(Sprites().space, found, strict=True)
    )


def _packed(shape: tuple[int, ...], blocks: Iterable[npt.NDArray[np.uint8]], num: int) -> Tensor:
    """The images in uint8 ``(num, 512)``: 8 pixels a byte, the first in the highest bit."""
    if shape != (num, 64, 64):
        raise ValueError(f"expected imgs of uint8 ({num}, 64, 64), got uint8 {shape}")
    packed = np.empty((num, 512), dtype=np.uint8)
    start = 0
    for block in blocks:
        rows = packed[start : start + len(block)]
        if block.max() > 1:
            raise ValueError(
                f"expected imgs of 0 and 1, got {block.max()} in rows {start} to {start + len(rows)}"
            )
        rows[:] = np.packbits(block.reshape(-1, 4096), axis=1)
        start += len(rows)
    return torch.from_numpy(packed)
