"""Files that are written completely or not at all: tensors and JSON in safetensors, no pickles."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["atomic_path", "load_tensors", "save_tensors"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write a file atomically: yields a temporary file that replaces ``path`` when the block ends.

    If the block fails, the temporary file is removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and metadata to a safetensors file, atomically.

    Args:
        path: Path of the file.
        tensors: Tensors by name.
        metadata: Values that JSON can express, by name.

    Raises:
        OSError: The file could not be written. An earlier file stays as it was.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    texts = {name: json.dumps(value) for name, value in metadata.items()}
    try:
        with atomic_path(path) as temporary:
            save_file(copies, temporary, metadata=texts)
    except Exception as error:
        left = "the earlier file is unchanged" if path.exists() else "nothing was written"
        raise OSError(f"could not save {path} ({error}); {left}") from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, on the CPU, and the metadata of a file of :func:`save_tensors`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a safetensors file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint: {error}") from error
    return tensors, metadata
