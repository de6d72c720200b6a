"""Actions of an intervention: their kinds, their checks, and their effect on natural values."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution

from ppl_disentangle.causal.support import (
    OutsideSupportError,
    check_finite,
    check_support,
    has_coupled_elements,
    root_of,
)
from ppl_disentangle.sites import Site
from ppl_disentangle.story import GenerativeStory

__all__ = [
    "Action",
    "shift",
]

Action: TypeAlias = "float | Tensor | np.ndarray | Distribution | Callable[[Tensor], Tensor]"
"""The new value of a site: a number, tensor or array, a distribution to draw it from, or a function of
the natural value, which is the value that the site would have had."""

Changes: TypeAlias = dict[str, dict[int | None, Action]]
"""Checked actions by site, and by coordinate of the site; ``None`` stands for the whole site."""


def shift(amount: float | Tensor) -> Callable[[Tensor], Tensor]:
    """The action that adds ``amount`` to the natural value.

    Raises:
        ValueError: ``amount`` is not finite.
    """
    if not torch.as_tensor(amount).isfinite().all():
        raise ValueError(f"expected a finite amount to add, got {amount}")
    return Shift(amount)


class LateValue(abc.ABC):
    """Abstract: a value that is known only when the program runs, such as a step of a search.

    Whoever makes it is responsible for its support.
    """

    @abc.abstractmethod
    def __call__(self, natural: Tensor) -> Tensor:
        """The value, of the shape of the natural value."""


@dataclasses.dataclass(frozen=True)
class Shift:
    """Adds an amount to the natural value; see :func:`shift`."""

    amount: float | Tensor

    def __call__(self, natural: Tensor) -> Tensor:
        """The shifted value."""
        return natural + self.amount


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
    for key, action in actions.items():
        name = str(key)  # a node may be named by a whole number
        site, index = resolve(story, name, sites)
        if site in story.already_set:
            raise ValueError(f"do({name!r}): an intervention on this story has set it already")
        if not isinstance(action, Distribution) and not callable(action):
            action = _value_like(name, action, sites[site], index)
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


def _value_like(name: str, value: object, site: Site, index: int | None) -> Tensor:
    """A value with the dtype and device of a site; it broadcasts to ``(*batch, *event)``."""
    if not isinstance(value, Tensor | np.ndarray | np.generic | float | int):
        raise TypeError(
            f"do({name!r}): expected a number, a tensor, an array, a distribution or a function of the natural value,"
            f" got {type(value).__name__}"
        )
    tensor = torch.as_tensor(value)
    event_dim = site.fn.event_dim
    batch_shape = site.value.shape[: site.value.dim() - event_dim]
    shape = tuple(site.fn.event_shape) if index is None else tuple(site.fn.event_shape[:-1])
    if shape == (1,) and tensor.dim() == 1:
        tensor = tensor[:, None]  # (batch,) -> (batch, 1): a node of one coordinate
    if not torch.isfinite(tensor).all():
        raise ValueError(f"do({name!r}): the value is not finite")
    _check_shape(name, tensor, batch_shape, shape)
    if not site.value.is_floating_point() and not site.is_stated and index is None:
        check_support(f"do({name!r})", site.name, site.fn, tensor)  # before fractions are lost
    return like(name, tensor, site.value)


def _check_shape(
    name: str, value: Tensor, batch_shape: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Refuse a value that does not broadcast; the size of a batch dim is free where it is 1."""
    of_batch = max(0, value.dim() - len(shape))
    sizes = value.shape[:of_batch]
    places = batch_shape[len(batch_shape) - of_batch :]
    free = [n if m == 1 else m for n, m in zip(sizes, places, strict=False)]
    if of_batch <= max(1, len(batch_shape)):
        try:
            value.expand((*(free or sizes), *shape))
            return
        except RuntimeError:
            pass
    raise ValueError(
        f"do({name!r}): expected a value that broadcasts to (batch, *{shape}), got shape {tuple(value.shape)}"
    )


def like(name: str, value: Tensor, natural: Tensor) -> Tensor:
    """A value with the dtype and device of the natural value.

    Raises:
        OutsideSupportError: The natural value is a whole number, and the value is not.
    """
    loses_fractions = value.is_floating_point() and not natural.is_floating_point()
    if loses_fractions and (value % 1 != 0).any():
        got = value[value % 1 != 0][0].item()
        raise OutsideSupportError(
            f"do({name!r}): expected whole numbers, which the site has, got {got:g};"
            " choose one of them"
        )
    return value.to(natural)


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
    return expand(name, like(name, value, natural), tuple(natural.shape))


def changed(name: str, change: Mapping[int | None, Action], natural: Tensor) -> Tensor:
    """Apply the actions on a site, whole or by coordinate, to its natural value."""
    if None in change:
        return act(name, change[None], natural)
    columns = list(natural.unbind(-1))
    for index, action in change.items():
        assert index is not None
        columns[index] = act(f"{name}[{index}]", action, columns[index])
    return torch.stack(columns, -1)


def check_changed(
    story: GenerativeStory,
    name: str,
    change: Mapping[int | None, Action],
    fn: TorchDistribution | None,
    value: Tensor,
) -> None:
    """Refuse a new value of a site that the site cannot have.

    Args:
        story: The story.
        name: Name of the site.
        change: The actions on the site, by coordinate.
        fn: Distribution of the site; ``None`` for a deterministic node.
        value: The value of the site after the actions, ``(…, *event)``.

    Raises:
        ValueError: The value is outside of the support of the site.
    """
    if all(isinstance(action, LateValue) for action in change.values()):
        return
    prior = root_of(story, name) if fn is None else fn
    indices = [index for index in change if index is not None]
    action = f"do({name!r})" if not indices else f"do('{name}[{indices[0]}]')"
    check_finite(action, value)
    if prior is not None:
        check_support(action, name, prior, value)
    story.check_intervention(name, value)


def is_checked_beforehand(
    change: Mapping[int | None, Action], fn: TorchDistribution | None
) -> bool:
    """Whether the values of actions are known before the program runs, and fit in any unit."""
    if not all(isinstance(action, Tensor) for action in change.values()):
        return False
    return None in change or fn is None or not has_coupled_elements(fn)
