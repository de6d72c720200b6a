"""Pyro's parameter store, kept apart from the stories that run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyro
from pyro.nn import PyroModule
from pyro.params.param_store import ParamStoreDict
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

__all__ = [
    "is_set_by_module",
    "isolated_store",
    "module_being_registered",
    "overwrite",
    "store_outside",
    "unchanged_store",
]

_outside: ContextVar[ParamStoreDict | None] = ContextVar("outside", default=None)


@contextmanager
def isolated_store(
    parameters: Mapping[str, tuple[Tensor, Constraint]] | None = None,
) -> Iterator[None]:
    """A context in which Pyro's parameter store holds ``parameters`` only.

    Afterwards the store has the same names and the same tensors as before.

    Args:
        parameters: Unconstrained values and their constraints, by name; by default none.
    """
    with _other_store(ParamStoreDict()):
        overwrite(parameters or {})
        yield


@contextmanager
def unchanged_store() -> Iterator[None]:
    """A context after which Pyro's parameter store has the same entries as before."""
    before = vars(pyro.get_param_store())
    with _other_store(_store_with({name: value.copy() for name, value in before.items()})):
        yield


@contextmanager
def _other_store(other: ParamStoreDict) -> Iterator[None]:
    attributes = vars(pyro.get_param_store())
    before = dict(attributes)
    token = _outside.set(store_outside() or _store_with(before))
    attributes.update(vars(other))
    try:
        yield
    finally:
        attributes.update(before)
        _outside.reset(token)


def _store_with(attributes: Mapping[str, Any]) -> ParamStoreDict:
    store = ParamStoreDict()
    vars(store).update(attributes)
    return store


def store_outside() -> ParamStoreDict | None:
    """The store as it is outside of the contexts of this file; ``None`` outside of them."""
    return _outside.get()


def overwrite(parameters: Mapping[str, tuple[Tensor, Constraint]]) -> None:
    """Put unconstrained values with their constraints into Pyro's store, by name."""
    store = pyro.get_param_store()
    for name in parameters:
        if name in store:
            del store[name]
    store.set_state(
        {
            "params": {name: value for name, (value, _) in parameters.items()},
            "constraints": {name: constraint for name, (_, constraint) in parameters.items()},
        }
    )


def module_being_registered() -> tuple[str, nn.Module] | None:
    """Name and module of the call of ``pyro.module`` that is in progress, if one is."""
    arguments = _arguments_on_stack(pyro.module)
    if arguments is None:
        return None
    return arguments["name"], arguments["nn_module"]


def is_set_by_module() -> bool:
    """Whether a PyroModule is setting one of its parameters."""
    return _arguments_on_stack(PyroModule.__setattr__) is not None


def _arguments_on_stack(function: Callable[..., Any]) -> Mapping[str, Any] | None:
    """The local variables of the innermost call of a function that is in progress, if one is."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is function.__code__:
            return frame.f_locals
        frame = frame.f_back
    return None
