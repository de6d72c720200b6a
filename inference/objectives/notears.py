"""The objective of NOTEARS: the bound under the constraint that a learned graph has no cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.causal.acyclicity import trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency
from ppl_disentangle.inference.elbo.augmented_lagrangian import AugmentedLagrangian
from ppl_disentangle.inference.elbo.learned_graph import GraphELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import elbo_terms
from ppl_disentangle.sites import observed_sites, sampled_sites

__all__ = ["AcyclicELBO"]


class AcyclicELBO(GraphELBO):
    r"""The evidence lower bound of a story with a learned graph, sparse and without cycles [1].

    .. math:: \text{ELBO} - \lambda \sum_{ij} |A_{ij}| \quad \text{subject to} \quad h(A) = 0

    A holds the weights of the edges; h is zero exactly where they form no cycle. Terms:
    ``"log_likelihood"`` and ``"kl"`` (negative, in closed form where torch knows it, zero for a
    story without latents); ``"acyclicity"`` and ``"sparsity"``, minus h and minus the sum, times
    the number of data. The last two are not part of the bound. The weight of ``"acyclicity"``
    follows an :class:`~ppl_disentangle.inference.AugmentedLagrangian`, so the loss is the augmented
    Lagrangian; the history of :func:`~ppl_disentangle.inference.fit` shows -h. Required edges are
    not penalised and count as 1 in h.

    Gradient descent brings h and the weights of absent edges near zero, not to zero;
    :func:`~ppl_disentangle.causal.learned_dag` removes such edges.

    Other implementations: CausalVAE's code never raises the weight of h, and it trains the diagonal
    of A, by which a variable explains itself.

    Args:
        adjacency: The weights A between observed nodes or between latents.
        sparsity: Weight lambda, in nats per datum and per unit of A; [1] uses 0.1 for linear
            equations.
        acyclicity: A function h from A to a scalar; :mod:`ppl_disentangle.causal.acyclicity` has
            several.
        lagrangian: Schedule of the constraint. Its ``maximum`` is reached after about
            ``log(maximum) / log(growth) * every`` steps; train for about as many more. By default
            an :class:`~ppl_disentangle.inference.AugmentedLagrangian` with its default arguments.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.
            ``warm_up`` applies to the sparsity.

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
        """Log likelihood, negative KL and the two negative penalties, in nats."""
        sites = sampled_sites(guide_trace) | observed_sites(model_trace)
        bound = elbo_terms(model_trace, guide_trace)
        return bound | self.graph_terms(list(sites.values()))
