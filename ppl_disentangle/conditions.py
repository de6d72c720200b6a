"""Conditions: arguments of model and guide beside the observations, such as labels or masks."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.effect import GuideMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppl_disentangle.data import FactorDataset, as_dataset, with_conditions
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.data.named_columns import in_columns, named_columns

__all__ = [
    "Arguments",
    "Programs",
    "accepted",
    "arguments_of",
    "arranged",
    "by_name",
    "check_conditions",
    "check_rows",
    "checked_conditions",
    "conditions_of_guide",
    "conditions_of_model",
    "is_per_datum",
    "one_batch",
    "opened",
    "programs",
    "row_labels",
    "rows_of",
    "story_batches",
    "taken_by",
    "takes_batch_size",
    "taking_names",
    "without_handlers",
]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The conditions that a program takes.

    Attributes:
        program: The program in words, such as "the guide of CVAE".
        required: Names of the conditions without a default.
        optional: Names of the conditions with a default.
        takes_all: Whether the program takes any name, as one with ``**kwargs`` does.
    """

    program: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    takes_all: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all conditions."""
        return (*self.required, *self.optional)

    def of(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """The conditions that the program takes, of ``conditions``.

        Raises:
            ValueError: A required condition is missing.
        """
        for name in self.required:
            if conditions.get(name) is None:
                raise ValueError(
                    f"{self.program} needs the condition {name!r} for each datum;"
                    f" pass {name}=… or with_conditions(data, {name}=…)"
                )
        return self.select(conditions)

    def select(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """The conditions that the program takes, of ``conditions``, required or not."""
        if self.takes_all:
            return dict(conditions)
        return {name: value for name, value in conditions.items() if name in self.names}


class Programs(Protocol):
    """A model and a guide that say which conditions they take, as a story does."""

    fixed_size: int | None

    @property
    def title(self) -> str:
        """Name of the pair in messages."""

    @property
    def model(self) -> Callable[..., Any]:
        """The model."""

    @property
    def guide(self) -> Callable[..., Any]:
        """The guide."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of ``labels`` and ``interventions``; empty if they have no names."""

    def model_arguments(self) -> Arguments:
        """The conditions that the model takes."""

    def guide_arguments(self) -> Arguments:
        """The conditions that the guide takes."""

    def told(self, size: int) -> dict[str, Any]:
        """Conditions of ``size`` units that the pair holds itself."""

    def read_first_batch(self, x: Tensor, conditions: Mapping[str, Any]) -> None:
        """Read from a batch all that the pair cannot know before."""


