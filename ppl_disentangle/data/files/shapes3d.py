"""3D Shapes, read from its file, which is unpacked once and mapped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.drawn.rays import SHAPES
from ppl_disentangle.data.drawn.room import Room
from ppl_disentangle.data.files import hdf5
from ppl_disentangle.data.files.reading import reading
from ppl_disentangle.data.files.stored_grid import StoredGrid, row_major
from ppl_disentangle.data.files.unpacked import unpacked

__all__ = ["Shapes3D"]

_SHAPE_COLUMN = 4


class Shapes3D(StoredGrid):
    """The images of ``3dshapes.h5`` [1], or of a sub-grid in the same format.

    The compressed chunks of the file make single images slow to read. The file is therefore
    unpacked once, into an npy file of 5.9 GB for the whole grid, and mapped from there: it uses no
    memory except the cache of the operating system. :class:`~ppl_disentangle.data.Room` has the
    same grid and needs no file.

    The values of the factors are the labels of the file: hues, scales, shapes 0 to 3, and degrees.

    Args:
        path: Path of the file.
        unpacked_to: Path of the npy file; by default beside the file, ``3dshapes.h5.unpacked.npy``.

    Raises:
        ValueError: The file has another format or is damaged, or its labels do not form a row-major
            grid.
        OSError: The npy file cannot be written.

    References:
        [1] Burgess and Kim, 2018. 3D Shapes dataset. https://github.com/google-deepmind/3d-shapes
    """

    def __init__(self, path: str | Path, *, unpacked_to: str | Path | None = None) -> None:
        self.name = "shapes3d"
        self.observation_shape = (3, 64, 64)
        self.maximum = 255
        path = Path(path).expanduser()
        target = None if unpacked_to is None else Path(unpacked_to)
        with reading(path, "a file of 3D Shapes"), hdf5.opened(path) as file:
            images = hdf5.array(file, "images", "u1", (64, 64, 3))
            labels = hdf5.small_array(file, "labels", "f8", (6,))
            if len(labels) != len(images):
                raise ValueError(f"images has {len(images)} rows, labels {len(labels)}")
            self.space = _space(labels)
            self.images = unpacked(path, target, images.shape, lambda: hdf5.blocks(images))

    def image_rows(self, index: Tensor) -> Tensor:
        """Positions in ``images``: the images are in the order of the grid."""
        return index


def _space(labels: npt.NDArray[np.generic]) -> tuple[Factor, ...]:
    """The factors with the values of the file, after checking that they form a row-major grid."""
    levels = [level.tolist() for level in row_major(labels, "labels", "orientation")]
    shapes = levels[_SHAPE_COLUMN]
    known = list(range(len(SHAPES)))
    if not set(shapes) <= set(known):
        raise ValueError(f"expected shapes among {known}, got {shapes}")
    levels[_SHAPE_COLUMN] = [SHAPES[int(shape)] for shape in shapes]
    return tuple(
        dataclasses.replace(factor, values=tuple(values))
        for factor, values in zip(Room().space, levels, strict=True)
    )
