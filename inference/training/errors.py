"""How training ends when it does not end well."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NonFiniteError", "TrainingInterrupted"]


class NonFiniteError(ArithmeticError):
    """A term became NaN or infinite. The story has the weights from before that step.

    Attributes:
        step: the step at which it happened, from 0.
        site: the first site whose value or log density is not finite; ``None`` if only the loss is not.
        term: the first term that is not finite.
    """

    def __init__(self, step: int, site: str | None, term: str) -> None:
        where = f"site {site!r}" if site else "no single site (the terms alone)"
        super().__init__(
            f"step {step}: the term {term!r} is not finite, first at {where}; the story has its weights from before"
            " that step. Lower the learning rate, check the data, or warm the weights up"
        )
        self.step, self.site, self.term = step, site, term


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, taken at the end of a step.

    Attributes:
        step: number of steps taken.
        checkpoint: the file that was written, if any.
    """

    def __init__(self, step: int, checkpoint: Path | None) -> None:
        super().__init__(
            f"stopped after {step} steps" + (f"; saved {checkpoint}" if checkpoint else "")
        )
        self.step, self.checkpoint = step, checkpoint
