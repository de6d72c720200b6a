"""Schedules: weights that change over training, as functions of a step counter on the device."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

__all__ = ["Cyclical", "Linear", "Piecewise", "Schedule", "Weight", "at_step", "as_text"]

Schedule = Callable[[Tensor], Tensor]
"""A function from the number of steps taken, a float32 scalar on the device, to a weight.

It must not branch in Python on its argument, which would wait for the device.
"""

Weight = float | Schedule
"""A constant weight, or a schedule."""


@dataclasses.dataclass(frozen=True)
class Linear:
    """A linear schedule: from ``start`` to ``end`` over ``steps`` steps, then constant.

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
    """A cyclical schedule: each cycle rises linearly from ``start`` to ``end``, then stays [1].

    Args:
        start: Weight at the beginning of a cycle.
        end: Weight at the end of a cycle.
        period: Number of steps in a cycle.
        ratio: Fraction of a cycle in which the weight rises; [1] uses 0.5.
        cycles: Number of cycles, after which the weight stays at ``end``; [1] spreads 4 over the
            whole of training. By default the cycles never end.

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
    """A piecewise linear schedule through points ``(step, weight)``, constant outside of them.

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
    """The value of a constant or scheduled weight after ``step`` steps."""
    return weight(step) if callable(weight) else weight


def as_text(weight: Weight) -> str:
    """A constant or a schedule as text for checkpoints and tables, the same in every process."""
    # A function's default repr has its address in memory, which differs between processes.
    return getattr(weight, "__qualname__", re.sub(r" at 0x[0-9a-f]+", "", repr(weight)))
