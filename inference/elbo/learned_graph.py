"""The base class of objectives that learn the edges of a causal graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.causal.acyclicity import trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency
from ppl_disentangle.inference.elbo.augmented_lagrangian import AugmentedLagrangian
from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.schedules import Weight, as_text
from ppl_disentangle.sites import Site, data_plate

__all__ = ["GraphELBO"]


class GraphELBO(DecomposedELBO):
    r"""An objective that learns a sparse graph without cycles. Abstract.

    The term ``"acyclicity"`` is weighted by an
    :class:`~ppl_disentangle.inference.AugmentedLagrangian`, so the loss is the augmented
    Lagrangian.

    Implementing one: pass the weights to ``__init__``, including one for ``"sparsity"``; define
    :meth:`terms` and merge :meth:`graph_terms` into its result; name ``"acyclicity"`` and
    ``"sparsity"`` in ``penalties``.

    Args:
        adjacency: The weights of the edges, which are learned.
        weights: Weights of the terms, as for :class:`~ppl_disentangle.inference.DecomposedELBO`.
        acyclicity: A function h from the weights of the edges to a scalar that is zero for acyclic
            graphs; :mod:`ppl_disentangle.causal.acyclicity` has several.
        lagrangian: Schedule of the constraint h = 0. By default an
            :class:`~ppl_disentangle.inference.AugmentedLagrangian` with its default arguments.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.
    """

    def __init__(
        self,
        adjacency: LearnedAdjacency,
        weights: Mapping[str, Weight],
        *,
        acyclicity: Callable[[Tensor], Tensor] = trace_polynomial,
        lagrangian: AugmentedLagrangian | None = None,
        **options: Any,
    ) -> None:
        super().__init__(weights, **options)
        # The story owns the adjacency. As an attribute it would be a submodule of the objective
        # too, and its parameters would be trained twice; a function hides it from nn.Module.
        self._adjacency = lambda: adjacency
        self.acyclicity = acyclicity
        self.lagrangian = lagrangian or AugmentedLagrangian()
        self.cycles = torch.zeros(())

    def extra_repr(self) -> str:
        """The weights and the function h, for checkpoints and tables."""
        return f"{super().extra_repr()}, acyclicity={as_text(self.acyclicity)}"

    def graph_terms(self, sites: Sequence[Site]) -> dict[str, Tensor]:
        """Minus h and minus the size of the weights, times the number of data.

        Args:
            sites: Sites under the plate over the data; the number of data that the batch stands for
                is read from them.

        Returns:
            The terms ``"acyclicity"`` and ``"sparsity"``.
        """
        adjacency = self._adjacency()
        self.cycles = adjacency.cycles(self.acyclicity)
        particles = self.num_particles if self.vectorize_particles else 1
        plate = data_plate(sites)
        if plate is None:
            raise ValueError(
                "the penalties of a graph need the number of data: open a plate over them"
            )
        count = float(particles * plate.full_size)
        return {"acyclicity": -count * self.cycles, "sparsity": -count * adjacency.size()}

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step; for ``"acyclicity"`` it grows with h."""
        if name == "acyclicity":
            return self.lagrangian.weight(self.cycles)
        return super().weight(name)

    def advance(self) -> None:
        """Count a training step, and pass its value of h to the Lagrangian."""
        super().advance()
        self.cycles = self.cycles.detach()
        self.lagrangian.advance(self.cycles, step=self.step)
