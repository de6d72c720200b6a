"""Look up names of another library that its documentation does not promise to keep."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["MissingNameError", "attribute_of", "look_up"]


class MissingNameError(ImportError):
    """The installed version of a library lacks a name that it does not promise to keep."""

    def __init__(self, path: str) -> None:
        library = path.partition(".")[0]
        version = import_module(library).__version__
        super().__init__(f"{library} {version} has no {path}")


def look_up(path: str) -> Any:
    """The object with the dotted path ``path``; its module is imported if need be.

    Raises:
        MissingNameError: The installed version has no such module, or no such name in it.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise MissingNameError(path) from error


def attribute_of(value: object, path: str) -> Any:
    """The attribute of ``value`` that the last part of ``path``, the attribute's full name, names.

    Raises:
        MissingNameError: ``value`` has no such attribute.
    """
    try:
        return getattr(value, path.rpartition(".")[2])
    except AttributeError as error:
        raise MissingNameError(path) from error
