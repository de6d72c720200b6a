"""The files of MPI3D: mapped as they are where they are not compressed, else unpacked once."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.files import npz
from ppl_disentangle.data.files.stored_grid import StoredGrid
from ppl_disentangle.data.files.unpacked import unpacked

__all__ = ["MPI3D", "is_mpi3d"]

_BLOCK = 1024
_STEPS = tuple(range(40))
_AROUND = (
    Factor("size", ("small", "large"), "categorical"),
    Factor("height", ("top", "center", "bottom")),
    Factor("background", ("purple", "sea green", "salmon"), "categorical"),
    Factor("horizontal", _STEPS),
    Factor("vertical", _STEPS),
)
_SIMPLE = (
    Factor("color", ("white", "green", "red", "blue", "brown", "olive"), "categorical"),
    Factor("shape", ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere"), "categorical"),
    *_AROUND,
)
_COMPLEX = (
    Factor("color", ("yellow", "green", "olive", "red"), "categorical"),
    Factor("shape", ("coffee-cup", "tennis-ball", "croissant", "beer-cup"), "categorical"),
    *_AROUND,
)
_SPACES = {math.prod(factor.size for factor in space): space for space in (_SIMPLE, _COMPLEX)}


class MPI3D(StoredGrid):
    """The images of MPI3D toy, realistic, real or complex [1], from its npz file.

    The file has images and no labels, hence their number tells which of the two grids it is: 1,036,800 of six colours
    and six shapes, or 460,800 of four and four. A compressed file is unpacked once into an npy file of 12.7 GB, or
    5.7 GB; one that is not is mapped as it is.

    An older toy and realistic file has 460,800 images too, of other colours and shapes than complex: its classes are
    right, the words for its colours and shapes are not.

    Args:
        path: where the file is.
        sizes: number of values of each of the seven factors, for a file with another number of images.
        unpacked_to: where the npy file is or shall be; by default beside the file, ``<path>.unpacked.npy``.

    Raises:
        ValueError: it is no such file, is damaged, or its images are more or fewer than their combinations.
        OSError: the npy file cannot be written.

    References:
        [1] Gondal et al., 2019. On the transfer of inductive bias from simulation to the real world: a new
        disentanglement dataset. https://arxiv.org/abs/1906.03292
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sizes: Sequence[int] | None = None,
        unpacked_to: str | Path | None = None,
    ) -> None:
        self.name, self.observation_shape, self.maximum, path = (
            "mpi3d",
            (3, 64, 64),
            255,
            Path(path),
        )
        target = None if unpacked_to is None else Path(unpacked_to)
        try:
            with zipfile.ZipFile(path) as archive:
                member = npz.Member(archive, "images")
                if member.shape[1:] != (64, 64, 3):
                    raise ValueError(
                        f"expected images of shape (num, 64, 64, 3), got {member.shape}"
                    )
                self.space = _space(member.shape[0], sizes)
                images = member.mapped()
                if images is None:
                    images = unpacked(path, target, member.shape, lambda: member.blocks(_BLOCK))
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a file of MPI3D: {error}") from error
        self.images = images


def is_mpi3d(path: Path) -> bool:
    """Whether an npz file has nothing but as many images as one of the published files."""
    if list(npz.arrays(path)) != ["images"]:
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            shape = npz.Member(archive, "images").shape
    except (ValueError, EOFError, zlib.error):
        return False
    return shape[1:] == (64, 64, 3) and shape[0] in _SPACES


def _space(num: int, sizes: Sequence[int] | None) -> tuple[Factor, ...]:
    """The factors of a file with ``num`` images."""
    if sizes is None:
        if num not in _SPACES:
            raise ValueError(
                f"expected {' or '.join(f'{n:,}' for n in _SPACES)} images or their sizes=…, got {num:,}"
            )
        return _SPACES[num]
    if len(sizes) != len(_SIMPLE) or math.prod(sizes) != num:
        raise ValueError(
            f"expected sizes of {len(_SIMPLE)} factors with the product {num}, got {list(sizes)}"
        )
    return tuple(
        Factor(f.name, tuple(range(size)), f.kind) for f, size in zip(_SIMPLE, sizes, strict=True)
    )
