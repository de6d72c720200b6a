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
from ppl_disentangle.models.bases.labelled import check_labels
from ppl_disentangle.models.bases.structural import noisy_labels
from ppl_disentangle.models.graph_learning import GraphStory, NonlinearGraphStory
from ppl_disentangle.names import free_name
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["GraphVAE"]


class GraphVAE(GenerativeStory):
    r"""Finds the causal graph of labelled concepts that are seen in images.

    .. math:: z_i = f_i(z) + \sigma_i \varepsilon_i, \quad
       u_i \mid z_i \sim \mathcal N(z_i, \tau^2), \quad x \mid z \sim p(x \mid z)

    The equations of the nodes z are learned as in NOTEARS [1]. The guide states a posterior of the
    nodes, so the equations learn from labels and data as they would from measured columns.
    Interventions are refused while the graph is unknown. The graph is
    :func:`~ppl_disentangle.causal.learned_dag` of this story; it can be the graph of a
    :class:`~ppl_disentangle.causal.StructuralPrior`, and thus of a
    :class:`~ppl_disentangle.models.CausalVAE`, which supports interventions.

    - Story: Above; z has a density if the graph has no cycle.
    - Guide: A normal posterior of all nodes.
    - Objective: :class:`~ppl_disentangle.inference.AcyclicELBO`.
    - Data: labels of the nodes of an unknown causal graph for at least some observations,
      ``with_conditions(data, labels=…)`` of shape ``(num_data, nodes)`` in the order of the
      equations, NaN where unknown. Labels are centred, and on one scale if the equations have equal
      scales. Without labels, nothing ties coordinates to nodes.
    - For: the graph of concepts that are seen in images and labelled.

    Args:
        equations: Equations of the nodes, such as
            :class:`~ppl_disentangle.models.LinearGraphStory`.
        encoder: ``encoder(x)`` is a normal with events of shape ``(nodes,)``.
        decoder: ``decoder(z)`` is p(x | z).
        label_scale: Standard deviation :math:`\tau` of a label, on the scale of the nodes. The
            default is not from a paper.

    Raises:
        ValueError: ``label_scale`` is not positive.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> from ppl_disentangle.causal.learned_adjacency import learned_dag
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.models import LinearGraphStory
        >>> equations = LinearGraphStory(["angle", "light", "shadow"])
        >>> networks = Gaussian(nn.Linear(24, 6)), GaussianLearnedScale(nn.Linear(3, 24))
        >>> story = GraphVAE(equations, *networks)
        >>> learned_dag(story).nodes  # before training, without edges
        NodeView(('angle', 'light', 'shadow'))
    """

    latents: tuple[str, ...]
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
        self.equations = equations
        self.encoder = encoder
        self.decoder = decoder
        self.label_scale = label_scale
        self.adjacency = equations.adjacency
        self.columns = equations.adjacency.names
        self.observation_site = free_name("x", self.columns)
        self.latents = (free_name("z", self.columns),)
        self.coordinate_names = {self.latents[0]: self.columns}

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        graph: Sequence[str] | None = None,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with fresh networks and nonlinear equations.

        Args:
            data: Observations, with or without a graph.
            networks: Makes the encoder and the decoder.
            graph: Names of the nodes whose graph is learned; by default the nodes of the data.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: There is neither ``graph`` nor a graph of the data.
        """
        nodes = graph_of(cls.__name__, data, graph)
        if not isinstance(nodes, list):
            nodes = topological_order(as_dag(nodes))
        encoder = Gaussian(networks.encoder(2 * len(nodes)))
        decoder = networks.decoder(len(nodes))
        return cls(NonlinearGraphStory(nodes), encoder, decoder, **hyper)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, labels, z), for ``labels`` of shape ``(batch, nodes)``, NaN where unknown."""
        with self.data_plate(x, batch_size):
            z = pyro.sample(self.latents[0], self.equations.distribution())
            if labels is not None:
                noisy_labels(self.columns, z, check_labels(labels, self.columns), self.label_scale)
            return pyro.sample(self.observation_site, self.decoder(z), obs=x)

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            pyro.sample(self.latents[0], self.encoder(x))

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse interventions, since the effects of a node are still being learned."""
        raise ValueError(
            f"do({name!r}): the graph is still to be learned;"
            " intervene on CausalVAE(StructuralPrior(learned_dag(story)), …)"
        )

    def objective(self) -> AcyclicELBO:
        """The bound less the penalties on edges and cycles."""
        return self.equations.objective()
