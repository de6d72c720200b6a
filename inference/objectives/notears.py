"""The bound under the constraint that a learned graph has no cycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.causal.acyclicity import trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency
from ppl_disentangle.inference.elbo.augmented_lagrangian import AugmentedLagrangian
from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight, spelled
from ppl_disentangle.inference.elbo.terms import elbo_terms
from ppl_disentangle.sites import Site, observed_sites, sampled_sites

__all__ = ["AcyclicELBO", "GraphELBO"]


class GraphELBO(DecomposedELBO):
    r"""An objective by which the edges of a graph are learned, sparse and without cycles. Abstract.

    The weight of the term ``"acyclicity"`` is that of an :class:`~ppl_disentangle.inference.AugmentedLagrangian`, so
    that the loss is the augmented Lagrangian.

    Implementing one: pass the weights to ``__init__``, that of ``"sparsity"`` among them, define :meth:`terms` with
    those of :meth:`graph_terms`, and name these in ``penalties``.

    Args:
        adjacency: what is learned.
        weights: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.
        acyclicity: h, a function from the weights of the edges to a scalar, of
            :mod:`ppl_disentangle.causal.acyclicity`.
        lagrangian: how the constraint is enforced.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.
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
        # Behind a function: a module as an attribute would become the objective's own.
        self._adjacency = lambda: adjacency
        self.acyclicity = acyclicity
        self.lagrangian = lagrangian or AugmentedLagrangian()
        self.cycles = torch.zeros(())

    def extra_repr(self) -> str:
        """The weights and the measure of cycles, for checkpoints and tables."""
        return f"{super().extra_repr()}, acyclicity={spelled(self.acyclicity)}"

    def graph_terms(self, sites: Sequence[Site]) -> dict[str, Tensor]:
        """``"acyclicity"`` and ``"sparsity"``, times the number of data that the batch in ``sites`` stands for."""
        adjacency = self._adjacency()
        self.cycles = adjacency.cycles(self.acyclicity)
        particles = self.num_particles if self.vectorize_particles else 1
        count = particles * Latents(sites).count
        return {"acyclicity": -count * self.cycles, "sparsity": -count * adjacency.size()}

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step; that of the cycles grows with them."""
        return self.lagrangian.weight(self.cycles) if name == "acyclicity" else super().weight(name)

    def advance(self) -> None:
        """Take note of a step of training, and of the cycles that it met."""
        super().advance()
        self.cycles = self.cycles.detach()
        self.lagrangian.advance(self.cycles, step=self.step)


class AcyclicELBO(GraphELBO):
    r"""The evidence lower bound of a story with a learned graph, sparse and without cycles [1].

    .. math:: \text{ELBO} - \lambda \sum_{ij} |A_{ij}| \quad \text{subject to} \quad h(A) = 0

    A are the weights of the edges; h is zero where they have no cycle. Terms: ``"log_likelihood"`` and ``"kl"``,
    negative, in closed form where torch knows it, zero where there are no latents; ``"acyclicity"`` and ``"sparsity"``,
    minus h and minus the sum times the number of data, which are no part of the bound. The weight of ``"acyclicity"``
    is that of an :class:`~ppl_disentangle.inference.AugmentedLagrangian`, so that the loss is the augmented Lagrangian;
    in the history of :func:`~ppl_disentangle.inference.fit` it reads -h. Edges that are required are not penalised, and
    count as 1 in h.

    Gradient descent brings h near to zero, not to it, nor the weights of edges that are not there:
    :func:`~ppl_disentangle.causal.learned_dag` leaves them out.

    Avoids: weights of h that are never raised, and a diagonal of A that is trained, by which a variable explains itself
    (CausalVAE's code).

    Args:
        adjacency: what is learned, of observed nodes or of latents.
        sparsity: lambda, in nats per datum and unit of the weights; 0.1 for linear equations in [1].
        acyclicity: h, a function from A to a scalar, of :mod:`ppl_disentangle.causal.acyclicity`.
        lagrangian: how the constraint is enforced. Its ``maximum`` is reached after about
            ``log(maximum) / log(growth) * every`` steps; leave as many to the rest of training.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`; a ``warm_up`` is of the sparsity.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> AcyclicELBO(LearnedAdjacency(["age", "dose", "health"]), sparsity=0.05)
        AcyclicELBO(
          sparsity=0.05, warm_up=0, acyclicity=trace_polynomial
          (lagrangian): AugmentedLagrangian(every=100, growth=2.0, progress=0.25, maximum=1000000.0)
        )
    """

    penalties: ClassVar[tuple[str, ...]] = ("acyclicity", "sparsity")

    def __init__(
        self,
        adjacency: LearnedAdjacency,
        *,
        sparsity: Weight = 0.1,
        acyclicity: Callable[[Tensor], Tensor] = trace_polynomial,
        lagrangian: AugmentedLagrangian | None = None,
        **options: Any,
    ) -> None:
        weights = {"sparsity": sparsity}
        super().__init__(
            adjacency, weights, acyclicity=acyclicity, lagrangian=lagrangian, **options
        )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The bound and the two negative penalties, in nats."""
        sites = sampled_sites(guide_trace) or observed_sites(model_trace)
        return elbo_terms(model_trace, guide_trace) | self.graph_terms(list(sites.values()))
