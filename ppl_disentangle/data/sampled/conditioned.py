"""A data set of which a story is told more than the observations: labels, interventions, auxiliary variables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorDataset

__all__ = ["ConditionedDataset", "with_conditions"]


def with_conditions(data: FactorDataset, **conditions: Any) -> ConditionedDataset:
    """The same data, each with values that ``fit`` passes to model and guide as ``model(x, name=…)``.

    Args:
        data: a data set.
        **conditions: for each argument a tensor or an array whose first dimension is the data; NaN stands for what is
            not known of a datum.

    Raises:
        ValueError: not one row a datum.

    Example:
        >>> from ppl_disentangle.data import from_arrays
        >>> data = with_conditions(from_arrays(torch.zeros(6, 2)), labels=torch.arange(6.0)[:, None])
        >>> data.conditions(torch.tensor([4, 5]))["labels"]
        tensor([[4.],
                [5.]])
    """
    return ConditionedDataset(
        data, {name: torch.as_tensor(value) for name, value in conditions.items()}
    )


class ConditionedDataset(FactorDataset):
    """``data``, with ``values`` beside; see :func:`with_conditions`."""

    def __init__(self, data: FactorDataset, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            if value.dim() == 0 or len(value) != len(data):
                raise ValueError(
                    f"expected {name} for each of {len(data)} data, got shape {tuple(value.shape)}"
                )
        self.data = data
        self.name, self.space = data.name, data.space
        self.observation_shape, self.maximum = data.observation_shape, data.maximum
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

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """Values of each datum, by name."""
        return self.data.conditions(index) | {
            n: value.on(index.device)[index] for n, value in self._values.items()
        }
