"""Actions of an intervention: their text, their checks, and their effect on natural values."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from ppl_disentangle.sites import Site
from ppl_disentangle.story import GenerativeStory

__all__ = ["Action", "from_text", "shift", "to_text"]

Action: TypeAlias = "float | Tensor | np.ndarray | Distribution | Callable[[Tensor], Tensor]"
"""The new value of a site: a number, tensor or array, a distribution to draw it from, or a function of
the natural value, which is the value that the site would have had."""

Changes: TypeAlias = dict[str, dict[int | None, Action]]
"""Checked actions by site, and by coordinate of the site; ``None`` stands for the whole site."""

FACTUAL = "factual"
"""Text of an empty intervention: the world as it is."""

MOST_CHARACTERS_OF_A_ROW = 40
"""Longer rows of numbers are described by their shape."""


def shift(amount: float | Tensor) -> Callable[[Tensor], Tensor]:
    """The action that adds ``amount`` to the natural value.

    Raises:
        ValueError: ``amount`` is not finite.
    """
    if not torch.as_tensor(amount).isfinite().all():
        raise ValueError(f"expected a finite amount to add, got {amount}")
    return Shift(amount)


@dataclasses.dataclass(frozen=True)
class Shift:
    """Adds an amount to the natural value; see :func:`shift`."""

    amount: float | Tensor

    def __call__(self, natural: Tensor) -> Tensor:
        """The shifted value."""
        return natural + self.amount


def to_text(actions: Mapping[str, Action]) -> str:
    """Write actions as text, such as ``light = 1, angle += 0.2``.

    The inverse of :func:`from_text` for numbers, rows of few numbers, and shifts by these. Other
    actions, such as distributions, functions and large tensors, are only described. The text of no
    action is ``factual``.

    Example:
        >>> to_text({"light": 1.0, "angle": shift(0.2), "colour": torch.tensor([0.0, 0.0, 1.0])})
        'light = 1, angle += 0.2, colour = [0,0,1]'
    """
    return ", ".join(_statement(name, action) for name, action in actions.items()) or FACTUAL


def _statement(name: str, action: Action) -> str:
    if isinstance(action, Distribution):
        distribution = action.base_dist if isinstance(action, Independent) else action
        return f"{name} ~ {type(distribution).__name__}"
    if isinstance(action, Shift):
        return f"{name} += {_numbers_to_text(action.amount)}"
    if callable(action):
        function = getattr(action, "__name__", type(action).__name__)
        return f"{name} = {function}({name})"
    return f"{name} = {_numbers_to_text(action)}"


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
    a row of numbers in brackets. Spaces are optional.

    Raises:
        ValueError: A statement has another form, its value is not a number or a row of numbers, or
            a name is set twice.

    Example:
        >>> from_text("light=1, z[0] -= 0.5")
        {'light': 1.0, 'z[0]': Shift(amount=-0.5)}
    """
    actions: dict[str, Action] = {}
    if text == FACTUAL:
        return actions
    # A comma inside a row is followed by the closing bracket before any opening one.
    for statement in re.split(r",\s*(?![^\[]*\])", text):
        match = re.fullmatch(r"\s*(.+?)\s*(\+=|-=|=)\s*(.*?)\s*", statement)
        if match is None:
            raise ValueError(f"expected NAME=VALUE or NAME+=VALUE, got {statement!r}")
        name, operator, value_text = match.groups()
        if name in actions:
            raise ValueError(f"{name!r} is set twice")
        value = _numbers_from_text(name, value_text)
        if operator == "=":
            actions[name] = value
        else:
            actions[name] = shift(value if operator == "+=" else -value)
    return actions


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


def read_actions(
    story: GenerativeStory, actions: Mapping[str, Action], sites: Mapping[str, Site]
) -> Changes:
    """Check actions against a story; returns them by site and coordinate.

    Numbers and arrays become tensors with the dtype and device of their sites.

    Args:
        story: The story to intervene on.
        actions: The actions by name, as :func:`~ppl_disentangle.causal.do` takes them.
        sites: The result of :func:`~ppl_disentangle.causal.interventions.intervenable` for the
            story.

    Raises:
        KeyError: A name is not a latent, node or coordinate of the story.
        ValueError: A value does not fit its site, or a site is set twice.
        TypeError: A value is not an action.
    """
    changes: Changes = {}
    for name, action in actions.items():
        site, index = resolve(story, name, sites)
        if site in story.already_set:
            raise ValueError(f"do({name!r}): an intervention on this story has set it already")
        if not isinstance(action, Distribution) and not callable(action):
            template = sites[site].value  # (1, *event)
            shape = tuple(template.shape[1:]) if index is None else ()
            action = _value_like(name, action, template, shape)
            story.check_intervention(name if index is None else site, action)
        changes_of_site = changes.setdefault(site, {})
        _check_set_once(name, site, index, changes_of_site)
        changes_of_site[index] = action
    return changes


