"""CausalVAE [Yang et al., 2021] as published, with two layers and two divergences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any, Self

import networkx as nx
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.causal.learned_adjacency import Edges, LearnedAdjacency
from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import as_dag, graph_of, topological_order
from ppl_disentangle.inference import CausalVAEELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.labelled import check_labels
from ppl_disentangle.names import check_names, free_name, module_keys
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["CausalVAEPaper"]


class CausalVAEPaper(GenerativeStory):
    r"""Learns labelled causal concepts, and their graph if it is not given, as the paper describes.

    .. math:: \varepsilon \sim \mathcal N(0, I), \quad \bar z = (I - A^\top)^{-1} \varepsilon, \quad
       z_i = g_i(A_i \circ z) + \varepsilon_i, \quad x \mid z \sim p(x \mid z), \quad
       \bar z_i \mid u_i \sim \mathcal N(u_i, \tau^2)

    A linear layer maps noise to concepts, and a mask layer restates each concept from its causes.
    A holds the weights between n concepts with d coordinates each; u are their labels. This story
    is for fidelity to the paper; :class:`~ppl_disentangle.models.CausalVAE` expresses the same idea
    with one density. Paper and public code differ, and this story follows the paper wherever it
    is explicit. It differs from the public code as follows:

    1. The code discards the encoder's variances and gives z the variance 0.001. Here noise and
       concepts have the encoder's variances.
    2. The code averages the likelihood over all but one dimension of the image, which gives the
       384th part of a log likelihood. Here the likelihood is a sum in nats and the weights below
       are 1. The code's weights of the divergences, 0.3 and 1, refer to its own unit.
    3. In the code, labels enter the encoder. Here they do not, so that data without labels have
       posteriors.
    4. The code predicts labels from their causes on their raw scales. Here the caller standardises
       labels. A root is predicted as 0; its variance adds to the loss, but no gradient sees it.
    5. The code weights the acyclicity with fixed numbers. Here the weights follow the augmented
       Lagrangian of the paper's appendix.
    6. In the code, A starts from a pattern that is not the true graph, and its diagonal is trained.
       Here A has weights for the edges of the graph, or for everything but the diagonal.
    7. In the code, an intervention on a root is overwritten before a layer that adds to it, so that
       another value reaches the decoder. Here a node is stated once, and its effects and the
       decoder read the value that is set.
    8. In the code, an attention over the intervened concepts is added to a node in place of its
       noise. Here it is the noise :math:`\varepsilon_i`, which is the same in every world.

    If the edges are learned, the losses of the labels and of the mask layer leave the scale of A
    open: their networks can undo it, so small weights may keep a cycle. With both losses at weight
    0 the linear layer learns the graph of a few concepts;
    :class:`~ppl_disentangle.models.GraphVAE` finds larger graphs.

    - Story: Above. The mask layer is solved in the order of the graph; :math:`\bar z` enters the
      losses alone.
    - Guide: :math:`q(\varepsilon \mid x)`, given by the encoder.
    - Objective: :class:`~ppl_disentangle.inference.CausalVAEELBO`.
    - Data: labels of the nodes of a causal graph, ``(num_data, n)``; a datum has labels of all
      concepts, or NaN.
    - For: comparison with the paper; learning the graph of labelled concepts, which
      ``story.fix_graph(learned_dag(story))`` then fixes.

    Args:
        graph: The graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` takes, whose
            weights are learned; or a list of names, for which the edges are learned too. In that
            case call :meth:`fix_graph` before ``do``, for example with the result of
            :func:`~ppl_disentangle.causal.learned_dag`.
        encoder: ``encoder(x)`` is a normal over the noise of all concepts, with events of shape
            ``(n * dim,)``.
        decoder: ``decoder(z)`` is p(x | z), for z of the same shape.
        dim: Number d of coordinates of a concept; 4 as in the code.
        label_scale: Standard deviation :math:`\tau`; 1 as in the code.
        beta: Weight of the divergence of the noise.
        label_kl: Weight of the divergence from p(z | u).
        label_loss: Weight of :math:`\sum_i |u_i - g^u_i((A^\top u)_i)|^2`.
        mask_loss: Weight of :math:`\sum_i |\bar z_i - g_i(A_i \circ \bar z)|^2`.
        sparsity: Weight of :math:`\sum |A|` if the edges are learned, in nats per datum; the paper
            has no such term.
        required: Edges ``(cause, effect)`` that are known to exist, if the others are learned.
        forbidden: Edges that are known not to exist, if the others are learned.

    Raises:
        ValueError: An argument is out of its range, or edges are required or forbidden beside a
            given graph.

    References:
        [1] Yang et al., 2021. https://arxiv.org/abs/2004.08697
    """

    latents: tuple[str, ...]

    def __init__(
        self,
        graph: Any,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        dim: int = 4,
        label_scale: float = 1.0,
        beta: Weight = 1.0,
        label_kl: Weight = 1.0,
        label_loss: Weight = 1.0,
        mask_loss: Weight = 1.0,
        sparsity: Weight = 0.0,
        required: Edges = (),
        forbidden: Edges = (),
    ) -> None:
        super().__init__()
        if dim < 1 or label_scale <= 0:
            raise ValueError(f"expected dim >= 1 and label_scale > 0, got {dim} and {label_scale}")
        self.dim = dim
        self.label_scale = label_scale
        self.encoder = encoder
        self.decoder = decoder
        self.dag = None if isinstance(graph, list | tuple) else as_dag(graph)
        self.learns_graph = self.dag is None
        self.adjacency = (
            _adjacency_to_learn(graph, required, forbidden)
            if self.dag is None
            else _adjacency_of_graph(self.dag, required, forbidden)
        )
        self.names = self.adjacency.names
        check_names(self.names, also=["z_given_labels", "mask_loss", "label_loss"])
        self.observation_site = free_name("x", self.names)
        self.noise_site = free_name("noise", self.names)
        self.latents = (self.noise_site,)
        self._keys = module_keys(self.names)
        self.order = self.names
        self.columns = self.names
        self.coordinate_names = {name: (name,) for name in self.names} if dim == 1 else {}
        self._add_layers()
        self.beta = beta
        self.label_kl = label_kl
        self.label_loss = label_loss
        self.mask_loss = mask_loss
        self.sparsity = sparsity

    def _add_layers(self) -> None:
        """Add the networks g and g^u of each concept that may have causes."""
        effects = sorted({effect for _, effect in self.adjacency.candidates})
        num_inputs = len(self.names) * self.dim
        keys = [self._keys[name] for name in effects]
        self.mask_layer = nn.ModuleDict({key: _network(num_inputs, self.dim) for key in keys})
        self.label_layer = nn.ModuleDict({key: _network(1, 1) for key in keys})

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        graph: Any = None,
        dim: int = 4,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations, with or without a graph.
            networks: Makes the encoder and the decoder.
            graph: A graph, or a list of nodes whose graph is to be learned; by default the graph of
                the data.
            dim: Number of coordinates of each concept.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: There is neither ``graph`` nor a graph of the data.
        """
        graph = graph_of(cls.__name__, data, graph)
        num_nodes = len(graph if isinstance(graph, list) else as_dag(graph))
        size = dim * num_nodes
        encoder = Gaussian(networks.encoder(2 * size))
        return cls(graph, encoder, networks.decoder(size), dim=dim, **hyper)

    def fix_graph(self, graph: Any) -> None:
        """Allow the edges of ``graph`` alone from now on, and keep their learned weights.

        The graph is not part of a state dict: call this again after loading one.

        Args:
            graph: The graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` takes.

        Raises:
            ValueError: The graph has other nodes, a cycle, or an edge that was forbidden.
        """
        dag = as_dag(graph, nodes=self.names)
        self.adjacency.restrict(dag)
        self.dag = dag
        self.order = tuple(topological_order(dag))
        self.learns_graph = False

    def linear_layer(self, noise: Tensor) -> Tensor:
        r"""The concepts :math:`\bar z` for given noise, both of shape ``(…, n, dim)``."""
        weights = self.adjacency.weights()
        identity = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
        # inv_ex does not wait for the device, as inv would to report a singular matrix
        return torch.linalg.inv_ex(identity - weights.mT).inverse @ noise

    def restated(self, node: str, concepts: Tensor) -> Tensor:
        """The value g of a node given its causes, without its noise; zero for a root.

        Args:
            node: Name of the node.
            concepts: Values of all concepts, ``(…, n, dim)``.

        Returns:
            The value, of shape ``(…, dim)``.
        """
        if self._keys[node] not in self.mask_layer:
            return torch.zeros_like(concepts[..., 0, :])
        weights = self.adjacency.weights()[:, self.names.index(node), None]  # (n, 1)
        return self.mask_layer[self._keys[node]]((weights * concepts).flatten(-2))

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, noise), and p(z | labels) if ``labels`` of shape ``(batch, n)`` are given."""
        with self.data_plate(x, batch_size):
            zeros = self.adjacency.weight.new_zeros(len(self.names) * self.dim)
            noise = pyro.sample(self.noise_site, dist.Normal(zeros, 1.0).to_event(1))
            noise = self._by_node(noise)
            if labels is not None:
                self._supervise(self.linear_layer(noise), labels)
            likelihood = self.decoder(self._nodes(noise).flatten(-2))
            return pyro.sample(self.observation_site, likelihood, obs=x)

    def _by_node(self, values: Tensor) -> Tensor:
        """Values of shape ``(…, n * dim)`` as ``(…, n, dim)``."""
        return values.unflatten(-1, (-1, self.dim))

    def _nodes(self, noise: Tensor) -> Tensor:
        """State the nodes, causes first, and return their values, ``(…, n, dim)``.

        A node that is not stated yet has the value of the linear layer; its weight is 0 in the mask
        layer of the nodes before it.
        """
        values = dict(zip(self.names, self.linear_layer(noise).unbind(-2), strict=True))
        for node in self.order:
            own_noise = noise[..., self.names.index(node), :]
            value = self.restated(node, _stack(values)) + own_noise
            values[node] = pyro.deterministic(node, value, event_dim=1)
        return _stack(values)

    def _supervise(self, concepts: Tensor, labels: Tensor) -> None:
        """State p(z | labels) and the losses of the mask layer and of the labels.

        Args:
            concepts: The concepts of the linear layer, ``(…, batch, n, dim)``.
            labels: ``(batch, n)``; a datum with a NaN counts as not labelled.
        """
        check_labels(labels, self.names)
        known = ~labels.isnan().any(-1)
        labels = torch.where(known[:, None], labels, 0.0)
        restated = torch.stack([self.restated(name, concepts) for name in self.names], -2)
        pyro.factor("mask_loss", -(concepts - restated).square().sum((-2, -1)))
        with poutine.mask(mask=known):
            pyro.sample("z_given_labels", self._given_labels(labels, concepts.shape), obs=concepts)
            pyro.factor("label_loss", -(labels - self._predicted_labels(labels)).square().sum(-1))

    def _given_labels(self, labels: Tensor, shape: torch.Size) -> TorchDistribution:
        """p(z | u): each coordinate of a concept is normal around the concept's label."""
        return dist.Normal(labels[:, :, None], self.label_scale).expand(shape).to_event(2)

    def _predicted_labels(self, labels: Tensor) -> Tensor:
        """Predict each label from the labels of its causes, ``(batch, n)``; zero for a root."""
        weighted_causes = (labels @ self.adjacency.weights()).split(1, -1)
        predictions = []
        for name, cause in zip(self.names, weighted_causes, strict=True):
            has_causes = self._keys[name] in self.label_layer
            predictions.append(
                self.label_layer[self._keys[name]](cause) if has_causes else 0 * cause
            )
        return torch.cat(predictions, -1)

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(noise | x)."""
        with self.data_plate(x):
            pyro.sample(self.noise_site, self.encoder(x))

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """A normal for each node, with its causes at their means."""
        check_conditions(self, conditions)
        q = self.encoder(x).base_dist
        with poutine.block():
            means = self._nodes(self._by_node(q.mean)).unbind(-2)
        scales = self._by_node(q.stddev).unbind(-2)
        return {
            name: dist.Normal(mean, scale).to_event(1)
            for name, mean, scale in zip(self.names, means, scales, strict=True)
        }

    def latent_means(self, x: Tensor, **conditions: Any) -> dict[str, Tensor]:
        """The posterior mean of the noise."""
        check_conditions(self, conditions)
        return {self.noise_site: self.encoder(x).mean}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse interventions on nodes while their graph is being learned."""
        if name in self.names and self.learns_graph:
            raise ValueError(
                f"do({name!r}): the graph is still to be learned; call"
                " fix_graph(learned_dag(story)) first"
            )

    def objective(self) -> CausalVAEELBO:
        """The published bound with its penalties."""
        return CausalVAEELBO(
            self.adjacency,
            beta=self.beta,
            label_kl=self.label_kl,
            label_loss=self.label_loss,
            mask_loss=self.mask_loss,
            sparsity=self.sparsity,
        )


