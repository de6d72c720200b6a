"""Actions as text, and text as actions: ``light = 1.5, angle += 0.2``, as in the option ``--do``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from ppl_disentangle.causal.actions import Action, Shift, shift

__all__ = ["FACTUAL", "from_text", "to_text"]

FACTUAL = "factual"
"""Text of an empty intervention: the world as it is."""


_QUOTED = r'"(?:[^"\\]|\\.)*"'

MOST_CHARACTERS_OF_A_ROW = 40
"""Longer rows of numbers are described by their shape."""


def to_text(actions: Mapping[str, Action]) -> str:
    """Write actions as text, such as ``light = 1, angle += 0.2``.

    Names that hold a comma, an equals sign or a quote stand in quotes.

    The inverse of :func:`from_text` for numbers, rows of few numbers, and shifts by these. Other
    actions, such as distributions, functions and large tensors, are only described. The text of no
    action is ``factual``.

    Example:
        >>> to_text({"light": 1.0, "angle": shift(0.2), "colour": torch.tensor([0.0, 0.0, 1.0])})
        'light = 1, angle += 0.2, colour = [0,0,1]'
    """
    return ", ".join(_statement(name, action) for name, action in actions.items()) or FACTUAL


def _statement(name: str, action: Action) -> str:
    name = _quoted(name)
    if isinstance(action, Distribution):
        distribution = action.base_dist if isinstance(action, Independent) else action
        return f"{name} ~ {type(distribution).__name__}"
    if isinstance(action, Shift):
        return f"{name} += {_numbers_to_text(action.amount)}"
    if callable(action):
        function = getattr(action, "__name__", type(action).__name__)
        return f"{name} = {function}({name})"
    return f"{name} = {_numbers_to_text(action)}"


def _quoted(name: str) -> str:
    """The name, in quotes if :func:`from_text` would read it otherwise."""
    has_sign = re.search(r'[,="]|[+-]$', name)
    has_bracket = re.search(r"[\[\]]", re.sub(r"\[\d+\]$", "", name))
    must_quote = has_sign or has_bracket or name in (FACTUAL, "")
    return json.dumps(name, ensure_ascii=False) if must_quote else name


def _numbers_to_text(value: float | Tensor | np.ndarray) -> str:
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.size == 1:
        return _number_to_text(array.item(0), array.dtype)
    description = f"values of shape {array.shape}"
    # A row of n numbers has more than 2 n characters: do not write large arrays to measure them.
    if array.ndim != 1 or 2 * array.size > MOST_CHARACTERS_OF_A_ROW:
        return description
    row = f"[{','.join(_number_to_text(number, array.dtype) for number in array.tolist())}]"
    return row if len(row) <= MOST_CHARACTERS_OF_A_ROW else description


def _number_to_text(number: float, dtype: np.dtype) -> str:
    """The shortest text that reads back as the same number in the precision of ``dtype``."""
    precise = np.dtype(dtype).type(number) if np.issubdtype(dtype, np.floating) else float(number)
    six_digits = f"{number:g}"
    return six_digits if type(precise)(six_digits) == precise else str(precise)


def from_text(text: str) -> dict[str, Action]:
    """Read actions from text: statements that are separated by commas.

    A statement is ``NAME = VALUE``, ``NAME += VALUE`` or ``NAME -= VALUE``. A value is a number, or
    a row of numbers in brackets. A name may stand in quotes, and must if it holds a comma, an equals
    sign or a quote. Spaces are optional.

    Raises:
        ValueError: A statement has another form, its value is not a number or a row of numbers, or
            a name is set twice.

    Example:
        >>> from_text("light=1, z[0] -= 0.5, blood pressure = 2")
        {'light': 1.0, 'z[0]': Shift(amount=-0.5), 'blood pressure': 2.0}
    """
    actions: dict[str, Action] = {}
    if text == FACTUAL:
        return actions
    for statement in _statements(text):
        match = re.fullmatch(rf"\s*({_QUOTED}|.+?)\s*(\+=|-=|=)\s*(.*?)\s*", statement)
        if match is None:
            raise ValueError(f"expected NAME=VALUE or NAME+=VALUE, got {statement!r}")
        name, operator, value_text = match.groups()
        name = json.loads(name) if re.fullmatch(_QUOTED, name) else name
        if name in actions:
            raise ValueError(f"{name!r} is set twice")
        value = _numbers_from_text(name, value_text)
        if operator == "=":
            actions[name] = value
        else:
            actions[name] = shift(value if operator == "+=" else -value)
    return actions


def _statements(text: str) -> list[str]:
    """The statements of a text: commas in quotes and in rows of numbers separate none."""
    # A comma inside a row is followed by the closing bracket before any opening one.
    separator = r"(?P<comma>,\s*(?![^\[\"]*\]))"
    statements = []
    start = 0
    for match in re.finditer(rf"{_QUOTED}|{separator}", text):
        if match["comma"]:
            statements.append(text[start : match.start()])
            start = match.end()
    return [*statements, text[start:]]


def _numbers_from_text(name: str, text: str) -> float | Tensor:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if _is_number(value):
        return float(value)
    if isinstance(value, list) and value and all(map(_is_number, value)):
        return torch.tensor(value, dtype=torch.get_default_dtype())
    is_signed = re.match(r"\+[\d.]", text)
    hint = f"; to add to its value write {name}+={text[1:]}" if is_signed else ""
    raise ValueError(f"expected a number for {name!r}, got {text!r}{hint}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
