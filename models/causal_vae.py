"""CausalVAE [Yang et al., 2021], as one probabilistic program."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
from pyro import poutine
from torch import Tensor, nn

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.schedules import Weight
from ppl_disentangle.models.structural_vae import StructuralVAE
from ppl_disentangle.structural import StructuralPrior

__all__ = ["CausalVAE"]


class CausalVAE(StructuralVAE):
    r"""Structural latents whose nodes have noisy labels.

    .. math:: u_i \mid z_i \sim \mathcal N(z_i, \tau^2)

    Labels are children of the nodes, observed where they are known: all of them, some, or noisy ones. This is the pull
    of the labels on the nodes that [1] states as a conditional prior p(z | u), without counting z twice: one joint
    density, one divergence (see :class:`CausalVAEPaper` for the objective as published). A datum without labels is
    trained on like any other. Under ``fit`` the labels come by
    ``with_conditions(data, labels=…)``, of shape ``(num_data, columns)``, NaN where unknown.

    Args:
        prior: as in :class:`StructuralVAE`.
        encoder: as in :class:`StructuralVAE`.
        decoder: as in :class:`StructuralVAE`.
        label_scale: :math:`\tau`, in units of the nodes; a choice of ours.
        beta: weight of the divergence.

    References:
        [1] Yang et al., 2021. https://arxiv.org/abs/2004.08697
    """

    def __init__(
        self,
        prior: StructuralPrior,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        label_scale: float = 0.1,
        beta: Weight = 1.0,
    ) -> None:
        super().__init__(prior, encoder, decoder)
        if label_scale <= 0:
            raise ValueError(f"expected label_scale > 0, got {label_scale}")
        self.label_scale, self.beta = label_scale, beta

    def labels_given(self, values: Mapping[str, Tensor], labels: Tensor | None) -> None:
        """A normal around each node, where its label is known."""
        if labels is None:
            return
        z = self.prior.join(values)
        if labels.shape[-1] != z.shape[-1]:
            raise ValueError(f"expected labels of {list(self.prior.columns)}, got {labels.shape[-1]} columns")
        known = ~labels.isnan()
        for i, column in enumerate(self.prior.columns):
            with poutine.mask(mask=known[:, i]):
                label = labels[:, i].where(known[:, i], 0.0)
                pyro.sample(f"{column}_label", dist.Normal(z[..., i], self.label_scale), obs=label)

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(self.beta)
