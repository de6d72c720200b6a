"""CausalVAE [Yang et al., 2021], as one probabilistic program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import graph_of
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.structural import Posterior, StructuralVAE, noisy_labels
from ppl_disentangle.networks import Networks

__all__ = ["CausalVAE"]


class CausalVAE(StructuralVAE):
    r"""Structural latents whose nodes have noisy labels.

    .. math:: \varepsilon_i \sim \mathcal N(0, 1), \quad z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \quad
       u_i \mid z_i \sim \mathcal N(z_i, \tau^2), \quad x \mid z \sim p(x \mid z)

    Labels are children of the nodes, observed where they are known: all of them, some, or noisy ones. This is the pull
    of the labels on the nodes that [1] states as a conditional prior p(z | u), without counting z twice: one joint
    density, one divergence (see :class:`~ppl_disentangle.models.CausalVAEPaper` for the objective as published). A
    datum without labels is trained on like any other.

    - Story: a graph of causes, seen through data.
    - Guide: normal posteriors of the nodes, or of their noise; see :class:`StructuralVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`, of the labels too.
    - Data: observations; a graph; labels of some data at least, ``(num_data, columns)``, NaN where unknown, as
      ``with_conditions(data, labels=…)``. Labels of each node with mean 0 and scale 1 suit the initial weights. Data
      recorded under interventions come with ``interventions=…``, the values that were set, NaN where none was.
    - For: interventions and counterfactuals on concepts that are seen, but not measured in most data.

    Of data that were intervened on at a node that is not known, ``interventions`` cannot be stated. Fit to the others
    first. The noise that labels imply, ``story.prior.noise_of(story.prior.split(labels))``, is then larger than any
    usual one at a node that was set to what its parents do not lead to, and perhaps at what follows from it. State the
    first such node as set to its label, and fit to all. This finds no root, and no value that could be natural.

    Args:
        prior: as in :class:`StructuralVAE`.
        encoder: as in :class:`StructuralVAE`.
        decoder: as in :class:`StructuralVAE`.
        label_scale: :math:`\tau`, in units of the nodes; a choice of ours.
        beta: weight of the divergence.
        posterior: as in :class:`StructuralVAE`.

    References:
        [1] Yang et al., 2021. https://arxiv.org/abs/2004.08697

    Example:
        >>> from ppl_disentangle import do
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.causal.structural import StructuralPrior
        >>> prior = StructuralPrior("light -> shadow; angle -> shadow")
        >>> story = CausalVAE(prior, Gaussian(nn.Linear(24, 6)), GaussianLearnedScale(nn.Linear(3, 24)))
        >>> do(story, {"light": 1.5}).model(batch_size=5).shape
        torch.Size([5, 24])
    """

    def __init__(
        self,
        prior: StructuralPrior,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        label_scale: float = 0.1,
        beta: Weight = 1.0,
        posterior: Posterior = "nodes",
    ) -> None:
        super().__init__(prior, encoder, decoder, posterior=posterior)
        if label_scale <= 0:
            raise ValueError(f"expected label_scale > 0, got {label_scale}")
        self.label_scale, self.beta = label_scale, beta

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, graph: Any = None, **hyper: Any
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with a graph of their own, or without.
            networks: what encoder and decoder are made by.
            graph: what :func:`~ppl_disentangle.graphs.as_dag` takes; by default that of the data.
            **hyper: of the story.
        """
        prior = StructuralPrior(graph_of(cls.__name__, data, graph))
        dim = sum(prior.dims.values())
        return cls(prior, Gaussian(networks.encoder(2 * dim)), networks.decoder(dim), **hyper)

    def observe_labels(self, values: Mapping[str, Tensor], labels: Tensor | None) -> None:
        """A normal around each node, where its label is known."""
        if labels is not None:
            noisy_labels(self.columns, self.prior.side_by_side(values), labels, self.label_scale)

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(self.beta)
