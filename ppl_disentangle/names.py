"""Names of nodes, factors and sites: the reserved ones, and names that do not clash with others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from torch import nn

__all__ = ["RESERVED", "check_names", "free_name", "module_keys"]

RESERVED: Mapping[str, str] = MappingProxyType(
    {
        "data": "the plate and the dim over the data",
        "draw": "the dim over draws of the latents",
        "chain": "the dim over chains in the groups of ArviZ",
        "world": "the dim over the worlds of a counterfactual",
        "drawn_unit": "the dim over units that the model draws",
        "statistic": "the dim over mean and standard deviation in predictive groups",
        "channel": "a dim of images",
        "row": "a dim of images",
        "column": "a dim of images",
        "_INPUT": "a node of Pyro's traces",
        "_RETURN": "a node of Pyro's traces",
    }
)
"""Names that no node, latent or labelled factor can have, with their meaning.

They are the other dims and coordinates of data sets in which nodes and latents are variables."""

_DERIVED = {
    "_noise": "the noise",
    "_natural": "the natural value under an intervention",
    "_label": "the label",
    "_coordinate": "the dim over the coordinates",
}
"""Suffixes of the names that follow from the name of a node, with their meaning."""


def check_names(names: Iterable[str], kind: str = "node", also: Collection[str] = ()) -> None:
    """Raise an error if a name is reserved, follows from another name, or cannot be stored.

    Args:
        names: All names.
        kind: The kind of the named objects, for the message, such as ``"factor"``.
        also: Further names that are taken, by other sites of the story.

    Raises:
        ValueError: A name is reserved or empty, holds a slash or a control character, begins or
            ends with a space, or is the name of the noise, label, natural value or dim of another.
    """
    names = list(names)
    for name in names:
        reason = _reason_against(name, names)
        if name in also:
            reason = f"{name!r} is another site of the story"
        if reason:
            raise ValueError(f"{kind} {name!r} needs another name: {reason}; rename the {kind}")


def _reason_against(name: str, names: Collection[str]) -> str:
    """Why a name cannot be used; empty if it can."""
    if name in RESERVED:
        return f"{name!r} is {RESERVED[name]}"
    if not name.strip() or name != name.strip():
        return "it is empty, or begins or ends with a space"
    if "/" in name or not name.isprintable() or name in (".", ".."):
        return "netCDF files hold no name with a slash or a control character"
    if re.fullmatch(r"plate_dim_\d+", name):
        return f"{name!r} is the dim over the elements of a plate"
    return _reason_of_another(name, names)


def _reason_of_another(name: str, names: Collection[str]) -> str:
    """Which other name a name follows from; empty unless there is one."""
    for suffix, meaning in _DERIVED.items():
        if name.endswith(suffix) and name.removesuffix(suffix) in names:
            return f"it is {meaning} of {name.removesuffix(suffix)!r}"
    coordinate = re.fullmatch(r"(.+?)(\[\d+\]|_dim_\d+)", name)
    if coordinate and coordinate[1] in names:
        return f"it is a coordinate or a dim of {coordinate[1]!r}"
    return ""


def free_name(name: str, taken: Collection[str]) -> str:
    """``name``, or if it is taken the first free of ``<name>_site``, ``<name>_site_site``, ….

    Example:
        >>> free_name("x", ["x", "y"]), free_name("z", ["x", "y"])
        ('x_site', 'z')
    """
    while name in taken:
        name += "_site"
    return name


def module_keys(names: Iterable[str]) -> dict[str, str]:
    """Different keys of an ``nn.ModuleDict`` for names, by name.

    A name that is an identifier is its own key, unless ``nn.ModuleDict`` has such an attribute.

    Example:
        >>> module_keys(["age", "blood.pressure", "type"])
        {'age': 'age', 'blood.pressure': 'name_1', 'type': 'name_2'}
    """
    names = list(names)
    container = nn.ModuleDict()
    keys: dict[str, str] = {}
    for place, name in enumerate(names):
        is_key = name.isidentifier() and not hasattr(container, name)
        keys[name] = name if is_key else free_name(f"name_{place}", names)
    return keys
