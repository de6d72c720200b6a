"""A data set with further arguments of model and guide for each datum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorDataset

__all__ = ["ConditionedDataset"]


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
