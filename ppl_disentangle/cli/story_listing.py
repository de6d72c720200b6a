"""The stories of the zoo as text: the purpose of each, the data that it needs, and its options."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.zoo import SUPERVISION, stories, story_options, summary, without_codes

__all__ = ["list_of_stories"]

WIDTH_CHARACTERS = 100
LABEL_CHARACTERS = len("options: ")


def list_of_stories() -> list[str]:
    """Lines of a list of all stories, grouped by the kind of supervision that they need."""
    trainable = stories()
    others = without_codes()
    margin = max(map(len, trainable | others)) + 2
    lines: list[str] = []
    for supervision in SUPERVISION:
        lines += ["", f"Stories that learn {supervision}:"]
        for name, story in trainable.items():
            if summary(story).supervision == supervision:
                lines += _entry(name, story, margin)
                lines += _wrapped("options:", _options_text(name), margin)
    lines += ["", "Stories without a code. Build them in Python and pass them to fit:"]
    for name, story in others.items():
        lines += _entry(name, story, margin)
    return lines[1:]


def _entry(name: str, story: type[GenerativeStory], margin: int) -> list[str]:
    """The name of a story, its purpose, and the data that it needs."""
    purpose = _wrapped("", summary(story).purpose, margin) or [""]
    first_line = f"{name:<{margin}}{purpose[0].strip()}"
    return [first_line, *purpose[1:], *_wrapped("data:", summary(story).data, margin)]


def _options_text(name: str) -> str:
    """Options of a story with their defaults, such as ``beta=4.0, warm_up=0``."""
    return ", ".join(f"{key}={_value_text(value)}" for key, value in story_options(name).items())


def _value_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    return '""' if value == "" else str(value)


def _wrapped(label: str, text: str, margin: int) -> list[str]:
    """Lines of a text in the column that begins at the margin, after a label."""
    width = LABEL_CHARACTERS if label else 0
    indent = " " * (margin + width)
    lines = textwrap.wrap(
        text,
        WIDTH_CHARACTERS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    if lines:
        lines[0] = " " * margin + f"{label:<{width}}" + lines[0].strip()
    return lines
