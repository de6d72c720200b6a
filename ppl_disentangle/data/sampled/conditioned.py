"""Data sets with conditions: labels, interventions or auxiliary variables of each datum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorDataset
from ppl_disentangle.data.named_columns import named_columns

__all__ = ["ConditionedDataset", "with_conditions"]


def with_conditions(
    data: FactorDataset, *, columns: Sequence[str] | None = None, **conditions: Any
) -> ConditionedDataset:
    """The same data, with values that ``fit`` passes to model and guide as ``model(x, name=…)``.

    Args:
        data: Data set.
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


class ConditionedDataset(FactorDataset):
    """A data set with further arguments of model and guide for each datum.

    Args:
        data: Data set.
        values: Tensor for each argument, with one row for each datum.
        names: Names of the columns of arguments, where they are known.
    """

    def __init__(
        self,
        data: FactorDataset,
        values: Mapping[str, Tensor],
        names: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        for name, value in values.items():
            if value.dim() == 0 or len(value) != len(data):
                shape = tuple(value.shape)
                raise ValueError(f"expected {name} for each of {len(data)} data, got shape {shape}")
        self.data = data
        self.name = data.name
        self.space = data.space
        self.observation_shape = data.observation_shape
        self.maximum = data.maximum
        self._kind = data.kind
        self.value_range = data.value_range
        self.columns = data.columns
        self._names = dict(names or {})
        self._values = {
            name: DeviceCopies(value.float() if value.is_floating_point() else value)
            for name, value in values.items()
        }

    def __len__(self) -> int:
        return len(self.data)

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self.data.observations(index)

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""
        return self.data.factors(index)

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Numbers of continuous factors, classes of others, ``(len(index), len(space))``."""
        return self.data.factor_numbers(index)

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """Further arguments of model and guide for each datum, by name."""
        values = {name: value.on(index.device)[index] for name, value in self._values.items()}
        return self.data.conditions(index) | values

    @property
    def condition_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the columns of conditions, by condition, where they are known."""
        inherited = self.data.condition_columns.items()
        return {n: c for n, c in inherited if n not in self._values} | self._names

    def rows(self, index: Tensor) -> Tensor:
        """Rows in the user's own data, int64 ``(len(index),)``."""
        return self.data.rows(index)

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Names of the rows, ``(len(index),)``."""
        return self.data.row_labels(index)
