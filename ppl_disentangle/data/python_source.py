"""Load a function of a Python file, given as ``path/to/file.py:function``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

__all__ = ["function_of", "is_function"]


def is_function(source: str) -> bool:
    """Whether ``source`` has the form ``path/to/file.py:function``."""
    return ".py:" in source


def function_of(source: str) -> Callable[..., Any]:
    """Import the file and return its function.

    Args:
        source: File and function, as ``path/to/file.py:function``.

    Raises:
        ValueError: The file does not exist or has no such name.
    """
    path, _, name = source.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"no file {path!r} to take {name!r} from")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known = [n for n in vars(module) if not n.startswith("_")]
    if name not in known:
        close = get_close_matches(name, known, 1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no name in {path} named {name!r}; there are {', '.join(known)}{hint}")
    return vars(module)[name]
