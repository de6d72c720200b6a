"""The binary matrix format of NORB. Its files are called ``.mat`` but are not MATLAB files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.files.gzipped import is_gzipped, opened
from ppl_disentangle.data.files.reading import check_size, most_bytes, reading

__all__ = ["read_blocks", "read_matrix"]

_DTYPES = {
    0x1E3D4C51: "<f4",
    0x1E3D4C53: "<f8",
    0x1E3D4C54: "<i4",
    0x1E3D4C55: "|u1",
    0x1E3D4C56: "<i2",
}
_MANY_ROWS = 1 << 20
_MIN_SIZES = 3  # in the header, whatever the number of axes


def read_matrix(path: Path) -> npt.NDArray[np.generic]:
    """Read a whole matrix, gzipped or not.

    The header consists of little-endian int32: a number for the type, the number of axes, and three
    or more sizes, padded with 1. The values follow, the last index varying fastest.

    Raises:
        ValueError: The file has another format, is damaged, or has too few or too many bytes.
    """
    return np.concatenate(list(read_blocks(path, _MANY_ROWS)))


def read_blocks(path: Path, rows: int) -> Iterator[npt.NDArray[np.generic]]:
    """Yield a matrix in parts of ``rows`` rows, in order; at least one part.

    Raises:
        ValueError: As for :func:`read_matrix`.
    """
    with reading(path, "a matrix of NORB"), opened(path) as stream:
        dtype, shape = _read_header(stream)
        most = most_bytes(path, is_compressed=is_gzipped(path))
        check_size(shape, dtype.itemsize, most, "the matrix")
        for start in range(0, max(1, shape[0]), rows):
            num_rows = min(rows, shape[0] - start)
            yield _read_rows(stream, dtype, shape, start, num_rows)
        if stream.read(1):
            raise ValueError(f"there is more behind the {shape[0]} rows")


def _read_rows(
    stream: IO[bytes],
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    start: int,
    num_rows: int,
) -> npt.NDArray[np.generic]:
    """The next ``num_rows`` rows of a matrix, beginning with row ``start``."""
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    content = stream.read(num_rows * row_bytes)
    if len(content) != num_rows * row_bytes:
        last = start + len(content) // row_bytes
        raise ValueError(f"it ends in row {last} of {shape[0]}")
    return np.frombuffer(content, dtype).reshape(num_rows, *shape[1:])


def _read_header(stream: IO[bytes]) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """Type and shape of the matrix."""
    magic = int.from_bytes(stream.read(4), "little")
    num_axes = int.from_bytes(stream.read(4), "little")
    if magic not in _DTYPES or not 1 <= num_axes <= 8:
        expected = f"one of the numbers {[hex(number) for number in _DTYPES]} and 1 to 8 axes"
        raise ValueError(f"expected {expected}, got {magic:#x}, {num_axes}")
    num_sizes = max(_MIN_SIZES, num_axes)
    content = stream.read(4 * num_sizes)
    whole_sizes = content[: len(content) // 4 * 4]  # frombuffer does not accept a partial int32
    sizes = np.frombuffer(whole_sizes, "<i4").tolist()
    if len(sizes) != num_sizes or min(sizes) < 0:
        raise ValueError(f"expected {num_sizes} sizes, got {sizes}")
    return np.dtype(_DTYPES[magic]), tuple(sizes[:num_axes])
