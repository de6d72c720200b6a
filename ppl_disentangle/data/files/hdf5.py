"""Arrays of HDF5 files, checked and streamed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.files.reading import check_size, most_bytes, reading

__all__ = ["array", "arrays", "blocks", "opened", "small_array"]

_BLOCK_ROWS = 4096


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has another format or ends too early.
    """
    path.open("rb").close()  # h5py reports a missing file as a damaged one
    try:
        file = h5py.File(path)
    except OSError as error:
        raise ValueError(str(error)) from error
    with file:
        yield file


def array(file: h5py.File, key: str, dtype: npt.DTypeLike, tail: tuple[int, ...]) -> h5py.Dataset:
    """The array at ``key``, checked and not yet read.

    Args:
        file: Open file.
        key: Path of the array in the file.
        dtype: Expected type of the values.
        tail: Expected shape without the first axis.

    Raises:
        ValueError: The array is missing, is empty, or has another type or shape.
    """
    dataset = file.get(key)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"expected an array {key!r}, got {list(file)}")
    if dataset.dtype != np.dtype(dtype) or dataset.shape[1:] != tail or not dataset.shape[0]:
        shape = ", ".join(["rows", *map(str, tail)])
        expected = f"{key} of {np.dtype(dtype)} ({shape})"
        raise ValueError(f"expected {expected}, got {dataset.dtype} {dataset.shape}")
    _check_stored(file, dataset)
    return dataset


def _check_stored(file: h5py.File, dataset: h5py.Dataset) -> None:
    """Check that the file has all parts of an array; HDF5 reads missing parts as zeros.

    Raises:
        ValueError: A part is missing, or the file is too small for the array.
    """
    most = most_bytes(Path(file.filename), is_compressed=dataset.chunks is not None)
    check_size(dataset.shape, dataset.dtype.itemsize, most, str(dataset.name))
    if dataset.chunks is None:
        return
    sides = zip(dataset.shape, dataset.chunks, strict=True)
    num_chunks = math.prod(-(-size // chunk) for size, chunk in sides)
    num_stored = dataset.id.get_num_chunks()
    if num_stored != num_chunks:
        raise ValueError(f"expected {num_chunks} parts of {dataset.name}, got {num_stored}")


def small_array(
    file: h5py.File, key: str, dtype: npt.DTypeLike, tail: tuple[int, ...]
) -> npt.NDArray[Any]:
    """The array at ``key``, read into memory; see :func:`array` for arguments and errors."""
    return np.concatenate(list(blocks(array(file, key, dtype, tail))))


def blocks(dataset: h5py.Dataset) -> Iterator[npt.NDArray[Any]]:
    """Yield the array in parts, in order.

    A part consists of whole chunks of the file: reading row by row would decompress a chunk for
    each row.

    Raises:
        ValueError: A part is damaged.
    """
    rows = dataset.chunks[0] if dataset.chunks else 1
    rows *= max(1, _BLOCK_ROWS // rows)
    for start in range(0, dataset.shape[0], rows):
        try:
            yield dataset[start : start + rows]
        except OSError as error:
            raise ValueError(f"{dataset.name} cannot be read from row {start}: {error}") from error


def arrays(path: Path) -> Sequence[str]:
    """Names at the top level of an HDF5 file; empty if the file has another format.

    Raises:
        ValueError: The file ends too early.
    """
    if not h5py.is_hdf5(path):
        return []
    with reading(path, "an HDF5 file"), opened(path) as file:
        return list(file)
