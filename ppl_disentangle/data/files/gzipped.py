"""Open files that may be gzipped."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, cast

__all__ = ["is_gzipped", "opened"]

_GZIP_MAGIC = b"\x1f\x8b"


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading, and unzip it if it starts like a gzip file, whatever its name."""
    return cast(IO[bytes], gzip.open(path)) if is_gzipped(path) else path.open("rb")


def is_gzipped(path: Path) -> bool:
    """Whether a file starts like a gzip file."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC
