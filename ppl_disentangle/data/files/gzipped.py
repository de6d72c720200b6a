"""Files that may be gzipped or not."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, cast

__all__ = ["opened"]


def opened(path: Path) -> IO[bytes]:
    """The content of a file, unzipped if its first bytes are gzip's, whatever it is called."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb")
