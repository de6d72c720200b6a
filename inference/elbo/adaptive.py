"""The base class of bounds with one weight that adapts during training."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import pairs_by_plate
from ppl_disentangle.inference.elbo.terms import local_bound_terms

__all__ = ["AdaptiveELBO"]


class AdaptiveELBO(DecomposedELBO):
    """The evidence lower bound with one weight that follows the progress of training. Abstract.

    Terms: ``"log_likelihood"`` and ``"kl"`` (the negative divergence of the latents of each datum,
    in closed form where torch knows it), and ``"shared_kl"`` where all data share latents. One of
    the first two has the weight :attr:`multiplier`; the other has weight 1. A training
    step uses the multiplier left by the step before. Evaluation does not change it. The multiplier
    is a buffer, so it moves with the module and is part of its ``state_dict``.

    Implementing one: pass the name of the term and its initial weight to ``__init__``, and define
    :meth:`adapt`.

    Args:
        term: Name of the term with the adaptive weight.
        multiplier: Initial value of that weight.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`, except
            ``warm_up``; see there.

    Raises:
        ValueError: ``warm_up`` was passed.
    """

    multiplier: Tensor

    def __init__(self, term: str, multiplier: float, **options: Any) -> None:
        if options.get("warm_up"):
            raise ValueError(
                f"the weight of {term!r} adapts by itself; expected no warm_up,"
                f" got {options['warm_up']}"
            )
        super().__init__({}, **options)
        self.term = term
        self.register_buffer("multiplier", torch.tensor(float(multiplier)))
        self._count = 1.0  # data that the last batch stood for

    @abstractmethod
    def adapt(self, reached: Tensor) -> None:
        """Change :attr:`multiplier` in place after a training step.

        Args:
            reached: Value of the adaptive term in that step, in nats per datum.
        """

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and negative KL, in nats."""
        # A bound on the log likelihood needs no latents of each datum.
        pairs = pairs_by_plate(model_trace, guide_trace, required=self.term == "kl")
        self._count = float(pairs.plate.full_size)
        return local_bound_terms(model_trace, pairs)

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step."""
        # A copy: the buffer changes in place before the backward pass may have used it.
        return self.multiplier.clone() if name == self.term else super().weight(name)

    def advance(self) -> None:
        """Adapt the multiplier to the last training step, and count the step."""
        reached = self.last_terms[self.term] / self._count
        self.adapt(reached.to(self.multiplier))
        super().advance()
