"""Data sets with conditions: labels, interventions or auxiliary variables of each datum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.conditioned import ConditionedDataset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.named_columns import named_columns

__all__ = ["ConditionedDataset", "with_conditions"]


def with_conditions(
    data: Any, *, columns: Sequence[str] | None = None, **conditions: Any
) -> ConditionedDataset:
    """The same data, with values that ``fit`` passes to model and guide as ``model(x, name=…)``.

    Args:
        data: Data set, or data in any form that :func:`~ppl_disentangle.data.as_dataset` takes.
        columns: Names of the columns of arrays and tensors that do not name them.
        **conditions: Values for each argument of model and guide, with one row for each datum; NaN
            stands for unknown values. Columns of a pandas frame, of an xarray data set or labelled
            array, and of a dictionary have names: a story with :attr:`columns
            <ppl_disentangle.GenerativeStory.columns>` takes its labels by these names, in any
            order.

    Raises:
        TypeError: A column does not hold numbers.
        ValueError: A condition has another number of rows than the data, or no condition has as
            many columns as ``columns`` names.

    Example:
        >>> from ppl_disentangle.data import from_arrays
        >>> data = with_conditions(from_arrays(torch.zeros(6, 2)), labels=torch.arange(6.0)[:, None])
        >>> data.conditions(torch.tensor([4, 5]))["labels"]
        tensor([[4.],
                [5.]])
        >>> scans = with_conditions(from_arrays(torch.zeros(2, 2)), labels={"age": [30.0, 40.0]})
        >>> scans.condition_columns
        {'labels': ('age',)}
    """
    data = as_dataset(data)
    values: dict[str, Tensor] = {}
    names: dict[str, tuple[str, ...]] = {}
    for name, value in conditions.items():
        converted, known = named_columns(name, value)
        values[name] = torch.as_tensor(converted)
        stated = known or _stated(columns, values[name])
        if stated:
            names[name] = stated
    if columns is not None and not names:
        shapes = {name: tuple(value.shape) for name, value in values.items()}
        raise ValueError(f"expected a condition with the columns {list(columns)}, got {shapes}")
    return ConditionedDataset(data, values, names)


def _stated(columns: Sequence[str] | None, values: Tensor) -> tuple[str, ...] | None:
    """The columns, if the values have as many."""
    has_columns = columns is not None and values.dim() == 2 and values.shape[1] == len(columns)
    return tuple(columns) if columns is not None and has_columns else None
