"""States of schedulers as values that JSON can hold, and back."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["decoded", "encoded"]

KIND = "kind"
"""The key for the type of an encoded collection."""
COLLECTIONS: Mapping[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "set": set,
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda items: Counter(dict(items)),
    "defaultdict": dict,
}


def encoded(value: Any) -> Any:
    """A value of numbers, texts, tensors and collections as JSON can hold it.

    Raises:
        TypeError: The value has parts of another type.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return list(map(encoded, value))
    if isinstance(value, Tensor):
        return {KIND: "tensor", "values": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, tuple | set):
        return {KIND: type(value).__name__, "items": list(map(encoded, value))}
    if isinstance(value, dict | Counter | OrderedDict | defaultdict):
        items = [[encoded(key), encoded(item)] for key, item in value.items()]
        return {KIND: type(value).__name__, "items": items}
    raise TypeError(
        f"a checkpoint cannot hold a {type(value).__name__} of the scheduler: use one whose"
        " state_dict() has numbers, texts and tensors only"
    )


def decoded(value: Any) -> Any:
    """The value that :func:`encoded` encoded."""
    if isinstance(value, list):
        return list(map(decoded, value))
    if not isinstance(value, dict):
        return value
    if value[KIND] == "tensor":
        dtype = getattr(torch, value["dtype"].removeprefix("torch."))
        return torch.tensor(value["values"], dtype=dtype)
    return COLLECTIONS[value[KIND]](decoded(value["items"]))
