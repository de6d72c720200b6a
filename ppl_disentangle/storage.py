"""Tensors and JSON in one safetensors file, written at once or not at all; nothing is pickled."""

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
    """A temporary file beside ``path`` that takes its place when the block ends, and vanishes if it fails."""
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
    """Write ``tensors`` and JSON-like ``metadata`` to a safetensors file, atomically.

    Raises:
        OSError: it could not be written; a file that was there before is as it was.
    """
    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    texts = {name: json.dumps(value) for name, value in metadata.items()}
    try:
        with atomic_path(path) as temporary:
            save_file(held, temporary, metadata=texts)
    except Exception as error:
        before = "what was there before is as it was" if path.exists() else "nothing was written"
        raise OSError(f"could not save {path} ({error}); {before}") from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, on the CPU, and metadata of a file that :func:`save_tensors` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint: {error}") from error
    return tensors, metadata
