"""Errors by which training ends early."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NonFiniteError", "TrainingInterrupted"]


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
