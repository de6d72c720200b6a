"""Learning a causal graph: the bound under the constraint that the graph has no cycle, by an augmented Lagrangian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.acyclicity import LearnedAdjacency, trace_polynomial
from ppl_disentangle.inference.beta import evidence_terms
from ppl_disentangle.inference.decomposed import DecomposedELBO
from ppl_disentangle.inference.latents import Latents
from ppl_disentangle.inference.schedules import Weight
from ppl_disentangle.sites import observed_sites, sampled_sites

__all__ = ["AcyclicELBO"]


class AcyclicELBO(DecomposedELBO):
    multiplier: Tensor
    rho: Tensor
    reached: Tensor
    penalties: ClassVar[tuple[str, ...]] = ("acyclicity", "sparsity")

    def __init__(
        self,
        adjacency: LearnedAdjacency,
        *,
        sparsity: Weight = 0.1,
        acyclicity: Callable[[Tensor], Tensor] = trace_polynomial,
        every: int = 100,
        rho: float = 1.0,
        growth: float = 10.0,
        progress: float = 0.25,
        maximum: float = 1e6,
        **options: Any,
    ) -> None:
        super().__init__({"sparsity": sparsity}, **options)
        self._adjacency = lambda: adjacency
        self.acyclicity = acyclicity
        self.every, self.growth, self.progress, self.maximum = every, growth, progress, maximum
        self.register_buffer("multiplier", torch.zeros(()))
        self.register_buffer("rho", torch.tensor(float(rho)))
        self.register_buffer("reached", torch.tensor(torch.inf))
        self.cycles = torch.zeros(())

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        latents, observed = sampled_sites(guide_trace), observed_sites(model_trace)
        adjacency = self._adjacency()
        matrix = adjacency.matrix()
        self.cycles = self.acyclicity(torch.where(adjacency.required, 1.0, matrix))
        size = matrix.abs().masked_fill(adjacency.required, 0.0).sum()
        particles = self.num_particles if self.vectorize_particles else 1
        count = particles * Latents(list((latents or observed).values())).count
        self._count = count*(self.num_particles/particles)
        terms = evidence_terms(model_trace, guide_trace)
        if not latents:
            del terms["kl"]
        return terms | {"acyclicity": -count * self.cycles, "sparsity": -count * size}

    def weight(self, name: str) -> float | Tensor:
        if name == "acyclicity":
            return self.multiplier.clone() + 0.5 * self.rho.clone() * self.cycles
        return super().weight(name)

    def advance(self) -> None:
        super().advance()
        h = self.cycles.detach()
        due = self.step % self.every == 0
        self.multiplier.add_(torch.where(due, self.rho * h, 0.0))
        stalled = due & (h > self.progress * self.reached)
        self.rho.copy_(torch.where(stalled, (self.growth * self.rho).clamp(max=self.maximum), self.rho))
        self.reached.copy_(torch.where(due, h, self.reached))
