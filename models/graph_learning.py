"""NOTEARS [Zheng et al., 2018]: learning which variables cause which, linear and nonlinear."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_disentangle.causal.learned_adjacency import Edges, LearnedAdjacency
from ppl_disentangle.inference import AcyclicELBO, AugmentedLagrangian
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.story import GenerativeStory

__all__ = ["GaussianEquations", "GraphStory", "LinearGraphStory", "NonlinearGraphStory"]


class GaussianEquations(TorchDistribution):
    r"""Variables that are functions of each other, with normal noise.

    .. math:: x_i = f_i(x) + \sigma_i \varepsilon_i, \quad
       \log p(x) = \sum_i \log \mathcal N(x_i; f_i(x), \sigma_i^2)

    If no variable depends on itself through others, this is the density of the equations, and draws
    follow it: d sweeps through the d equations solve them. If there are cycles, it is the
    pseudo-likelihood that NOTEARS maximises during training, and draws have no defined
    distribution.

    Args:
        predict: Function f, from ``(…, d)`` to ``(…, d)``.
        scale: Scales sigma of the noise, of shape ``(…, d)``.

    Example:
        >>> weights = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
        >>> chain = GaussianEquations(lambda x: x @ weights, torch.ones(2))
        >>> noise = torch.tensor([1.0, 0.0])
        >>> chain.log_prob(torch.tensor([1.0, 2.0])) == dist.Normal(0.0, 1.0).log_prob(noise).sum()
        tensor(True)
    """

    arg_constraints = {"scale": constraints.independent(constraints.positive, 1)}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        predict: Callable[[Tensor], Tensor],
        scale: Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.predict = predict
        self.scale = scale
        super().__init__(scale.shape[:-1], scale.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> GaussianEquations:
        """The same equations for each element of a batch."""
        scale = self.scale.expand(torch.Size(batch_shape) + self.event_shape)
        return GaussianEquations(self.predict, scale, validate_args=False)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, …, d)``."""
        noise = self.scale * torch.randn_like(self.scale.expand(self._extended_shape(sample_shape)))
        # after k sweeps, the nodes whose ancestors are at most k steps away have their values
        x = noise
        for _ in range(self.event_shape[0]):
            x = self.predict(x).to(noise) + noise
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values ``(…, d)``, of shape ``(…)``."""
        loc = self.predict(value).to(self.scale)
        return Normal(loc, self.scale).log_prob(value).sum(-1)


class GraphStory(GenerativeStory):
    r"""Abstract: observed variables without latents, and a graph among them that is learned.

    .. math:: x_i \mid x_{\text{others}} \sim \mathcal N(f_i(x), \sigma_i^2)

    Train it by :func:`~ppl_disentangle.inference.fit` on centred columns in the order of the nodes.
    For linear equations, 3500 steps with 250 data and ``lr=0.02`` suit, followed by 1000 steps of
    the same objective with ``lr=0.002``; for other equations, 2000 steps with ``lr=0.02``. The
    graph is then :func:`~ppl_disentangle.causal.learned_dag`. The weights of its edges are smaller
    than the weights of the equations, because cycles are penalised.

    Data with linear equations and normal noise identify the graph only if all noise has the same
    scale, which standardised columns do not have. Otherwise they identify it up to its Markov
    equivalence class. In simulated data the columns' variances often increase along the causal
    order [1]: compare the learned graph with a graph from that order alone.

    Implementing one: build the adjacency in ``__init__``, and define :meth:`predict`.

    Args:
        adjacency: Weights of the edges.
        equal_scales: Whether the noise of all nodes has the same scale.
        sparsity: Weight of the sum of all edge weights, in nats per datum.
        rho: First weight of the penalty on cycles; see
            :class:`~ppl_disentangle.inference.AugmentedLagrangian`.
        maximum: Largest weight of the penalty. Steps of Adam leave small weights beside an edge. A
            stiffer penalty on them shrinks the edge, and more so the longer training lasts.

    References:
        [1] Reisach et al., 2021. https://arxiv.org/abs/2102.13647
    """

    latents = ()

    def __init__(
        self,
        adjacency: LearnedAdjacency,
        *,
        equal_scales: bool,
        sparsity: Weight,
        rho: float,
        maximum: float,
    ) -> None:
        super().__init__()
        self.adjacency = adjacency
        self.sparsity = sparsity
        self.rho = rho
        self.maximum = maximum
        dim = len(adjacency.names)
        self.intercept = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(1 if equal_scales else dim))

    @abc.abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """The value f of each node without its noise, from all nodes: ``(…, d)`` to ``(…, d)``."""

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x), the product of all equations."""
        names = self.adjacency.names
        if x is not None and x.shape[1:] != (len(names),):
            raise ValueError(
                f"expected x of shape (batch, {len(names)}), columns {list(names)},"
                f" got {tuple(x.shape)}"
            )
        with self.data_plate(x, batch_size):
            return pyro.sample("x", self.distribution(), obs=x)

    def distribution(self) -> GaussianEquations:
        """The distribution of all nodes, with events of shape ``(d,)``."""
        scale = self.log_scale.exp().expand_as(self.intercept)
        return GaussianEquations(self.predict, scale)

    def guide(self, x: Tensor) -> None:
        """Empty, since the story has no latents."""

    def objective(self) -> AcyclicELBO:
        """The likelihood less the penalties on edges and cycles."""
        lagrangian = AugmentedLagrangian(rho=self.rho, maximum=self.maximum)
        return AcyclicELBO(self.adjacency, sparsity=self.sparsity, lagrangian=lagrangian)


