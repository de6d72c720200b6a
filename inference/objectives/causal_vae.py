"""CausalVAE's published objective: two divergences, and what holds its layers to the labels and to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.causal.acyclicity import trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency
from ppl_disentangle.inference.elbo.augmented_lagrangian import AugmentedLagrangian
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import added, kl
from ppl_disentangle.inference.objectives.notears import GraphELBO
from ppl_disentangle.sites import Site, latent_sites, observed_sites

__all__ = ["CausalVAEELBO"]

SUPERVISION = {"z_given_labels": "label_kl", "label_loss": "label_loss", "mask_loss": "mask_loss"}
"""Sites of the model by which labels and layers enter, and the terms that they are."""


class CausalVAEELBO(GraphELBO):
    r"""CausalVAE's bound with the penalties of its layers [1].

    .. math:: \mathbb E \log p(x \mid z) - \beta \operatorname{KL}(q(\varepsilon \mid x) \,\|\, p(\varepsilon))
       - \operatorname{KL}(q(z \mid x) \,\|\, p(z \mid u)) - l_u - l_m - \lambda h(A) - \tfrac\rho2 h(A)^2, \quad
       z = (I - A^\top)^{-1} \varepsilon

    A are the weights among the n concepts, of d coordinates each; h is zero where A has no cycle. q(z | x) is what the
    linear layer makes of :math:`q(\varepsilon \mid x)`, hence has the entropy of the latter less
    :math:`d \log |\det(I - A^\top)|`. As z is a function of :math:`\varepsilon`, the second divergence counts it twice:
    with it, this is no bound.

    Terms: ``"log_likelihood"`` and ``"kl"``, negative, the bound; ``"label_kl"``, negative, its cross entropy from the
    draw; ``"label_loss"`` and ``"mask_loss"``, negative squared errors, as the model states them; ``"acyclicity"`` and
    ``"sparsity"``, minus h and minus the sum of :math:`|A|` times the number of data, zero where the graph is given.
    Terms of labels are there where the model was told labels. :math:`\lambda` and :math:`\rho` follow an
    :class:`~ppl_disentangle.inference.AugmentedLagrangian`, as the paper's appendix has it.

    Avoids: a likelihood averaged over all but one dimension of the image, variances of the encoder that no gradient
    reaches, a diagonal of A that is trained, and weights of h that are never raised (the authors' code).

    Args:
        adjacency: A.
        beta: weight of the first divergence.
        label_kl: weight of the second.
        label_loss: weight of the error in the labels.
        mask_loss: weight of the error of the mask layer.
        sparsity: weight of the sum of :math:`|A|`, which [1] has not.
        acyclicity: h, a function from A to a scalar, of :mod:`ppl_disentangle.causal.acyclicity`.
        lagrangian: how the constraint is enforced.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    References:
        [1] Yang et al., 2021. https://arxiv.org/abs/2004.08697

    Example:
        >>> CausalVAEELBO(LearnedAdjacency(["age", "dose", "health"]), mask_loss=2.0)
        CausalVAEELBO(
          kl=1.0, label_kl=1.0, label_loss=1.0, mask_loss=2.0, sparsity=0.0, warm_up=0, acyclicity=trace_polynomial
          (lagrangian): AugmentedLagrangian(every=100, growth=2.0, progress=0.25, maximum=1000000.0)
        )
    """

    penalties: ClassVar[tuple[str, ...]] = (*SUPERVISION.values(), "acyclicity", "sparsity")

    def __init__(
        self,
        adjacency: LearnedAdjacency,
        *,
        beta: Weight = 1.0,
        label_kl: Weight = 1.0,
        label_loss: Weight = 1.0,
        mask_loss: Weight = 1.0,
        sparsity: Weight = 0.0,
        acyclicity: Callable[[Tensor], Tensor] = trace_polynomial,
        lagrangian: AugmentedLagrangian | None = None,
        **options: Any,
    ) -> None:
        of_labels = {"label_kl": label_kl, "label_loss": label_loss, "mask_loss": mask_loss}
        weights = {"kl": beta, **of_labels, "sparsity": sparsity}
        super().__init__(
            adjacency, weights, acyclicity=acyclicity, lagrangian=lagrangian, **options
        )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The bound, and what is told of its layers, in nats and squared units of the labels."""
        sites = latent_sites(model_trace, guide_trace)
        if [q.name for q, _ in sites] != ["noise"]:
            raise ValueError(
                f"expected a story with the latent 'noise' alone, got {[q.name for q, _ in sites]}"
            )
        ((q, p),) = sites
        observed = observed_sites(model_trace)
        likelihood = [
            site.total(site.log_prob())
            for name, site in observed.items()
            if name not in SUPERVISION
        ]
        terms = {"log_likelihood": added(likelihood), "kl": -q.total(kl(q, p))}
        for name in observed.keys() & SUPERVISION.keys():
            site = observed[name]
            density = (
                site.log_prob() + self._entropy(q) if name == "z_given_labels" else site.log_prob()
            )
            terms[SUPERVISION[name]] = site.total(density)
        return terms | self.graph_terms([q])

    def _entropy(self, q: Site) -> Tensor:
        """Of what the linear layer makes of the noise, for each datum."""
        weights = self._adjacency().weights()
        identity = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
        dim = q.fn.event_shape[-1] // len(weights)
        return q.fn.entropy() - dim * torch.linalg.slogdet(identity - weights).logabsdet
