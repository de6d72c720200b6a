"""Groups of options of ``train``, and texts that are read as values."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

__all__ = ["READER_OPTIONS", "TRAINING_OPTIONS", "Types", "settings", "size"]

TRAINING_OPTIONS = (
    "steps",
    "batch_size",
    "lr",
    "seed",
    "device",
    "precision",
    "compile",
    "patience",
)
"""Options of ``train`` that are options of :func:`~ppl_disentangle.inference.fit`."""

READER_OPTIONS = (
    *("size", "channels", "background", "channels_last", "kind"),
    *("factors", "drop", "types"),
)
"""Options of ``train`` that are options of the reader of the data."""


def size(text: str) -> int | list[int]:
    """Read ``64`` or ``96x128``, height before width."""
    try:
        numbers = [int(word) for word in text.lower().split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected a size such as 64 or 96x128, got {text!r}")
    return numbers[0] if len(numbers) == 1 else numbers


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs. A value that is not JSON is text."""
    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"expected NAME=VALUE, got {pair!r}")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError:
            settings[name] = text
    return settings


class Types(argparse.Action):
    """Reads ``COLUMN=TYPE`` pairs; values with commas between them are a list."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the pairs of one option to those before it."""
        types: dict[str, Any] = dict(getattr(namespace, self.dest) or {})
        for text in values:
            name, equals, kind = text.rpartition("=")
            if not equals:
                parser.error(f"{option_string}: expected COLUMN=TYPE, got {text!r}")
            types[name] = _values(kind) if "," in kind else kind
        setattr(namespace, self.dest, types)


def _values(text: str) -> list[str | float]:
    """Values with commas between them, as numbers if all are numbers."""
    values = text.split(",")
    try:
        return [int(value) for value in values]
    except ValueError:
        return list(values)