class LinearGraphStory(GraphStory):
    r"""Learns which columns of a table cause which, by linear equations.

    .. math:: f_i(x) = b_i + \sum_j A_{ji} x_j

    The authors' least squares are ``equal_scales`` with the scale fixed at 1.

    - Story: The equations above with normal noise, without latents.
    - Guide: Empty.
    - Objective: :class:`~ppl_disentangle.inference.AcyclicELBO`.
    - Data: vectors without labels, with one column for each node, in the order of ``nodes``.
    - For: the graph among measured variables, if their effects are linear.

    Args:
        nodes: Names of the columns of x.
        required: Edges ``(cause, effect)`` that are known to exist.
        forbidden: Edges that are known not to exist.
        equal_scales: Whether the noise of all nodes has the same scale.
        sparsity: Weight of :math:`\sum |A|`, in nats per datum; 0.1 in [1].
        rho: First weight of the penalty on cycles; see :class:`GraphStory`.
        maximum: Largest weight of the penalty on cycles; see :class:`GraphStory`.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> from ppl_disentangle.causal.learned_adjacency import learned_dag
        >>> from ppl_disentangle.data import from_arrays
        >>> from ppl_disentangle.inference import fit
        >>> cause = torch.randn(500)
        >>> data = from_arrays(torch.stack([cause, 2 * cause + torch.randn(500)], -1))
        >>> story = LinearGraphStory(["cause", "effect"])
        >>> history = fit(story, data, steps=1500, lr=0.02, batch_size=250, progress=False)
        >>> learned_dag(story).edges
        OutEdgeView([('cause', 'effect')])
    """

    def __init__(
        self,
        nodes: Sequence[str],
        *,
        required: Edges = (),
        forbidden: Edges = (),
        equal_scales: bool = True,
        sparsity: Weight = 0.1,
        rho: float = 0.01,
        maximum: float = 1e5,
    ) -> None:
        adjacency = LearnedAdjacency(nodes, required=required, forbidden=forbidden)
        super().__init__(
            adjacency, equal_scales=equal_scales, sparsity=sparsity, rho=rho, maximum=maximum
        )

    def predict(self, x: Tensor) -> Tensor:
        """The regression of each node on its causes."""
        return x @ self.adjacency.weights() + self.intercept


class NonlinearGraphStory(GraphStory):
    r"""Learns which columns of a table cause which, by a small network for each column.

    .. math:: f_i(x) = b_i + \frac{1}{\sqrt h} \sum_{k=1}^h s_k
       \operatorname{relu}\Bigl(c_{ki} + \sum_j W_{kji} x_j \Bigr), \quad
       A_{ji} = \|W_{\cdot ji}\|_2

    The first layer holds the graph. Half of the signs s are 1, the others are -1. The weight
    :math:`A_{ji}` bounds the slope :math:`|\partial f_i / \partial x_j|` everywhere. In [1] the
    output weights are learned, so the first layer could shrink while they grow, and a penalty on
    their squares prevents this. A relu does not need output weights: scaling its input has the same
    effect as scaling its output.

    - Story: The equations above with normal noise, without latents.
    - Guide: Empty.
    - Objective: :class:`~ppl_disentangle.inference.AcyclicELBO`.
    - Data: vectors without labels, with one column for each node, in the order of ``nodes``.
    - For: the graph among measured variables, if their effects may be nonlinear.

    Args:
        nodes: Names of the columns of x.
        hidden: Number h of hidden units of each node, even; 10 in [1].
        required: Edges ``(cause, effect)`` that are known to exist.
        forbidden: Edges that are known not to exist.
        equal_scales: Whether the noise of all nodes has the same scale.
        sparsity: Weight of :math:`\sum A`, in nats per datum; 0.01 in the authors' code, for
            :math:`\sum |W|`.
        rho: First weight of the penalty on cycles; see :class:`GraphStory`.
        maximum: Largest weight of the penalty on cycles; see :class:`GraphStory`.

    Raises:
        ValueError: The number of hidden units is odd, or below 2.

    References:
        [1] Zheng et al., 2020. Learning Sparse Nonparametric DAGs.
            https://arxiv.org/abs/1909.13189
    """

    signs: Tensor

    def __init__(
        self,
        nodes: Sequence[str],
        *,
        hidden: int = 20,
        required: Edges = (),
        forbidden: Edges = (),
        equal_scales: bool = True,
        sparsity: Weight = 0.01,
        rho: float = 1.0,
        maximum: float = 1e2,
    ) -> None:
        if hidden < 2 or hidden % 2:
            raise ValueError(f"expected an even number of hidden units, at least 2, got {hidden}")
        adjacency = LearnedAdjacency(nodes, required=required, forbidden=forbidden, width=hidden)
        super().__init__(
            adjacency, equal_scales=equal_scales, sparsity=sparsity, rho=rho, maximum=maximum
        )
        self.bias = nn.Parameter(torch.randn(hidden, len(adjacency.names)))
        signs = torch.tensor([1.0, -1.0]).repeat(hidden // 2)
        self.register_buffer("signs", signs / hidden**0.5)

    def predict(self, x: Tensor) -> Tensor:
        """The network of each node on its causes."""
        # (…, hidden, d): the hidden units k of the network of each node j
        units = torch.einsum("...i,kij->...kj", x, self.adjacency.weights()) + self.bias
        return torch.einsum("k,...kj->...j", self.signs, units.relu()) + self.intercept
