"""The bound under the constraint that a learned graph has no cycle, by an augmented Lagrangian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.acyclicity import trace_polynomial
from ppl_disentangle.adjacency import LearnedAdjacency
from ppl_disentangle.inference.beta import evidence_terms
from ppl_disentangle.inference.decomposed import DecomposedELBO
from ppl_disentangle.inference.latents import Latents
from ppl_disentangle.inference.schedules import Weight, spelled
from ppl_disentangle.sites import observed_sites, sampled_sites

__all__ = ["AcyclicELBO", "AugmentedLagrangian"]


class AugmentedLagrangian(nn.Module):
    r"""The weights of a constraint h = 0, for h that is nowhere negative.

    .. math:: \alpha h + \tfrac\rho2 h^2

    Every so many steps :math:`\alpha \leftarrow \alpha + \rho h`, and where h has not fallen below a part of what it
    was the last time, :math:`\rho \leftarrow \text{growth} \cdot \rho`. Both are buffers; the host reads no value.

    Args:
        every: number of steps.
        rho: its first value.
        growth: by how much it grows; [1] uses 10, after solving the problem before to the end. With so few steps in
            between, 2 leads to the same graphs with less to choose.
        progress: that part; 0.25 in [1].
        maximum: the largest value of :math:`\rho`. A stiff penalty drowns the likelihood in Adam's steps.

    Raises:
        ValueError: an argument out of its range.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> lagrangian = AugmentedLagrangian(every=1)
        >>> lagrangian.advance(torch.tensor(1.0), step=torch.tensor(1.0))
        >>> lagrangian.weight(torch.tensor(0.5))  # 1 + 1 / 2 * 0.5
        tensor(1.2500)
    """

    multiplier: Tensor
    rho: Tensor
    reached: Tensor

    def __init__(
        self,
        *,
        every: int = 100,
        rho: float = 1.0,
        growth: float = 2.0,
        progress: float = 0.25,
        maximum: float = 1e6,
    ) -> None:
        super().__init__()
        if every < 1 or growth < 1:
            raise ValueError(f"expected every >= 1 and growth >= 1, got every={every}, growth={growth}")
        if not 0 < rho <= maximum:
            raise ValueError(f"expected 0 < rho <= maximum, got rho={rho}, maximum={maximum}")
        if not 0 < progress < 1:
            raise ValueError(f"expected 0 < progress < 1, got {progress}")
        self.every, self.growth, self.progress, self.maximum = every, growth, progress, maximum
        self.register_buffer("multiplier", torch.zeros(()))
        self.register_buffer("rho", torch.tensor(float(rho)))
        self.register_buffer("reached", torch.tensor(torch.inf))

    def extra_repr(self) -> str:
        """The schedule, for checkpoints and tables."""
        return f"every={self.every}, growth={self.growth}, progress={self.progress}, maximum={self.maximum}"

    def weight(self, h: Tensor) -> Tensor:
        """What to multiply h by."""
        return self.multiplier.clone() + 0.5 * self.rho.clone() * h

    def advance(self, h: Tensor, *, step: Tensor) -> None:
        """Take note of h after ``step`` steps."""
        due, h = step % self.every == 0, h.detach().to(self.reached)
        self.multiplier.add_((self.rho * h).where(due, 0.0))
        stalled = due & (h > self.progress * self.reached)
        self.rho.copy_((self.growth * self.rho).clamp(max=self.maximum).where(stalled, self.rho))
        self.reached.copy_(h.where(due, self.reached))


class AcyclicELBO(DecomposedELBO):
    r"""The evidence lower bound of a story with a learned graph, sparse and without cycles [1].

    .. math:: \text{ELBO} - \lambda \sum_{ij} |A_{ij}| \quad \text{subject to} \quad h(A) = 0

    A are the weights of the edges; h is zero where they have no cycle. Terms: ``"log_likelihood"``; where there are
    latents, ``"kl"``, negative, in closed form where torch knows it; ``"acyclicity"`` and ``"sparsity"``, minus h and
    minus the sum times the number of data, which are no part of the bound. The weight of ``"acyclicity"`` is that of an
    :class:`AugmentedLagrangian`, so that the loss is the augmented Lagrangian; in the history of
    :func:`~ppl_disentangle.inference.fit` it reads -h. Edges that are required are not penalised.

    Gradient descent brings h near to zero, not to it, nor the weights of edges that are not there:
    :func:`~ppl_disentangle.adjacency.learned_dag` leaves them out.

    Args:
        adjacency: what is learned, of observed nodes or of latents.
        sparsity: lambda, in nats per datum and unit of the weights; 0.1 for linear equations in [1].
        acyclicity: h, a function from A to a scalar, of :mod:`ppl_disentangle.acyclicity`.
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
        super().__init__({"sparsity": sparsity}, **options)
        # Behind a function: a module as an attribute would become the objective's own.
        self._adjacency = lambda: adjacency
        self.acyclicity = acyclicity
        self.lagrangian = lagrangian or AugmentedLagrangian()
        self.cycles = torch.zeros(())

    def extra_repr(self) -> str:
        """The weights and the measure of cycles, for checkpoints and tables."""
        return f"{super().extra_repr()}, acyclicity={spelled(self.acyclicity)}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The bound and the two negative penalties, in nats."""
        adjacency, latents = self._adjacency(), sampled_sites(guide_trace)
        weights, required = adjacency.matrix(), adjacency.required
        self.cycles = self.acyclicity(torch.where(required, 1.0, weights))
        particles = self.num_particles if self.vectorize_particles else 1
        count = particles * Latents(list((latents or observed_sites(model_trace)).values())).count
        terms = evidence_terms(model_trace, guide_trace)
        if not latents:
            del terms["kl"]
        size = weights.abs().masked_fill(required, 0.0).sum()
        return terms | {"acyclicity": -count * self.cycles, "sparsity": -count * size}

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step; that of the cycles grows with them."""
        return self.lagrangian.weight(self.cycles) if name == "acyclicity" else super().weight(name)

    def advance(self) -> None:
        """Take note of a step of training, and of the cycles that it met."""
        super().advance()
        self.cycles = self.cycles.detach()
        self.lagrangian.advance(self.cycles, step=self.step)
