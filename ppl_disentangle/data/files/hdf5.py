"""Arrays of HDF5 files, checked and streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

__all__ = ["array", "arrays", "blocks", "opened"]

_BLOCK = 4096


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another file, or ends too early.
    """
    path.open("rb").close()
    try:
        file = h5py.File(path)
    except OSError as error:
        raise ValueError(str(error)) from error
    with file:
        yield file


def array(file: h5py.File, key: str, dtype: npt.DTypeLike, tail: tuple[int, ...]) -> h5py.Dataset:
    """The array at ``key``, not yet read.

    Args:
        file: an open file.
        key: path of the array in the file.
        dtype: what its values are to be.
        tail: its shape behind the first axis.

    Raises:
        ValueError: there is none, or it is another.
    """
    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"expected an array {key!r}, got {list(file)}")
    if found.dtype != np.dtype(dtype) or found.shape[1:] != tail or not found.shape[0]:
        expected = f"{key} of {np.dtype(dtype)} (rows, {str(tail)[1:].removesuffix(',)').removesuffix(')')})"
        raise ValueError(f"expected {expected}, got {found.dtype} {found.shape}")
    return found


def blocks(found: h5py.Dataset) -> Iterator[npt.NDArray[Any]]:
    """The array in parts that hold whole chunks of the file, in order: reading it row by row would take ages.

    Raises:
        ValueError: a part is damaged.
    """
    rows = found.chunks[0] if found.chunks else 1
    rows *= max(1, _BLOCK // rows)
    for start in range(0, found.shape[0], rows):
        try:
            yield found[start : start + rows]
        except OSError as error:
            raise ValueError(f"{found.name} cannot be read from row {start}: {error}") from error


def arrays(path: Path) -> Sequence[str]:
    """Names at the top of an HDF5 file; none if it is another file.

    Raises:
        ValueError: the file ends too early.
    """
    if not h5py.is_hdf5(path):
        return []
    try:
        with opened(path) as file:
            return list(file)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