def _adjacency_to_learn(
    names: Sequence[str], required: Edges, forbidden: Edges
) -> LearnedAdjacency:
    """The weights of all edges between named nodes, 0.1 at first."""
    as_dag(nx.DiGraph(), nodes=names)  # checks the names
    adjacency = LearnedAdjacency(names, required=required, forbidden=forbidden)
    nn.init.constant_(adjacency.weight, 0.1)
    return adjacency


def _adjacency_of_graph(dag: nx.DiGraph, required: Edges, forbidden: Edges) -> LearnedAdjacency:
    """The weights of the edges of a graph, 1 at first.

    Raises:
        ValueError: Edges are required or forbidden.
    """
    if tuple(required) or tuple(forbidden):
        raise ValueError(
            "required and forbidden edges are for a list of names; here the graph has the edges"
        )
    names = topological_order(dag)
    missing = [edge for edge in permutations(names, 2) if edge not in dag.edges]
    adjacency = LearnedAdjacency(names, required=dag.edges, forbidden=missing)
    nn.init.constant_(adjacency.weight, 1.0)
    return adjacency


def _network(inputs: int, outputs: int) -> nn.Sequential:
    """A network with one hidden layer of 32 ELU units, as in the code."""
    return nn.Sequential(nn.Linear(inputs, 32), nn.ELU(), nn.Linear(32, outputs))


def _stack(values: dict[str, Tensor]) -> Tensor:
    """Values of nodes, ``(…, dim)`` each, as ``(…, n, dim)``, batch dimensions broadcast."""
    return torch.stack(torch.broadcast_tensors(*values.values()), -2)
