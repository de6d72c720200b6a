"""Data sets with conditions: labels, interventions or auxiliary variables of each datum."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorDataset

__all__ = ["ConditionedDataset", "with_conditions"]


def with_conditions(data: FactorDataset, **conditions: Tensor | ArrayLike) -> ConditionedDataset:
    """The same data, with values that ``fit`` passes to model and guide as ``model(x, name=…)``.

    Args:
        data: Data set.
        **conditions: Tensor or array for each argument of model and guide, with one row for each
            datum; NaN stands for unknown values.

    Raises:
        ValueError: A condition has another number of rows than the data.

    Example:
        >>> from ppl_disentangle.data import from_arrays
        >>> data = with_conditions(from_arrays(torch.zeros(6, 2)), labels=torch.arange(6.0)[:, None])
        >>> data.conditions(torch.tensor([4, 5]))["labels"]
        tensor([[4.],
                [5.]])
    """
    values = {name: torch.as_tensor(value) for name, value in conditions.items()}
    return ConditionedDataset(data, values)


class ConditionedDataset(FactorDataset):
    """A data set with further arguments of model and guide for each datum.

    Args:
        data: Data set.
        values: Tensor for each argument, with one row for each datum.
    """

    def __init__(self, data: FactorDataset, values: dict[str, Tensor]) -> None:
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

    def rows(self, index: Tensor) -> Tensor:
        """Rows in the user's own data, int64 ``(len(index),)``."""
        return self.data.rows(index)

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Names of the rows, ``(len(index),)``."""
        return self.data.row_labels(index)
