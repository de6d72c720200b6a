"""The objective of CausalVAE: two divergences, and penalties on its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.causal.acyclicity import trace_polynomial
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency
from ppl_disentangle.inference.elbo.augmented_lagrangian import AugmentedLagrangian
from ppl_disentangle.inference.elbo.divergences import kl_total
from ppl_disentangle.inference.elbo.learned_graph import GraphELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import sum_tensors
from ppl_disentangle.sites import Site, latent_sites, observed_sites

__all__ = ["CausalVAEELBO"]

SUPERVISION = {"z_given_labels": "label_kl", "label_loss": "label_loss", "mask_loss": "mask_loss"}
"""Sites of the model that hold the penalties of labels and layers, with the names of their terms."""


class CausalVAEELBO(GraphELBO):
    r"""The bound of CausalVAE with the penalties of its layers [1].

    .. math:: \mathbb E \log p(x \mid z) - \beta \operatorname{KL}(q(\varepsilon \mid x) \,\|\, p(\varepsilon))
       - \operatorname{KL}(q(z \mid x) \,\|\, p(z \mid u)) - l_u - l_m - \lambda h(A) - \tfrac\rho2 h(A)^2, \quad
       z = (I - A^\top)^{-1} \varepsilon

    A holds the weights between the n concepts, each of d coordinates; h is zero where A has no
    cycle; u are the labels; :math:`l_u` and :math:`l_m` are the squared errors of the labels and of
    the mask layer. The linear layer maps :math:`q(\varepsilon \mid x)` to q(z | x), whose entropy
    is therefore smaller by :math:`d \log |\det(I - A^\top)|`. As z is a function of
    :math:`\varepsilon`, the second divergence counts the same information twice: the whole does not
    bound log p(x).

    Terms: ``"log_likelihood"`` and ``"kl"`` (negative), the evidence lower bound; ``"label_kl"``,
    the second divergence (negative, its cross entropy estimated from the draw); ``"label_loss"``
    and ``"mask_loss"``, the negative squared errors that the model states; ``"acyclicity"`` and
    ``"sparsity"``, minus h and minus the sum of :math:`|A|`, times the number of data, both zero
    for a known graph. The terms of labels appear only for batches with labels. :math:`\lambda` and
    :math:`\rho` follow an :class:`~ppl_disentangle.inference.AugmentedLagrangian`, as in the
    paper's appendix.

    Other implementations: The authors' code averages the likelihood over all but one dimension of
    the image, passes no gradient to the variances of the encoder, trains the diagonal of A, and
    never raises the weights of h.

    Args:
        adjacency: The weights A.
        beta: Weight of the first divergence.
        label_kl: Weight of the second divergence.
        label_loss: Weight of the squared error of the labels.
        mask_loss: Weight of the squared error of the mask layer.
        sparsity: Weight of the sum of :math:`|A|`, which [1] does not penalise.
        acyclicity: A function h from A to a scalar; :mod:`ppl_disentangle.causal.acyclicity` has
            several.
        lagrangian: Schedule of the constraint. By default an
            :class:`~ppl_disentangle.inference.AugmentedLagrangian` with its default arguments.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

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
        weights = {
            "kl": beta,
            "label_kl": label_kl,
            "label_loss": label_loss,
            "mask_loss": mask_loss,
            "sparsity": sparsity,
        }
        super().__init__(
            adjacency, weights, acyclicity=acyclicity, lagrangian=lagrangian, **options
        )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The bound and the negative penalties, in nats and squared units of the labels."""
        sites = latent_sites(model_trace, guide_trace)
        names = [q.name for q, _ in sites]
        if len(names) != 1 or names[0].removesuffix("_site") != "noise":
            raise ValueError(f"expected a story with the latent 'noise' alone, got {names}")
        ((q, p),) = sites
        observed = observed_sites(model_trace)
        likelihood = [
            site.total(site.log_prob())
            for name, site in observed.items()
            if name not in SUPERVISION
        ]
        bound = {"log_likelihood": sum_tensors(likelihood), "kl": -kl_total(q, p)}
        return bound | self._supervision(observed, q) | self.graph_terms([q])

    def _supervision(self, observed: Mapping[str, Site], q: Site) -> dict[str, Tensor]:
        """The terms of the labels and of the layers, of those that the model states."""
        terms: dict[str, Tensor] = {}
        for name, term in SUPERVISION.items():
            if name not in observed:
                continue
            site = observed[name]
            log_prob = site.log_prob()
            if name == "z_given_labels":
                log_prob = log_prob + self._entropy(q)
            terms[term] = site.total(log_prob)
        return terms

    def _entropy(self, q: Site) -> Tensor:
        """Entropy of q(z | x), the image of the noise under the linear layer, for each datum."""
        weights = self._adjacency().weights()
        identity = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
        dim = q.fn.event_shape[-1] // len(weights)
        return q.fn.entropy() - dim * torch.linalg.slogdet(identity - weights).logabsdet
