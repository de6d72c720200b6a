"""MPI3D, read from its npz file: mapped if the file is not compressed, else unpacked once."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.files import npz
from ppl_disentangle.data.files.reading import reading
from ppl_disentangle.data.files.stored_grid import StoredGrid
from ppl_disentangle.data.files.unpacked import unpacked

__all__ = ["MPI3D", "is_mpi3d"]

_BLOCK_IMAGES = 1024
_IMAGE_SHAPE = (64, 64, 3)
_STEPS = tuple(range(40))
_COMMON_FACTORS = (
    Factor("size", ("small", "large"), "categorical"),
    Factor("height", ("top", "center", "bottom")),
    Factor("background", ("purple", "sea green", "salmon"), "categorical"),
    Factor("horizontal", _STEPS),
    Factor("vertical", _STEPS),
)
_SIMPLE = (
    Factor("color", ("white", "green", "red", "blue", "brown", "olive"), "categorical"),
    Factor("shape", ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere"), "categorical"),
    *_COMMON_FACTORS,
)
_COMPLEX = (
    Factor("color", ("yellow", "green", "olive", "red"), "categorical"),
    Factor("shape", ("coffee-cup", "tennis-ball", "croissant", "beer-cup"), "categorical"),
    *_COMMON_FACTORS,
)
_NUM_SIMPLE = math.prod(factor.size for factor in _SIMPLE)
_NUM_COMPLEX = math.prod(factor.size for factor in _COMPLEX)
_SPACE_BY_NUM = {_NUM_SIMPLE: _SIMPLE, _NUM_COMPLEX: _COMPLEX}


class MPI3D(StoredGrid):
    """The images of MPI3D toy, realistic, real or complex [1], from its npz file.

    The file has images and no labels. The number of images determines the grid: 1,036,800 images of
    six colours and six shapes, or 460,800 images of four colours and four shapes. A compressed file
    is unpacked once into an npy file of 12.7 GB or 5.7 GB; an uncompressed file is mapped directly.

    An older toy and realistic file also has 460,800 images, with other colours and shapes than
    complex: its classes are right, but the names of its colours and shapes are wrong.

    Args:
        path: Path of the file.
        sizes: Number of values of each of the seven factors, for a file with another number of
            images.
        unpacked_to: Path of the npy file; by default ``<path>.unpacked.npy``.

    Raises:
        ValueError: The file has another format or is damaged, or the number of images differs from
            the number of combinations.
        OSError: The npy file cannot be written.

    References:
        [1] Gondal et al., 2019. On the transfer of inductive bias from simulation to the real
        world: a new disentanglement dataset. https://arxiv.org/abs/1906.03292
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sizes: Sequence[int] | None = None,
        unpacked_to: str | Path | None = None,
    ) -> None:
        self.name = "mpi3d"
        self.observation_shape = (3, 64, 64)
        self.maximum = 255
        path = Path(path).expanduser()
        target = None if unpacked_to is None else Path(unpacked_to)
        with reading(path, "a file of MPI3D"), zipfile.ZipFile(path) as archive:
            member = npz.Member(archive, "images")
            if member.shape[1:] != _IMAGE_SHAPE:
                expected = "images of shape (num, 64, 64, 3)"
                raise ValueError(f"expected {expected}, got {member.shape}")
            self.space = _space(member.shape[0], sizes)
            self.images = _images(path, target, member)

    def image_rows(self, index: Tensor) -> Tensor:
        """Positions in ``images``: the images are in the order of the grid."""
        return index


def is_mpi3d(path: Path) -> bool:
    """Whether an npz file contains only images, in the number of one of the published files."""
    if list(npz.arrays(path)) != ["images"]:
        return False
    try:
        with reading(path, "an npz file"), zipfile.ZipFile(path) as archive:
            shape = npz.Member(archive, "images").shape
    except ValueError:
        return False
    return shape[1:] == _IMAGE_SHAPE and shape[0] in _SPACE_BY_NUM


def _images(path: Path, target: Path | None, member: npz.Member) -> Tensor:
    """The images, mapped into memory from the file or from the unpacked file."""
    images = member.mapped()
    if images is None:
        return unpacked(path, target, member.shape, lambda: member.blocks(_BLOCK_IMAGES))
    return images


def _space(num: int, sizes: Sequence[int] | None) -> tuple[Factor, ...]:
    """The factors of a file with ``num`` images."""
    if sizes is None:
        if num not in _SPACE_BY_NUM:
            published = " or ".join(f"{n:,}" for n in _SPACE_BY_NUM)
            raise ValueError(f"expected {published} images or their sizes=…, got {num:,}")
        return _SPACE_BY_NUM[num]
    if len(sizes) != len(_SIMPLE) or math.prod(sizes) != num:
        expected = f"sizes of {len(_SIMPLE)} factors with the product {num}"
        raise ValueError(f"expected {expected}, got {list(sizes)}")
    return tuple(
        Factor(factor.name, tuple(range(size)), factor.kind)
        for factor, size in zip(_SIMPLE, sizes, strict=True)
    )
