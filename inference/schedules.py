"""Weights that change over training, as functions of a step counter that lives on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

__all__ = ["Linear", "Schedule", "Weight"]

Schedule = Callable[[Tensor], Tensor]
"""From the number of steps taken, a float32 scalar on the device, to a weight; without a Python branch on it."""

Weight = float | Schedule


@dataclasses.dataclass(frozen=True)
class Linear:
    """From ``start`` to ``end`` over ``steps`` steps, then constant.

    Example:
        >>> Linear(0.0, 4.0, 100)(torch.tensor(25.0))
        tensor(1.)
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected steps >= 1, got {self.steps}")

    def __call__(self, step: Tensor) -> Tensor:
        """The weight after ``step`` steps."""
        return self.start + (self.end - self.start) * (step / self.steps).clamp(max=1.0)
