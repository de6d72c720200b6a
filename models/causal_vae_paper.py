"""CausalVAE [Yang et al., 2021] as published: two layers, two divergences."""

from __future__ import annotations

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
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import as_dag, graph_of, topological_order
from ppl_disentangle.inference import CausalVAEELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.structural import check_names
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["CausalVAEPaper"]


class CausalVAEPaper(GenerativeStory):
    r"""A linear layer from noise to concepts, and a mask layer that restates each concept by its causes [1].

    .. math:: \varepsilon \sim \mathcal N(0, I), \quad \bar z = (I - A^\top)^{-1} \varepsilon, \quad
       z_i = g_i(A_i \circ z) + \varepsilon_i, \quad x \mid z \sim p(x \mid z), \quad
       \bar z_i \mid u_i \sim \mathcal N(u_i, \tau^2)

    A are the weights among n concepts of d coordinates each, u their labels. Here for fidelity;
    :class:`~ppl_disentangle.models.CausalVAE` is the same idea with one density. Paper and public code differ;
    this story follows the paper where it says what to do. Of the code:

    1. The encoder's variances are discarded, and z has the variance 0.001. Here both are the encoder's.
    2. Its likelihood is a mean over all but one dimension of the image, the 384th part of a log likelihood. Here it is
       the sum, in nats, and the weights below are 1; the code's 0.3 and 1 for the divergences are of that other unit.
    3. Labels do not enter the encoder. So here: data without labels have posteriors.
    4. Labels are predicted from their causes in raw units. Here labels are standardised by the caller; that of a root,
       predicted as 0, adds its variance, which no gradient sees.
    5. The weights of the acyclicity are fixed. Here they follow the augmented Lagrangian of the paper's appendix.
    6. A starts from a support that is not the true graph, and its diagonal is trained. Here it is the graph's, or
       everything but the diagonal.
    7. An intervention on a root is overwritten before a layer that adds to it: another value reaches the decoder. Here
       a node is stated once, and the value it is set to is what its effects and the decoder read.
    8. What is added to a node is an attention over the intervened concepts, not its noise. Here it is
       :math:`\varepsilon_i`, the same in every world.

    Where the edges are learned, the losses of the labels and of the mask layer leave the scale of A open: their
    networks undo it, so that small weights may keep a cycle. With both at weight 0 the linear layer learns the graph of
    a few concepts; :class:`~ppl_disentangle.models.GraphVAE` finds larger ones.

    - Story: above. The mask layer is solved in the order of the graph; its :math:`\bar z` enters the losses alone.
    - Guide: :math:`q(\varepsilon \mid x)`, the encoder's.
    - Objective: :class:`~ppl_disentangle.inference.CausalVAEELBO`.
    - Data: observations and labels ``(num_data, n)`` of all concepts of a datum, or NaN.
    - For: comparisons with the paper; learning the graph of labelled concepts, ``story.fix_graph(learned_dag(story))``.

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes, whose weights are learned; or a list of names, of
            which the edges are learned too. Before ``do`` then :meth:`fix_graph` on a graph, such as that of
            :func:`~ppl_disentangle.causal.learned_dag`.
        encoder: ``encoder(x)`` is a normal of event shape ``(n * dim,)``, the noise of all concepts.
        decoder: ``decoder(z)`` is p(x | z), for z of the same shape.
        dim: d, 4 as in the code.
        label_scale: :math:`\tau`, 1 as in the code.
        beta: weight of the divergence of the noise.
        label_kl: weight of the divergence from p(z | u).
        label_loss: weight of :math:`\sum_i |u_i - g^u_i((A^\top u)_i)|^2`.
        mask_loss: weight of :math:`\sum_i |\bar z_i - g_i(A_i \circ \bar z)|^2`.
        sparsity: weight of :math:`\sum |A|` where the edges are learned, in nats per datum; none in the paper.
        required: edges ``(cause, effect)`` that are known to be there, where the others are learned.
        forbidden: edges that are known not to be.

    Raises:
        ValueError: an argument out of its range, or edges that are required or forbidden beside a graph.

    References:
        [1] Yang et al., 2021. https://arxiv.org/abs/2004.08697
    """

    latents = ("noise",)

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
        self.learns_graph = isinstance(graph, list | tuple)
        if not self.learns_graph and (tuple(required) or tuple(forbidden)):
            raise ValueError(
                "required and forbidden edges are for a list of names; here the graph says which there are"
            )
        dag = as_dag(nx.DiGraph(), nodes=graph) if self.learns_graph else as_dag(graph)
        self.names = tuple(graph if self.learns_graph else topological_order(dag))
        check_names(self.names, "x", "noise", "data")
        self.order, self.dim, self.label_scale = self.names, dim, label_scale
        self.dag, self.columns = None if self.learns_graph else dag, self.names
        self.encoder, self.decoder = encoder, decoder
        if not self.learns_graph:
            required, forbidden = (
                dag.edges,
                [p for p in permutations(self.names, 2) if p not in dag.edges],
            )
        self.adjacency = LearnedAdjacency(self.names, required=required, forbidden=forbidden)
        nn.init.constant_(self.adjacency.weight, 0.1 if self.learns_graph else 1.0)
        effects = sorted({effect for _, effect in self.adjacency.candidates})
        self.mask_layer = nn.ModuleDict({n: _network(len(self.names) * dim, dim) for n in effects})
        self.label_layer = nn.ModuleDict({n: _network(1, 1) for n in effects})
        self.beta, self.label_kl, self.label_loss, self.mask_loss = (
            beta,
            label_kl,
            label_loss,
            mask_loss,
        )
        self.sparsity = sparsity
        self.coordinate_names = {n: (n,) for n in self.names} if dim == 1 else {}

    def fix_graph(self, graph: Any) -> None:
        """From now on allow the edges of ``graph`` alone; what was learned for them stays. Again after loading.

        Raises:
            ValueError: other nodes, a cycle, or an edge that was forbidden.
        """
        dag = as_dag(graph, nodes=self.names)
        self.adjacency.restrict(dag)
        self.dag, self.order, self.learns_graph = dag, tuple(topological_order(dag)), False

    def linear_layer(self, noise: Tensor) -> Tensor:
        """The concepts of noise ``(…, n, dim)``, of the same shape."""
        weights = self.adjacency.weights()
        identity = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
        return torch.linalg.inv_ex(identity - weights.mT).inverse @ noise

    def restated(self, node: str, concepts: Tensor) -> Tensor:
        """What the mask layer says of a node, of shape ``(…, dim)``, for concepts ``(…, n, dim)``; of a root, zero."""
        if node not in self.mask_layer:
            return torch.zeros_like(concepts[..., 0, :])
        causes = self.adjacency.weights()[:, self.names.index(node), None] * concepts
        return self.mask_layer[node](causes.flatten(-2))

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
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with a graph of their own, or without.
            networks: what encoder and decoder are made by.
            graph: a graph, or a list of nodes whose graph is to be learned; by default the graph of the data.
            dim: coordinates of each node.
            **hyper: of the story.
        """
        graph = graph_of(cls.__name__, data, graph)
        size = dim * len(graph if isinstance(graph, list) else as_dag(graph))
        return cls(
            graph, Gaussian(networks.encoder(2 * size)), networks.decoder(size), dim=dim, **hyper
        )

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, noise), and p(z | labels) where labels, ``(batch, n)``, are given."""
        with self.data_plate(x, batch_size):
            zeros = self.adjacency.weight.new_zeros(len(self.names) * self.dim)
            noise = pyro.sample("noise", dist.Normal(zeros, 1.0).to_event(1)).unflatten(
                -1, (-1, self.dim)
            )
            if labels is not None:
                self._supervise(self.linear_layer(noise), labels)
            return pyro.sample("x", self.decoder(self._nodes(noise).flatten(-2)), obs=x)

    def _nodes(self, noise: Tensor) -> Tensor:
        """State the nodes, causes first; those that are still to come are the linear layer's. ``(…, n, dim)``."""
        values = dict(zip(self.names, self.linear_layer(noise).unbind(-2), strict=True))
        for node in self.order:
            value = self.restated(node, _stack(values)) + noise[..., self.names.index(node), :]
            values[node] = pyro.deterministic(node, value, event_dim=1)
        return _stack(values)

    def _supervise(self, concepts: Tensor, labels: Tensor) -> None:
        if labels.dim() != 2 or labels.shape[-1] != len(self.names):
            shape = tuple(labels.shape)
            raise ValueError(
                f"expected labels of {list(self.names)}, (batch, {len(self.names)}), got shape {shape}"
            )
        known = ~labels.isnan().any(-1)
        labels = torch.where(known[:, None], labels, 0.0)
        causes = zip(self.names, (labels @ self.adjacency.weights()).split(1, -1), strict=True)
        predicted = torch.cat(
            [self.label_layer[n](c) if n in self.label_layer else 0 * c for n, c in causes], -1
        )
        restated = torch.stack([self.restated(n, concepts) for n in self.names], -2)
        pyro.factor("mask_loss", -(concepts - restated).square().sum((-2, -1)))
        with poutine.mask(mask=known):
            law = (
                dist.Normal(labels[:, :, None], self.label_scale).expand(concepts.shape).to_event(2)
            )
            pyro.sample("z_given_labels", law, obs=concepts)
            pyro.factor("label_loss", -(labels - predicted).square().sum(-1))

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(noise | x)."""
        with self.data_plate(x):
            pyro.sample("noise", self.encoder(x))

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """Each node, its causes at their means."""
        q = self.encoder(x).base_dist
        with poutine.block():
            means = self._nodes(q.mean.unflatten(-1, (-1, self.dim)))
        scales = q.stddev.unflatten(-1, (-1, self.dim))
        return {
            n: dist.Normal(means[..., i, :], scales[..., i, :]).to_event(1)
            for i, n in enumerate(self.names)
        }

    def latent_means(self, x: Tensor) -> dict[str, Tensor]:
        """The posterior mean of the noise."""
        return {"noise": self.encoder(x).mean}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse interventions while it is not known what comes first."""
        if name in self.names and self.learns_graph:
            raise ValueError(
                f"do({name!r}): the graph is still to be learned; call fix_graph(learned_dag(story)) first"
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


def _network(inputs: int, outputs: int) -> nn.Sequential:
    """32 units of ELU, as in the code."""
    return nn.Sequential(nn.Linear(inputs, 32), nn.ELU(), nn.Linear(32, outputs))


def _stack(values: dict[str, Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*values.values()), -2)
