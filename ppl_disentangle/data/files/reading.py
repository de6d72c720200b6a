"""One wrapper around every reader of files: a damaged file is one line with its path."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NotUnpackedError", "check_size", "most_bytes", "one_line", "reading"]

MAX_RATIO = 2000
"""Largest size of unpacked content over the size of its file. Deflate reaches 1032 at most."""
MAX_MESSAGE_CHARACTERS = 600


class NotUnpackedError(OSError):
    """The content of a file could not be written to a file beside it: the file itself is right."""


PASSED_ON = (FileNotFoundError, PermissionError, ImportError, NotUnpackedError)
"""Errors that do not say that a file is damaged."""


@contextmanager
def reading(path: Path, expected: str, *, of_user: bool = False) -> Iterator[None]:
    """Turn every error of reading a file into a ValueError of one line that begins with its path.

    Libraries raise errors of any type for damaged files, such as ``BadZipFile``, ``MemoryError``,
    ``struct.error`` or ``AttributeError``. A missing file stays a FileNotFoundError.

    Args:
        path: Path of the file, or of the folder that has the files.
        expected: Description of the expected content, such as ``"an npz file"``.
        of_user: Whether the content has no published format. Messages that begin with "expected"
            then follow the path without this description.

    Raises:
        ValueError: The file cannot be read.
    """
    try:
        yield
    except PASSED_ON:
        raise
    except Exception as error:
        message = one_line(error)
        if isinstance(error, ValueError) and message.startswith(str(path)):
            raise ValueError(message) from error
        if of_user and message.startswith("expected "):
            raise ValueError(f"{path}: {message}") from error
        raise ValueError(f"{path} is not {expected}: {message}") from error


def one_line(error: Exception) -> str:
    """The message of an error as one line that is not too long, or its type if it has no message."""
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError | AttributeError | MemoryError):
        words = f"{type(error).__name__}: {words}"
    return words[:MAX_MESSAGE_CHARACTERS]


def check_size(shape: Sequence[int], itemsize: int, present: int, name: str) -> int:
    """Check before anything is allocated that a file can hold an array of a declared shape.

    Args:
        shape: Shape that the header of the file declares.
        itemsize: Bytes of one value.
        present: Bytes of content in the file if it is not compressed, else
            :data:`MAX_RATIO` times its size.
        name: Name of the array in the message.

    Returns:
        Number of bytes of the array.

    Raises:
        ValueError: The declared array is larger than the file can be.
    """
    if any(size < 0 for size in shape):
        raise ValueError(f"expected sizes of {name} of at least 0, got {tuple(shape)}")
    num_bytes = math.prod(shape) * itemsize  # of Python's integers, which do not overflow
    if num_bytes > present:
        raise ValueError(
            f"expected at least {num_bytes:,} bytes for {name} of shape {tuple(shape)}, got a file"
            f" with at most {present:,}"
        )
    return num_bytes


def most_bytes(path: Path, *, is_compressed: bool) -> int:
    """Most bytes of content that a file of this size can have."""
    return os.stat(path).st_size * (MAX_RATIO if is_compressed else 1)
