"""CausalVAE's published objective: two divergences, and what holds its layers to the labels and to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.acyclicity import trace_polynomial
from ppl_disentangle.inference.beta import kl
from ppl_disentangle.inference.decomposed import DecomposedELBO
from ppl_disentangle.inference.latents import Latents
from ppl_disentangle.inference.schedules import Weight
from ppl_disentangle.sites import Site, latent_sites, observed_sites

__all__ = ["CausalVAEELBO"]

SUPERVISION = {"z_given_labels": "label_kl", "label_loss": "label_loss", "mask_loss": "mask_loss"}
"""Sites of the model by which labels and layers enter, and the terms that they are."""


class CausalVAEELBO(DecomposedELBO):
    r"""The bound of [1], with the penalties of its layers.

    .. math:: \mathbb E \log p(x \mid z) - \beta \operatorname{KL}(q(\varepsilon \mid x) \,\|\, p(\varepsilon))
       - \operatorname{KL}(q(z \mid x) \,\|\, p(z \mid u)) - l_u - l_m - \lambda h(A) - \tfrac\rho2 h(A)^2, \quad
       z = (I - A^\top)^{-1} \varepsilon

    A are the weights among the n concepts, of d coordinates each; h, zero where A has no cycle, is
    :func:`~ppl_disentangle.acyclicity.trace_polynomial`. q(z | x) is what the linear layer makes of
    :math:`q(\varepsilon \mid x)`, hence has the entropy of the latter less :math:`d \log |\det(I - A^\top)|`. As z is a
    function of :math:`\varepsilon`, the second divergence counts it twice: with it, this is no bound.

    Terms: ``"log_likelihood"`` and ``"kl"``, negative, the bound; ``"label_kl"``, negative, its cross entropy from the
    draw; ``"label_loss"`` and ``"mask_loss"``, negative squared errors, as the model states them; ``"acyclicity"``,
    minus h times the number of data, where the graph is learned. Terms of labels are there where the model was told
    labels. :math:`\lambda` and :math:`\rho` follow an augmented Lagrangian, as the paper has it and its code has not.

    Args:
        adjacency: returns A, of shape ``(n, n)``, entry (i, j) the weight of i in j.
        learned: whether A may have cycles, and has to lose them.
        beta: weight of the first divergence.
        label_kl: weight of the second.
        label_loss: weight of the error in the labels.
        mask_loss: weight of the error of the mask layer.
        every: steps between two updates of :math:`\lambda` and :math:`\rho`; a choice of ours, like the next three.
        rho: its first value.
        growth: the factor by which it grows where h did not fall to a quarter.
        maximum: its largest value.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    References:
        [1] Yang et al., 2021. https://arxiv.org/abs/2004.08697

    Example:
        >>> CausalVAEELBO(lambda: torch.zeros(3, 3), mask_loss=2.0)
        CausalVAEELBO(kl=1.0, label_kl=1.0, label_loss=1.0, mask_loss=2.0, warm_up=0)
    """

    multiplier: Tensor
    rho: Tensor
    reached: Tensor
    penalties: ClassVar[tuple[str, ...]] = ("label_kl", "label_loss", "mask_loss", "acyclicity")

    def __init__(
        self,
        adjacency: Callable[[], Tensor],
        *,
        learned: bool = False,
        beta: Weight = 1.0,
        label_kl: Weight = 1.0,
        label_loss: Weight = 1.0,
        mask_loss: Weight = 1.0,
        every: int = 100,
        rho: float = 1.0,
        growth: float = 10.0,
        maximum: float = 1e6,
        **options: Any,
    ) -> None:
        weights = {"kl": beta, "label_kl": label_kl, "label_loss": label_loss, "mask_loss": mask_loss}
        super().__init__(weights, **options)
        self.adjacency, self.learned = adjacency, learned
        self.every, self.growth, self.maximum = every, growth, maximum
        self.register_buffer("multiplier", torch.zeros(()))
        self.register_buffer("rho", torch.tensor(float(rho)))
        self.register_buffer("reached", torch.tensor(torch.inf))
        self.cycles = torch.zeros(())

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The bound, and what is told of its layers, in nats and squared units of the labels."""
        sites = latent_sites(model_trace, guide_trace)
        if [q.name for q, _ in sites] != ["noise"]:
            raise ValueError(f"expected a story with the latent 'noise' alone, got {[q.name for q, _ in sites]}")
        ((q, p),) = sites
        observed = observed_sites(model_trace)
        likelihood = [site.total(site.log_prob()) for name, site in observed.items() if name not in SUPERVISION]
        terms = {"log_likelihood": torch.stack(likelihood).sum(), "kl": -q.total(kl(q, p))}
        for name in SUPERVISION.keys() & observed.keys():
            site = observed[name]
            density = site.log_prob() + self._entropy(q) if name == "z_given_labels" else site.log_prob()
            terms[SUPERVISION[name]] = site.total(density)
        if self.learned:
            self.cycles = trace_polynomial(self.adjacency())
            terms["acyclicity"] = -Latents([q]).count * self.cycles
        return terms

    def _entropy(self, q: Site) -> Tensor:
        """Of what the linear layer makes of the noise, for each datum."""
        weights = self.adjacency()
        identity = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
        dim = q.fn.event_shape[-1] // len(weights)
        return q.fn.entropy() - dim * torch.linalg.slogdet(identity - weights).logabsdet

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step; that of the cycles depends on them."""
        if name == "acyclicity":
            return self.multiplier.clone() + 0.5 * self.rho.clone() * self.cycles
        return super().weight(name)

    def advance(self) -> None:
        """Count a step; now and then, raise the price of cycles."""
        super().advance()
        h, due = self.cycles.detach(), self.step % self.every == 0
        self.multiplier.add_(torch.where(due, self.rho * h, 0.0))
        stalled = due & (h > 0.25 * self.reached)
        self.rho.copy_(torch.where(stalled, (self.growth * self.rho).clamp(max=self.maximum), self.rho))
        self.reached.copy_(torch.where(due, h, self.reached))
