"""The dSprites file, npz or HDF5, stored at one bit a pixel."""

from __future__ import annotations

import dataclasses
import zipfile
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
from ppl_disentangle.data.files.reading import reading
from ppl_disentangle.data.files.stored_grid import row_major

__all__ = ["DSprites"]

_SHAPE_NAMES = {1: "square", 2: "ellipse", 3: "heart"}
_BLOCK_IMAGES = 4096
_NUM_PIXELS = 64 * 64
_NUM_PACKED_BYTES = _NUM_PIXELS // 8


class DSprites(FactorGrid):
    """The images of dSprites [1], or of a sub-grid in the same format.

    The file is ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64``, npz or hdf5. The images are streamed
    from the file and stored at one bit a pixel, in 377 MB instead of 3 GB. Nothing in the file is
    unpickled. Colour has only one value and is left out of the factors. The images are copied once
    to each device on which they are indexed. :class:`~ppl_disentangle.data.Sprites` has the same
    grid and needs no file.

    Args:
        path: Path of the file.

    Raises:
        ValueError: The file has another format, is damaged, or ends too early.

    References:
        [1] Matthey et al., 2017. dSprites: Disentanglement testing Sprites dataset.
        https://github.com/google-deepmind/dsprites-dataset
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "dsprites"
        self.observation_shape = (1, 64, 64)
        self.maximum = 1
        path = Path(path).expanduser()
        with reading(path, "a dSprites file"):
            self.space, packed = _read_hdf5(path) if h5py.is_hdf5(path) else _read_npz(path)
        self._packed = DeviceCopies(packed)
        # The 8 pixels of each possible byte, as one word of int64.
        pixels = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        self._words = DeviceCopies(torch.from_numpy(pixels).view(torch.int64).view(-1))

    def render(self, factors: Tensor) -> Tensor:
        """Images of the factor classes ``(batch, 5)``: uint8 in {0, 1}, ``(batch, 1, 64, 64)``."""
        return self.observations(self.index(factors))

    def observations(self, index: Tensor) -> Tensor:
        """Images at ``index``; the same as ``render(factors(index))``, in fewer steps."""
        rows = self._packed.on(index.device).index_select(0, index)  # (batch, 512)
        words = self._words.on(index.device).index_select(0, rows.view(-1).int())
        return words.view(torch.uint8).view(-1, 1, 64, 64)


def _read_npz(path: Path) -> tuple[tuple[Factor, ...], Tensor]:
    """Factors and packed images of the npz file."""
    with zipfile.ZipFile(path) as archive:
        values = npz.small_array(archive, "latents_values")
        classes = npz.small_array(archive, "latents_classes")
        space = _space(values, classes)
        images = npz.Member(archive, "imgs")
        return space, _packed(images.shape, images.blocks(_BLOCK_IMAGES), len(values))


def _read_hdf5(path: Path) -> tuple[tuple[Factor, ...], Tensor]:
    """Factors and packed images of the HDF5 file."""
    with hdf5.opened(path) as file:
        values = hdf5.small_array(file, "latents/values", "f8", (6,))
        classes = hdf5.small_array(file, "latents/classes", "i8", (6,))
        space = _space(values, classes)
        images = hdf5.array(file, "imgs", "u1", (64, 64))
        return space, _packed(images.shape, hdf5.blocks(images), len(values))


def _space(values: npt.NDArray[np.generic], classes: npt.NDArray[np.generic]) -> tuple[Factor, ...]:
    """The factors with the values of the file, after checking that they form a row-major grid."""
    _check_table("latents_values", values, "f8")
    _check_table("latents_classes", classes, "i8")
    if len(values) != len(classes):
        raise ValueError(f"latents_values has {len(values)} rows, latents_classes {len(classes)}")
    levels = row_major(values, "latents_values", "posY")
    row_major(classes, "latents_classes", "posY")
    colours, shapes, *others = [level.tolist() for level in levels]
    if len(colours) != 1:
        raise ValueError(f"expected one colour, got {len(colours)}")
    if set(shapes) - set(_SHAPE_NAMES):
        raise ValueError(f"expected shapes among {list(_SHAPE_NAMES)}, got {shapes}")
    factor_values = [[_SHAPE_NAMES[shape] for shape in shapes], *others]
    return tuple(
        dataclasses.replace(factor, values=tuple(values_of_factor))
        for factor, values_of_factor in zip(Sprites().space, factor_values, strict=True)
    )


def _check_table(name: str, table: npt.NDArray[np.generic], dtype: str) -> None:
    if table.dtype != np.dtype(dtype) or table.ndim != 2 or table.shape[1] != 6:
        expected = f"{name} of {np.dtype(dtype)} (rows, 6)"
        raise ValueError(f"expected {expected}, got {table.dtype} {table.shape}")


def _packed(shape: tuple[int, ...], blocks: Iterable[npt.NDArray[np.uint8]], num: int) -> Tensor:
    """The images at one bit a pixel: uint8 ``(num, 512)``, the first pixel in the highest bit.

    Args:
        shape: Shape of the images in the file.
        blocks: The images in parts, in order.
        num: Expected number of images.
    """
    if shape != (num, 64, 64):
        raise ValueError(f"expected imgs of uint8 ({num}, 64, 64), got uint8 {shape}")
    packed = np.empty((num, _NUM_PACKED_BYTES), dtype=np.uint8)
    start = 0
    for block in blocks:
        end = start + len(block)
        if block.max() > 1:
            raise ValueError(
                f"expected imgs of 0 and 1, got {block.max()} in rows {start} to {end}"
            )
        packed[start:end] = np.packbits(block.reshape(-1, _NUM_PIXELS), axis=1)
        start = end
    return torch.from_numpy(packed)
