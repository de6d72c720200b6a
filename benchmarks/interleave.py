"""Functions timed in turn, A B B A …, so that disturbances of the machine affect all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping


def interleave(
    steps: Mapping[str, Callable[[], object]],
    *,
    seconds_per_slot: float = 0.4,
    rounds: int = 9,
    warm_up: int = 3,
) -> dict[str, dict[str, float]]:
    """Median CPU milliseconds per call, and the median over rounds of the first one's time over each one's.

    Both are process CPU time, which neighbours on the machine disturb little while one thread computes.
    """
    for step in steps.values():
        for _ in range(warm_up):
            step()
    first = next(iter(steps))
    calls = max(2, int(seconds_per_slot / max(_seconds(steps[first], 2), 1e-6)))
    taken: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.disable()
    for r in range(rounds):
        for name in list(steps) if r % 2 == 0 else list(steps)[::-1]:
            steps[name]()  # its own caches are warm again, untimed
            taken[name].append(_seconds(steps[name], calls))
    gc.enable()
    return {
        name: {
            "cpu_ms": 1e3 * statistics.median(times),
            "speed": statistics.median(a / b for a, b in zip(taken[first], times, strict=True)),
        }
        for name, times in taken.items()
    }


def _seconds(step: Callable[[], object], calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        step()
    return (time.process_time() - start) / calls
