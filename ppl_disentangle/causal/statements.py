"""What a command line says of interventions: ``light=2``, ``angle+=0.5``, ``colour=[0,0,1]``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import torch

from ppl_disentangle.causal.interventions import shift

__all__ = ["read_statements"]


def read_statements(statements: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` and ``NAME+=VALUE`` statements; values are numbers, or rows of them in brackets."""
    actions: dict[str, Any] = {}
    for statement in statements:
        found = re.fullmatch(r"(.+?)(\+=|-=|=)(.*)", statement)
        if not found:
            raise ValueError(f"expected NAME=VALUE or NAME+=VALUE, got {statement!r}")
        name, operator, text = found.groups()
        if name in actions:
            raise ValueError(f"{name!r} is set twice")
        value = _value(name, operator, text)
        if operator == "=":
            actions[name] = torch.tensor(value) if isinstance(value, list) else value
        else:
            actions[name] = shift(value if operator == "+=" else -value)
    return actions


def _value(name: str, operator: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    numbers = value if isinstance(value, list) and operator == "=" else [value]
    if numbers and all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in numbers
    ):
        return value
    hint = f"; to add to its value write {name}+={text[1:]}" if re.match(r"\+[\d.]", text) else ""
    raise ValueError(f"expected a number for {name!r}, got {text!r}{hint}")
