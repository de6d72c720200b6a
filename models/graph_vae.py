"""Latents that cause each other in a graph that is learned, seen through data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import as_dag, graph_of, topological_order
from ppl_disentangle.inference import AcyclicELBO
from ppl_disentangle.models.bases.structural import noisy_labels
from ppl_disentangle.models.graph_learning import GraphStory, NonlinearGraphStory
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["GraphVAE"]


class GraphVAE(GenerativeStory):
    r"""Labelled latents whose prior is a graph of equations that are learned with it.

    .. math:: z_i = f_i(z) + \sigma_i \varepsilon_i, \quad u_i \mid z_i \sim \mathcal N(z_i, \tau^2), \quad
       x \mid z \sim p(x \mid z)

    The equations are those of NOTEARS [1]; the posterior is stated for the nodes, so that they learn from what labels
    and data say of the nodes, as they would from measured columns. There are no interventions before the graph is
    known: :func:`~ppl_disentangle.causal.learned_dag` of this story is the graph of a
    :class:`~ppl_disentangle.causal.StructuralPrior`, hence of a :class:`~ppl_disentangle.models.CausalVAE`, whose
    nodes are programs of their own.

    - Story: above; z has a density where the graph has no cycle.
    - Guide: a normal posterior of all nodes.
    - Objective: :class:`~ppl_disentangle.inference.AcyclicELBO`.
    - Data: observations, and labels of some data at least, ``(num_data, nodes)`` in the order of the equations, NaN
      where unknown, as ``with_conditions(data, labels=…)``; centred, and with one unit for all nodes where the scales
      of the equations are equal. Without labels, nothing ties the coordinates to the nodes.
    - For: finding the graph of concepts that are seen in images, and labelled.

    Args:
        equations: such as :class:`~ppl_disentangle.models.LinearGraphStory`, over the nodes.
        encoder: ``encoder(x)`` is a normal of event shape ``(nodes,)``.
        decoder: ``decoder(z)`` is p(x | z).
        label_scale: :math:`\tau`, in units of the nodes; a choice of ours.

    Raises:
        ValueError: a ``label_scale`` that is not positive.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> from ppl_disentangle.causal.learned_adjacency import learned_dag
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.models import LinearGraphStory
        >>> equations = LinearGraphStory(["angle", "light", "shadow"])
        >>> story = GraphVAE(equations, Gaussian(nn.Linear(24, 6)), GaussianLearnedScale(nn.Linear(3, 24)))
        >>> learned_dag(story).nodes  # before training, without edges
        NodeView(('angle', 'light', 'shadow'))
    """

    latents = ("z",)
    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]

    def __init__(
        self,
        equations: GraphStory,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        label_scale: float = 0.1,
    ) -> None:
        super().__init__()
        if label_scale <= 0:
            raise ValueError(f"expected label_scale > 0, got {label_scale}")
        self.equations, self.encoder, self.decoder, self.label_scale = (
            equations,
            encoder,
            decoder,
            label_scale,
        )
        self.adjacency = equations.adjacency
        self.columns = equations.adjacency.names
        self.coordinate_names = {"z": self.columns}

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        graph: Sequence[str] | None = None,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with nodes of their own, or without.
            networks: what encoder and decoder are made by.
            graph: names of the nodes, whose graph is learned; by default the nodes of the data.
            **hyper: of the story.
        """
        given = graph_of(cls.__name__, data, graph)
        nodes = given if isinstance(given, list) else topological_order(as_dag(given))
        encoder, decoder = Gaussian(networks.encoder(2 * len(nodes))), networks.decoder(len(nodes))
        return cls(NonlinearGraphStory(nodes), encoder, decoder, **hyper)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, labels, z). ``labels``: ``(batch, nodes)``, NaN where unknown."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.equations.law())
            if labels is not None:
                noisy_labels(self.columns, z, self._checked(labels), self.label_scale)
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))

    def _checked(self, labels: Tensor) -> Tensor:
        if labels.dim() != 2 or labels.shape[-1] != len(self.columns):
            shape, columns = tuple(labels.shape), list(self.columns)
            raise ValueError(
                f"expected labels of {columns}, (batch, {len(columns)}), got shape {shape}"
            )
        return labels

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse interventions: what follows from a node is still to be learned."""
        raise ValueError(
            f"do({name!r}): the graph is still to be learned; intervene on CausalVAE(StructuralPrior(learned_dag(story)"
            "), …)"
        )

    def objective(self) -> AcyclicELBO:
        """The bound, sparse and without cycles."""
        return self.equations.objective()