def arguments_of(program: Callable[..., Any], title: str) -> Arguments:
    """The conditions that a program takes: all its parameters but the observations.

    The observations are its first parameter; ``batch_size`` is not a condition. An automatic guide
    takes the conditions of its model.

    Args:
        program: A model or a guide, called as ``program(x, **conditions)``.
        title: The program in words.
    """
    parameters = list(inspect.signature(_written(program)).parameters.values())
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if named and named[0].kind is not named[0].KEYWORD_ONLY:
        named = named[1:]  # the first is the observations
    named = [p for p in named if p.name != "batch_size"]
    return Arguments(
        title,
        required=tuple(p.name for p in named if p.default is p.empty),
        optional=tuple(p.name for p in named if p.default is not p.empty),
        takes_all=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def without_handlers(program: Any) -> Any:
    """A program without the effect handlers that are around it, as by ``poutine.block(program)``."""
    while isinstance(program, functools.partial) and _is_handler(program):
        program = program.args[-1]
    return program


def _is_handler(program: functools.partial[Any]) -> bool:
    """Whether a partial function is a program within an effect handler of Pyro."""
    return bool(program.args) and isinstance(program.args[0], Messenger)


def takes_batch_size(program: Callable[..., Any]) -> bool:
    """Whether a program has a parameter ``batch_size``, by which it draws data."""
    return "batch_size" in inspect.signature(_written(program)).parameters


def _written(program: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the signature of a program."""
    program = without_handlers(program)
    if isinstance(program, AutoGuide | GuideMessenger):
        return _written(program.model)
    return program.forward if isinstance(program, nn.Module) else program


def taking_names(program: Callable[..., Any]) -> Callable[..., Any]:
    """The program, with arguments by name where it takes them by position alone."""
    parameters = inspect.signature(_written(program)).parameters.values()
    by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY][1:]
    if not by_position:
        return program

    def by_name(x: Any, **given: Any) -> Any:
        positional = [given.pop(name) for name in by_position if name in given]
        return program(x, *positional, **given)

    return functools.wraps(program)(by_name)


def accepted(function: Callable[..., Any], conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions that ``function`` has a parameter for."""
    return arguments_of(function, "").select(conditions)


def check_conditions(story: Programs, conditions: Mapping[str, Any]) -> None:
    """Refuse conditions that neither the model nor the guide takes.

    Raises:
        TypeError: There is such a condition.
    """
    if not conditions:
        return
    model = story.model_arguments()
    guide = story.guide_arguments()
    for name in conditions:
        if not (model.takes_all or guide.takes_all or name in (*model.names, *guide.names)):
            raise TypeError(
                f"{story.title} takes no {name!r}: its model takes {_listed(model)}, its guide"
                f" {_listed(guide)}, beside the observations"
            )


def taken_by(story: Programs, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions that the model or the guide takes."""
    model = story.model_arguments().select(conditions)
    return model | story.guide_arguments().select(conditions)


def _listed(arguments: Arguments) -> str:
    return ", ".join(map(repr, arguments.names)) or "nothing"


def checked_conditions(story: Programs, x: Tensor, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions as tensors on the device of ``x``, with one row for each observation.

    Arrays of floats take the data type of ``x``. Single numbers, words and ``None`` stay as they
    are, and hold for all data.

    Args:
        story: The story that takes them.
        x: Observations ``(batch, *event)``.
        conditions: Tensors or arrays ``(batch, …)`` by name.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: A condition has another number of rows than x.
    """
    check_conditions(story, conditions)
    conditions = by_name(story, conditions)
    check_rows(conditions, len(x))
    tensors = {name: _as_tensor(name, value) for name, value in conditions.items()}
    return {n: conditions[n] if t is None else _like(t, x) for n, t in tensors.items()}


COLUMNED = ("labels", "interventions")
"""Conditions whose columns are the columns of a story."""


def by_name(story: Programs, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions as tensors, with the columns of labels and interventions as the story has them.

    Columns of frames, labelled arrays and dictionaries are found by their names. Tensors are in the
    order of ``story.columns`` already.

    Raises:
        ValueError: A column is missing or unknown, or an array of several columns has no names.
    """
    arranged_conditions = dict(conditions)
    for name, value in conditions.items():
        has_columns = name in COLUMNED and bool(story.columns)
        if isinstance(value, Tensor) or (isinstance(value, Mapping) and not has_columns):
            continue
        numbers, given = named_columns(name, value)
        if has_columns and given is not None:
            numbers = in_columns(name, numbers, given, story.columns, story.title)
        elif has_columns and np.ndim(numbers) == 2 and len(story.columns) > 1:
            raise _order_unknown(story, name)
        arranged_conditions[name] = numbers
    return arranged_conditions


def arranged(story: Programs, data: FactorDataset) -> FactorDataset:
    """The data, with the columns of labels and interventions in the order of the story's columns.

    Raises:
        ValueError: A column is missing or unknown, or the order of several columns is not known.
    """
    if not story.columns or not len(data):
        return data
    first = data.conditions(torch.zeros(1, dtype=torch.int64))
    for name in COLUMNED:
        if name in first:
            data = _arranged(story, data, name, num_columns=first[name].shape[-1])
    return data


def _arranged(story: Programs, data: FactorDataset, name: str, num_columns: int) -> FactorDataset:
    """The data with the columns of one condition in the order of the story's columns."""
    wanted = tuple(story.columns)
    given = data.condition_columns.get(name)
    if given is None:
        if num_columns == 1 or num_columns != len(wanted) or data.factor_names == wanted:
            return data  # another number of columns is an error of the story
        raise _order_unknown(story, name)
    if given == wanted:
        return data
    values = data.conditions(torch.arange(len(data)))[name]
    values = in_columns(name, values, given, wanted, story.title)
    return with_conditions(data, columns=wanted, **{name: values})


def _order_unknown(story: Programs, name: str) -> ValueError:
    columns = list(story.columns)
    return ValueError(
        f"the order of the columns of {name!r} is not known: {story.title} takes {columns}; pass a"
        f" data frame or a dictionary of columns, or with_conditions(data, {name}=…,"
        f" columns={columns})"
    )


def is_per_datum(value: Any) -> bool:
    """Whether a condition has a row for each datum, and does not hold for all data."""
    return isinstance(value, Tensor) and value.dim() > 0


def rows_of(conditions: Mapping[str, Any], rows: slice | Tensor) -> dict[str, Any]:
    """Conditions of some of the data; values that hold for all data stay as they are."""
    tensors = {n: _as_tensor(n, value) for n, value in conditions.items()}
    return {n: conditions[n] if t is None else t[rows] for n, t in tensors.items()}


def check_rows(conditions: Mapping[str, Any], num_data: int) -> None:
    """Refuse conditions with another number of rows than there are data.

    Raises:
        ValueError: There is such a condition.
    """
    for name, value in conditions.items():
        tensor = _as_tensor(name, value)
        if tensor is not None and len(tensor) != num_data:
            raise ValueError(
                f"condition {name!r}: expected one row for each of {num_data} data,"
                f" got shape {tuple(tensor.shape)}"
            )


def _as_tensor(name: str, value: Any) -> Tensor | None:
    """An array as a tensor; ``None`` for a value that holds for all data."""
    if value is None or isinstance(value, bool | int | float | str):
        return None
    if isinstance(value, Tensor):
        return value if value.dim() else None
    array = np.require(value, requirements="W")  # torch warns of arrays that are read-only
    try:
        return torch.as_tensor(array) if array.ndim else None
    except TypeError:
        kind = f"{type(value).__name__} of {array.dtype}"
        raise TypeError(f"condition {name!r}: expected an array of numbers, got {kind}") from None


def _like(tensor: Tensor, x: Tensor) -> Tensor:
    """A condition on the device of x, and if both are floats in the data type of x."""
    are_floats = tensor.is_floating_point() and x.is_floating_point()
    return tensor.to(x.device, x.dtype if are_floats else tensor.dtype)


def conditions_of_model(story: Programs, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions that the model takes, of ``conditions``.

    Raises:
        ValueError: A condition that the model requires is missing.
    """
    return story.model_arguments().of(conditions)


def conditions_of_guide(story: Programs, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions that the guide takes, of ``conditions``.

    Raises:
        ValueError: A condition that the guide requires is missing.
    """
    return story.guide_arguments().of(conditions)


def programs(
    story: Programs, conditions: Mapping[str, Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Model and guide that can both be called with all ``conditions``, as Pyro's ELBOs call them.

    Each passes on those that its program takes. Where both programs take all of them, these are the
    story's own.

    Raises:
        TypeError: Neither of the two takes a condition.
        ValueError: A condition that one requires is missing.
    """
    check_conditions(story, conditions)
    return (
        _passing_on(story.model, story.model_arguments(), conditions),
        _passing_on(story.guide, story.guide_arguments(), conditions),
    )


def _passing_on(
    program: Callable[..., Any], arguments: Arguments, conditions: Mapping[str, Any]
) -> Callable[..., Any]:
    if len(arguments.of(conditions)) == len(conditions):
        return program

    def passing_on(x: Tensor, **given: Any) -> Any:
        return program(x, **arguments.select(given))

    return passing_on


def opened(data: Any) -> FactorDataset | Tensor:
    """Tensors and data sets as they are, anything else by :func:`~ppl_disentangle.data.as_dataset`."""
    return data if isinstance(data, Tensor | FactorDataset) else as_dataset(data)


def row_labels(data: FactorDataset | Tensor) -> npt.NDArray[Any]:
    """Names of the rows of all data in the user's own data, ``(len(data),)``."""
    if isinstance(data, Tensor):
        return np.arange(len(data))
    return data.row_labels(torch.arange(len(data)))


class Batch(NamedTuple):
    """Float observations ``(batch, *event)`` with their conditions, and names of their rows."""

    x: Tensor
    conditions: dict[str, Any]
    rows: npt.NDArray[Any]


def one_batch(
    story: Programs, data: Any, device: torch.device, conditions: Mapping[str, Any]
) -> Batch:
    """All data as a single batch; the arguments are as in :func:`story_batches`."""
    data = opened(data)
    x, given = next(story_batches(story, data, max(len(data), 1), device, conditions))
    story.read_first_batch(x, given)
    return Batch(x, given, row_labels(data))


def story_batches(
    story: Programs,
    data: Any,
    batch_size: int,
    device: torch.device,
    conditions: Mapping[str, Any],
) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Yield float observations in order, in batches on ``device``, with their conditions.

    Args:
        story: The story that takes the conditions.
        data: Float observations ``(num_data, *event)``, or data as
            :func:`~ppl_disentangle.data.as_dataset` takes them, which may carry conditions.
        batch_size: Number of data in each batch.
        device: Device of the batches.
        conditions: Conditions of all data by name, ``(num_data, …)``. They win over those that the
            data carry, and these over those that the story holds itself.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: A condition has another number of rows than the data.
    """
    check_conditions(story, conditions)
    conditions = by_name(story, conditions)
    data = opened(data)
    if isinstance(data, FactorDataset):
        data = arranged(story, data)
    if not len(data):
        raise ValueError("expected at least one datum, got none")
    check_rows(conditions, len(data))
    own = story.told(len(data))
    if len(data) == story.fixed_size:
        batch_size = len(data)  # a guide with parameters of each datum takes them all at once
    start = 0
    for x, carried in conditioned_batches(data, batch_size, device):
        rows = slice(start, start + len(x))
        given = rows_of(own, rows) | carried | rows_of(conditions, rows)
        yield x, checked_conditions(story, x, given)
        start += len(x)
