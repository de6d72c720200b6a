"""The file of 3D Shapes, unpacked once and mapped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.drawn.rays import SHAPES
from ppl_disentangle.data.drawn.room import Room
from ppl_disentangle.data.files import hdf5
from ppl_disentangle.data.files.stored_grid import StoredGrid, row_major
from ppl_disentangle.data.files.unpacked import unpacked

__all__ = ["Shapes3D"]


class Shapes3D(StoredGrid):
    """The images of ``3dshapes.h5`` [1], or of a sub-grid in the same format.

    The file is compressed in chunks that make single images slow to read. It is unpacked once, into an npy file of
    5.9 GB for the whole grid, and mapped from there; it takes no memory but what the system keeps of it.
    :class:`~ppl_disentangle.data.Room` has the same grid and needs no file.

    The values of the factors are those of the file's labels: hues, scales, shapes 0 to 3, and degrees.

    Args:
        path: where the file is.
        unpacked_to: where the npy file is or shall be; by default beside the file, ``3dshapes.h5.unpacked.npy``.

    Raises:
        ValueError: it is no such file, is damaged, or its labels are no grid in order.
        OSError: the npy file cannot be written.

    References:
        [1] Burgess and Kim, 2018. 3D Shapes dataset. https://github.com/google-deepmind/3d-shapes
    """

    def __init__(self, path: str | Path, *, unpacked_to: str | Path | None = None) -> None:
        self.name, self.maximum, path = "shapes3d", 255, Path(path)
        target = None if unpacked_to is None else Path(unpacked_to)
        try:
            with hdf5.opened(path) as file:
                images = hdf5.array(file, "images", "u1", (64, 64, 3))
                labels = np.concatenate(list(hdf5.blocks(hdf5.array(file, "labels", "f8", (6,)))))
                if len(labels) != len(images):
                    raise ValueError(f"images has {len(images)} rows, labels {len(labels)}")
                self.space = _space(labels)
                self.images = unpacked(path, target, images.shape, lambda: hdf5.blocks(images))
        except ValueError as error:
            raise ValueError(f"{path} is not a file of 3D Shapes: {error}") from error
        self.observation_shape = (3, 64, 64)


def _space(labels: npt.NDArray[np.generic]) -> tuple[Factor, ...]:
    """The factors, from the labels of the file; an error unless they form a grid in row-major order."""
    levels = [level.tolist() for level in row_major(labels, "labels", "orientation")]
    if not set(levels[4]) <= set(range(len(SHAPES))):
        raise ValueError(f"expected shapes among {list(range(len(SHAPES)))}, got {levels[4]}")
    levels[4] = [SHAPES[int(shape)] for shape in levels[4]]
    return tuple(
        dataclasses.replace(f, values=tuple(v)) for f, v in zip(Room().space, levels, strict=True)
    )
