"""Arrays of npz files that exceed the memory: streamed, or mapped if they are not compressed."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib import format as npy
from torch import Tensor

from ppl_disentangle.data.files.reading import check_size, most_bytes, reading

__all__ = ["Member", "arrays", "keys", "opened", "read_header", "small_array"]

_LOCAL_HEADER_BYTES = 30  # of a zip file's local header, before the name


class Member:
    """An array of uint8 in an npz file, of which only the header has been read.

    Args:
        archive: Open npz file.
        key: Name of the array.

    Raises:
        ValueError: The array is missing, or is not a uint8 array in C order in npy format 1.0.
    """

    def __init__(self, archive: zipfile.ZipFile, key: str) -> None:
        self.archive = archive
        self.key = key
        with opened(archive, key) as stream:
            version = npy.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"expected {key} in npy format (1, 0), got {version}")
            self.shape, fortran, dtype = npy.read_array_header_1_0(stream)
            self._header_bytes = stream.tell()
        check_member(archive, key, self.shape, dtype, self._header_bytes)
        if dtype != np.uint8 or fortran:
            got = f"{dtype} {self.shape}, {fortran=}"
            raise ValueError(f"expected {key} of uint8 in C order, got {got}")

    def blocks(self, rows: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the array in parts of ``rows`` rows, in order.

        Raises:
            ValueError: The array ends too early.
        """
        num_rows = self.shape[0]
        row_bytes = math.prod(self.shape[1:])
        with opened(self.archive, self.key) as stream:
            stream.read(self._header_bytes)
            for start in range(0, num_rows, rows):
                length = min(rows, num_rows - start)
                block = np.frombuffer(stream.read(length * row_bytes), dtype=np.uint8)
                if block.size != length * row_bytes:
                    last = start + block.size // row_bytes
                    raise ValueError(f"{self.key} ends in row {last} of {num_rows}")
                yield block.reshape(length, *self.shape[1:])

    def mapped(self) -> Tensor | None:
        """The array mapped into memory, or ``None`` if it is compressed.

        Raises:
            ValueError: The array ends too early.
        """
        info = self.archive.getinfo(f"{self.key}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        expected = math.prod(self.shape)
        present = info.file_size - self._header_bytes
        if present != expected:
            raise ValueError(f"expected {expected} bytes of {self.key}, got {present}")
        path = Path(str(self.archive.filename))
        offset = _content_offset(path, info) + self._header_bytes
        # Copy-on-write: nothing is ever written, but torch requires writable memory.
        return torch.from_numpy(np.memmap(path, np.uint8, "c", offset, self.shape))


def _content_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Position in the file at which the content of a member begins, after its local header."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name_bytes, extra_bytes = struct.unpack("<26xHH", file.read(_LOCAL_HEADER_BYTES))
    return info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes


def small_array(archive: zipfile.ZipFile, key: str) -> npt.NDArray[np.generic]:
    """A whole array; nothing is unpickled, and its declared size is checked before it is read.

    Raises:
        ValueError: The array is missing or larger than its file, or would have to be unpickled.
    """
    with opened(archive, key) as stream:
        shape, _, dtype = read_header(stream)
        check_member(archive, key, shape, dtype, stream.tell())
    with opened(archive, key) as stream:
        array = npy.read_array(stream, allow_pickle=False)
        stream.read(1)  # at the end, zipfile compares the checksum
        return array


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an array in npy format."""
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"expected npy format (1, 0) or (2, 0), got {version}")


def check_member(
    archive: zipfile.ZipFile,
    key: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    header_bytes: int,
) -> None:
    """Check that an archive can hold an array of the shape and type that its header declares.

    Raises:
        ValueError: The array is larger than its member, or the member than its file.
    """
    info = archive.getinfo(f"{key}.npy")
    is_compressed = info.compress_type != zipfile.ZIP_STORED
    most = most_bytes(Path(str(archive.filename)), is_compressed=is_compressed)
    check_size((info.file_size,), 1, most, key)
    if not dtype.hasobject:
        check_size(shape, dtype.itemsize, info.file_size - header_bytes, key)


def opened(archive: zipfile.ZipFile, key: str) -> IO[bytes]:
    """The bytes of an array, beginning with its header.

    Raises:
        ValueError: The file has no such array.
    """
    if f"{key}.npy" not in archive.namelist():
        raise ValueError(f"expected an array {key!r}, got {archive.namelist()}")
    return archive.open(f"{key}.npy")


def arrays(path: Path) -> Sequence[str]:
    """Names of the arrays in an npz file; empty if the file has another format."""
    if not zipfile.is_zipfile(path):
        return []
    with reading(path, "an npz file"), zipfile.ZipFile(path) as archive:
        return keys(archive)


def keys(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays in an open npz file."""
    return [name.removesuffix(".npy") for name in archive.namelist()]
