"""Runs: a story fitted to data, in a folder with its scores, figures and report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl_disentangle.runs.folder import Fitted, Run

__all__ = ["Fitted", "Run"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: the modules of this package load PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.folder"), name)
