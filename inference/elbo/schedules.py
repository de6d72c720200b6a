"""Weights that change over training, as functions of a step counter that lives on the device."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

__all__ = ["Cyclical", "Linear", "Piecewise", "Schedule", "Weight", "at_step", "spelled"]

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


@dataclasses.dataclass(frozen=True)
class Cyclical:
    """From ``start`` to ``end`` again and again: in each cycle linearly at first, then constant [1].

    Args:
        start: the weight at the beginning of a cycle.
        end: the weight that it rises to.
        period: steps of a cycle.
        ratio: the part of a cycle in which it rises; [1] uses 0.5.
        cycles: number of cycles, after which the weight stays at ``end``; [1] spreads 4 over all of training. ``None``:
            for ever.

    Example:
        >>> beta = Cyclical(0.0, 1.0, 100, cycles=4)
        >>> [beta(torch.tensor(step)).item() for step in (25.0, 75.0, 125.0, 425.0)]
        [0.5, 1.0, 0.5, 1.0]

    References:
        [1] Fu et al., 2019. https://arxiv.org/abs/1903.10145
    """

    start: float
    end: float
    period: int
    ratio: float = dataclasses.field(default=0.5, kw_only=True)
    cycles: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"expected period >= 1, got {self.period}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"expected ratio above 0 and up to 1, got {self.ratio}")
        if self.cycles is not None and self.cycles < 1:
            raise ValueError(f"expected cycles >= 1 or None, got {self.cycles}")

    def __call__(self, step: Tensor) -> Tensor:
        """The weight after ``step`` steps."""
        rise = (step % self.period / (self.period * self.ratio)).clamp(max=1.0)
        if self.cycles is not None:
            rise = rise.where(step < self.period * self.cycles, 1.0)
        return self.start + (self.end - self.start) * rise


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Piecewise:
    """Linear between points ``(step, weight)``, constant before the first and after the last.

    Example:
        >>> beta = Piecewise((100, 0.0), (200, 4.0), (1000, 1.0))
        >>> [beta(torch.tensor(step)).item() for step in (50.0, 150.0, 600.0, 2000.0)]
        [0.0, 2.0, 2.5, 1.0]
    """

    points: tuple[tuple[int, float], ...]

    def __init__(self, *points: tuple[int, float]) -> None:
        if len(points) < 2 or any(len(point) != 2 for point in points):
            raise ValueError(f"expected two or more points (step, weight), got {points}")
        if any(after <= before for (before, _), (after, _) in pairwise(points)):
            raise ValueError(
                f"expected points of increasing steps, got steps {[step for step, _ in points]}"
            )
        object.__setattr__(self, "points", tuple((step, weight) for step, weight in points))

    def __repr__(self) -> str:
        return f"Piecewise({', '.join(map(repr, self.points))})"

    def __call__(self, step: Tensor) -> Tensor:
        """The weight after ``step`` steps."""
        weight = step.new_full((), self.points[0][1])
        for (start, before), (end, after) in pairwise(self.points):
            weight = weight + (after - before) * ((step - start) / (end - start)).clamp(0.0, 1.0)
        return weight


def at_step(weight: Weight, step: Tensor) -> float | Tensor:
    """The value of a number or a schedule after ``step`` steps."""
    return weight(step) if callable(weight) else weight


def spelled(weight: Weight) -> str:
    """A number or a schedule as text, the same in every process, for checkpoints and tables."""
    return getattr(weight, "__qualname__", re.sub(r" at 0x[0-9a-f]+", "", repr(weight)))
