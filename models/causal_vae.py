"""CausalVAE [Yang et al., 2021] as one probabilistic program."""

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
    r"""Learns concepts of a known causal graph from images and a few noisy labels of the concepts.

    .. math:: \varepsilon_i \sim \mathcal N(0, 1), \quad
       z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \quad
       u_i \mid z_i \sim \mathcal N(z_i, \tau^2), \quad x \mid z \sim p(x \mid z)

    Labels u are children of the nodes z and are observed where they are known: all labels, some of
    them, or noisy ones. In this way labels attract the nodes, as the conditional prior p(z | u)
    does in [1], but z is not counted twice: there is one joint density and one divergence. See
    :class:`~ppl_disentangle.models.CausalVAEPaper` for the objective as published. Data without
    labels are trained on like any other data.

    - Story: A graph of causes, seen through data.
    - Guide: Normal posteriors of the nodes, or of their noise; see
      :class:`~ppl_disentangle.models.StructuralVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`, which includes the labels.
    - Data: labels of the nodes of a causal graph for at least some observations,
      ``with_conditions(data, labels=…)`` of shape ``(num_data, columns)``, NaN where unknown.
      Labels with mean 0 and scale 1 for each node suit the initial weights. For data recorded under
      interventions pass ``interventions=…``, the values that were set, NaN where nothing was set.
    - For: interventions and counterfactuals on concepts that are visible in the data but measured
      in few of them.

    Data recorded under an intervention on an unknown node have no ``interventions`` to state. Fit
    to the other data first. The noise that the labels imply is
    ``story.prior.noise_of(story.prior.split(labels))``. It is unusually large at a node that was
    set to a value which its parents do not explain, and perhaps at its descendants. State the first
    such node as set to its label, and fit to all data. This finds neither interventions on a root
    nor interventions that set a usual value.

    Args:
        prior: The structural causal model of the nodes.
        encoder: ``encoder(x)`` is a normal over all coordinates of the nodes, or of the noise.
        decoder: ``decoder(z)`` is p(x | z), for z all coordinates of the nodes.
        label_scale: Standard deviation :math:`\tau` of a label, on the scale of the nodes. The
            default is not from [1].
        beta: Weight of the divergence.
        posterior: ``"nodes"`` or ``"noise"``; see :class:`~ppl_disentangle.models.StructuralVAE`.

    References:
        [1] Yang et al., 2021. https://arxiv.org/abs/2004.08697

    Example:
        >>> from ppl_disentangle import do
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.causal.structural import StructuralPrior
        >>> prior = StructuralPrior("light -> shadow; angle -> shadow")
        >>> decoder = GaussianLearnedScale(nn.Linear(3, 24))
        >>> story = CausalVAE(prior, Gaussian(nn.Linear(24, 6)), decoder)
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
        self.label_scale = label_scale
        self.beta = beta

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, graph: Any = None, **hyper: Any
    ) -> Self:
        """Build the story for ``data``, with fresh networks and additive-noise mechanisms.

        Args:
            data: Observations, with or without a graph.
            networks: Makes the encoder and the decoder.
            graph: Graph of the nodes, in any form that :func:`~ppl_disentangle.graphs.as_dag`
                takes; by default the graph of the data.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: There is neither ``graph`` nor a graph of the data.
        """
        prior = StructuralPrior(graph_of(cls.__name__, data, graph))
        dim = sum(prior.dims.values())
        return cls(prior, Gaussian(networks.encoder(2 * dim)), networks.decoder(dim), **hyper)

    def observe_labels(self, values: Mapping[str, Tensor], labels: Tensor | None) -> None:
        """Observe each known label as a normal around its node."""
        if labels is not None:
            noisy_labels(self.columns, self.prior.side_by_side(values), labels, self.label_scale)

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta)
