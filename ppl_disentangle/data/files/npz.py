"""Arrays of npz files that are too large for memory: streamed, or mapped where they are not compressed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib import format as npy
from torch import Tensor

__all__ = ["Member", "arrays", "opened", "small_array"]

_LOCAL_HEADER = 30  # bytes of a zip file's local header before the name


class Member:
    """An array of uint8 in an npz file, of which the header has been read.

    Args:
        archive: the file.
        key: name of the array.

    Raises:
        ValueError: there is none, or it is no uint8 array in C order in npy format 1.0.
    """

    def __init__(self, archive: zipfile.ZipFile, key: str) -> None:
        self.archive, self.key = archive, key
        with opened(archive, key) as stream:
            if (version := npy.read_magic(stream)) != (1, 0):
                raise ValueError(f"expected {key} in npy format (1, 0), got {version}")
            self.shape, fortran, dtype = npy.read_array_header_1_0(stream)
            self._header = stream.tell()
        if dtype != np.uint8 or fortran:
            raise ValueError(
                f"expected {key} of uint8 in C order, got {dtype} {self.shape}, {fortran=}"
            )

    def blocks(self, rows: int) -> Iterator[npt.NDArray[np.uint8]]:
        """The array in parts of ``rows`` rows, in order.

        Raises:
            ValueError: the array ends too early.
        """
        row = int(np.prod(self.shape[1:]))
        with opened(self.archive, self.key) as stream:
            stream.read(self._header)
            for start in range(0, self.shape[0], rows):
                num = min(rows, self.shape[0] - start)
                block = np.frombuffer(stream.read(num * row), dtype=np.uint8)
                if block.size != num * row:
                    raise ValueError(
                        f"{self.key} ends in row {start + block.size // row} of {self.shape[0]}"
                    )
                yield block.reshape(num, *self.shape[1:])

    def mapped(self) -> Tensor | None:
        """The array mapped into memory, or nothing if it is compressed.

        Raises:
            ValueError: the array ends too early.
        """
        info = self.archive.getinfo(f"{self.key}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        size, path = int(np.prod(self.shape)), Path(str(self.archive.filename))
        if info.file_size != self._header + size:
            raise ValueError(
                f"expected {size} bytes of {self.key}, got {info.file_size - self._header}"
            )
        with path.open("rb") as file:
            file.seek(info.header_offset)
            name, extra = struct.unpack("<26xHH", file.read(_LOCAL_HEADER))
        offset = info.header_offset + _LOCAL_HEADER + name + extra + self._header
        # Copy-on-write: nothing is ever written, but torch wants memory that could be.
        return torch.from_numpy(np.memmap(path, np.uint8, "c", offset, self.shape))


def small_array(archive: zipfile.ZipFile, key: str) -> npt.NDArray[np.generic]:
    """An array as a whole; nothing is unpickled."""
    with opened(archive, key) as stream:
        return npy.read_array(stream, allow_pickle=False)


def opened(archive: zipfile.ZipFile, key: str) -> IO[bytes]:
    """The bytes of an array, header first."""
    if f"{key}.npy" not in archive.namelist():
        raise ValueError(f"expected an array {key!r}, got {archive.namelist()}")
    return archive.open(f"{key}.npy")


def arrays(path: Path) -> Sequence[str]:
    """Names of the arrays in an npz file; none if it is another file."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]