def _check_set_once(
    name: str, site: str, index: int | None, earlier: Mapping[int | None, Action]
) -> None:
    if index in earlier and index is not None:
        raise ValueError(f"do({name!r}): coordinate {index} of {site!r} is set twice")
    if None in earlier or (earlier and index is None):
        raise ValueError(f"latent {site!r} is set as a whole and in a coordinate")


def resolve(story: GenerativeStory, name: str, sites: Mapping[str, Site]) -> tuple[str, int | None]:
    """Find the site that ``name`` refers to, and the coordinate; ``None`` for the whole site.

    Raises:
        KeyError: The story has no such site or coordinate.
    """
    if name in sites:
        return name, None
    for latent, names in story.coordinate_names.items():
        if name in names:
            return latent, list(names).index(name)
    match = re.fullmatch(r"(.+)\[(\d+)\]", name)
    if match is not None and match[1] in sites:
        return _indexed_coordinate(match[1], int(match[2]), sites)
    raise KeyError(_unknown_name(name, story, sites))


def _indexed_coordinate(site: str, index: int, sites: Mapping[str, Site]) -> tuple[str, int]:
    event_shape = sites[site].fn.event_shape
    size = event_shape[-1] if event_shape else 0
    if index >= size:
        coordinate = f"{site}[{index}]"
        raise KeyError(
            f"no coordinate {coordinate!r}: latent {site!r} has {size or 'no'} coordinates"
        )
    return site, index


def _unknown_name(name: str, story: GenerativeStory, sites: Mapping[str, Site]) -> str:
    coordinates = [n for names in story.coordinate_names.values() for n in names]
    known = list(dict.fromkeys([*sites, *coordinates]))
    similar = get_close_matches(name, known, 1)
    hint = f"; did you mean {similar[0]!r}?" if similar else ""
    return f"no latent named {name!r}; the story has {known}{hint}"


def _value_like(name: str, value: object, template: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A value with the dtype and device of ``template``; it broadcasts to ``(batch, *shape)``."""
    if not isinstance(value, Tensor | np.ndarray | np.generic | float | int):
        raise TypeError(
            f"do({name!r}): expected a number, a tensor, an array, a distribution or a function of the natural value,"
            f" got {type(value).__name__}"
        )
    tensor = torch.as_tensor(value).to(template)
    if shape == (1,) and tensor.dim() == 1:
        tensor = tensor[:, None]  # (batch,) -> (batch, 1): a node of one coordinate
    if not torch.isfinite(tensor).all():
        raise ValueError(f"do({name!r}): the value is not finite")
    batch = len(tensor) if tensor.dim() > len(shape) else 1
    try:
        tensor.expand(batch, *shape)
    except RuntimeError:
        raise ValueError(
            f"do({name!r}): expected a value that broadcasts to (batch, *{shape}), got shape {tuple(tensor.shape)}"
        ) from None
    return tensor


def expand(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Broadcast the value of the site ``name`` to ``shape``.

    Raises:
        ValueError: The value does not broadcast to ``shape``.
    """
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"do({name!r}): expected a value that broadcasts to {shape}, got {tuple(value.shape)}"
        ) from None


def act(name: str, action: Action, natural: Tensor) -> Tensor:
    """Apply an action to the natural value of a site or coordinate; the shape stays the same."""
    if isinstance(action, Distribution):
        own_dims = len(action.batch_shape) + len(action.event_shape)
        value = action.sample(natural.shape[: natural.dim() - own_dims])
    else:
        value = torch.as_tensor(action(natural) if callable(action) else action)
    return expand(name, value.to(natural), tuple(natural.shape))


def changed(name: str, change: Mapping[int | None, Action], natural: Tensor) -> Tensor:
    """Apply the actions on a site, whole or by coordinate, to its natural value."""
    if None in change:
        return act(name, change[None], natural)
    columns = list(natural.unbind(-1))
    for index, action in change.items():
        assert index is not None
        columns[index] = act(f"{name}[{index}]", action, columns[index])
    return torch.stack(columns, -1)
