"""Errors by which training ends early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

__all__ = ["NonFiniteError", "TrainingInterrupted", "taking_batch"]


class NonFiniteError(ArithmeticError):
    """A term became NaN or infinite. The story has the weights from before that step.

    Attributes:
        step: The step at which it happened, counted from 0.
        site: The first site whose value or log density is not finite; ``None`` if all are finite
            and only the loss is not.
        term: A term that is not finite; of several, the last one.
    """

    def __init__(self, step: int, site: str | None, term: str) -> None:
        where = f"site {site!r}" if site else "no single site (the terms alone)"
        super().__init__(
            f"step {step}: the term {term!r} is not finite, first at {where}; the story has its"
            " weights from before that step. Lower the learning rate, check the data, or warm the"
            " weights up"
        )
        self.step = step
        self.site = site
        self.term = term


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C, after the step that was being taken.

    Attributes:
        step: Number of steps taken.
        checkpoint: The checkpoint that was written; ``None`` if training had none.
    """

    def __init__(self, step: int, checkpoint: Path | None) -> None:
        saved = f"; saved {checkpoint}" if checkpoint else ""
        super().__init__(f"stopped after {step} steps{saved}")
        self.step = step
        self.checkpoint = checkpoint


INVALID = "found invalid values"
"""Words of torch about parameters and values that a distribution cannot have; a tensor follows."""


def _without_tensors(error: ValueError) -> str:
    """The first sentence of an error of torch, without the tensor that it shows."""
    return " ".join(str(error).partition("\ntensor(")[0].split())


def _missing(conditions: Mapping[str, Tensor]) -> str:
    """What a message adds about conditions that are NaN."""
    counts = {}
    for name, value in conditions.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            counts[name] = int(value.isnan().flatten(1).any(1).sum()) if value.dim() > 1 else 0
    parts = [f"the condition {name!r} is NaN in {num} data" for name, num in counts.items() if num]
    return f" ({'; '.join(parts)} of the first batch)" if parts else ""


@contextmanager
def taking_batch(x: Tensor, conditions: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which an error of a program names the batch that it does not take.

    Raises:
        ValueError: The program raised an error that speaks of tensors or arguments alone, or a
            distribution has parameters or values that it cannot have.
    """
    try:
        yield
    except ValueError as error:
        if INVALID not in str(error):
            raise
        raise ValueError(_without_tensors(error) + _missing(conditions)) from error
    except (RuntimeError, TypeError) as error:
        shape = tuple(x.shape)
        with_conditions = f" with {', '.join(conditions)}" if conditions else ""
        raise ValueError(
            "the story does not take a batch of observations of shape"
            f" {shape}{with_conditions}: {error}"
        ) from error
