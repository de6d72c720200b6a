"""The binary matrices in which NORB is published, which are called ``.mat`` and are not MATLAB's."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.files.gzipped import opened

__all__ = ["read_blocks", "read_matrix"]

_TYPES = {
    0x1E3D4C51: "<f4",
    0x1E3D4C53: "<f8",
    0x1E3D4C54: "<i4",
    0x1E3D4C55: "|u1",
    0x1E3D4C56: "<i2",
}


def read_matrix(path: Path) -> npt.NDArray[np.generic]:
    """A matrix as a whole, gzipped or not.

    A header of little-endian int32 has a number that names the type, the number of axes, and three or more sizes,
    padded with 1; the values follow, the last index fastest.

    Raises:
        ValueError: it is no such matrix, is damaged or ends too early.
    """
    return np.concatenate(list(read_blocks(path, 1 << 20)))


def read_blocks(path: Path, rows: int) -> Iterator[npt.NDArray[np.generic]]:
    """The same in parts of ``rows`` rows, in order; there is at least one part.

    Raises:
        ValueError: as :func:`read_matrix`.
    """
    try:
        with opened(path) as stream:
            dtype, shape = _header(stream)
            row = dtype.itemsize * int(np.prod(shape[1:]))
            for start in range(0, max(1, shape[0]), rows):
                num = min(rows, shape[0] - start)
                content = stream.read(num * row)
                if len(content) != num * row:
                    raise ValueError(f"it ends in row {start + len(content) // row} of {shape[0]}")
                yield np.frombuffer(content, dtype).reshape(num, *shape[1:])
            if stream.read(1):
                raise ValueError(f"there is more behind the {shape[0]} rows")
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a matrix of NORB: {error}") from error


def _header(stream: IO[bytes]) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """Type and shape."""
    magic, axes = (int.from_bytes(stream.read(4), "little") for _ in range(2))
    if magic not in _TYPES or not 1 <= axes <= 8:
        raise ValueError(
            f"expected one of the numbers {[hex(m) for m in _TYPES]} and 1 to 8 axes, got {magic:#x}, {axes}"
        )
    content = stream.read(4 * max(3, axes))
    sizes = np.frombuffer(content[: len(content) // 4 * 4], "<i4").tolist()
    if len(sizes) != max(3, axes) or min(sizes) < 0:
        raise ValueError(f"expected {max(3, axes)} sizes, got {sizes}")
    return np.dtype(_TYPES[magic]), tuple(sizes[:axes])
