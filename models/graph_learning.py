"""Stories that learn which of their variables cause which: NOTEARS [Zheng et al., 2018], linear and nonlinear."""

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

    .. math:: x_i = f_i(x) + \sigma_i \varepsilon_i, \quad \log p(x) = \sum_i \log \mathcal N(x_i; f_i(x), \sigma_i^2)

    A density where no variable is a function of itself by way of others: it is then that of the equations, and draws
    follow it, since d sweeps through d equations solve them. Where there are cycles, it is the pseudo-likelihood that
    NOTEARS maximises on its way, and draws follow no law.

    Args:
        predict: f, from ``(…, d)`` to ``(…, d)``.
        scale: sigma, of shape ``(…, d)``.

    Example:
        >>> chain = GaussianEquations(lambda x: x @ torch.tensor([[0.0, 2.0], [0.0, 0.0]]), torch.ones(2))
        >>> chain.log_prob(torch.tensor([1.0, 2.0])) == dist.Normal(0.0, 1.0).log_prob(torch.tensor([1.0, 0.0])).sum()
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
        self.predict, self.scale = predict, scale
        super().__init__(scale.shape[:-1], scale.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> GaussianEquations:
        """The same equations for each element of a batch."""
        scale = self.scale.expand(torch.Size(batch_shape) + self.event_shape)
        return GaussianEquations(self.predict, scale, validate_args=False)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, …, d)``."""
        noise = self.scale * torch.randn_like(self.scale.expand(self._extended_shape(sample_shape)))
        x = noise
        for _ in range(self.event_shape[0]):
            x = self.predict(x).to(noise) + noise
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values ``(…, d)``, of shape ``(…)``."""
        return Normal(self.predict(value).to(self.scale), self.scale).log_prob(value).sum(-1)


class GraphStory(GenerativeStory):
    r"""Observed variables without latents, and a graph among them that is learned.

    .. math:: x_i \mid x_{\text{others}} \sim \mathcal N(f_i(x), \sigma_i^2)

    Train it by :func:`~ppl_disentangle.inference.fit` on centred columns in the order of the nodes, such as 3500
    steps of 250 data with ``lr=0.02`` and 1000 more of the same objective with ``lr=0.002`` for linear equations,
    2000 with ``lr=0.02`` for others; then :func:`~ppl_disentangle.causal.learned_dag` is the graph. The weights of
    its edges are smaller than those of the equations while cycles have a price. Of linear equations with normal
    noise, data tell the graph only where all scales are equal, and standardised columns do not have equal scales;
    otherwise data tell it up to its Markov equivalence class. In simulated data the order of the columns' variances
    is often that of causes [1]: compare what is learned with what that order alone gives.

    Implementing a story: build the adjacency, and define :meth:`predict`.

    Args:
        adjacency: the weights of the edges.
        equal_scales: whether the noise of all nodes has one scale.
        sparsity: weight of the sum of all weights, in nats per datum.
        rho: first weight of the penalty, as in :class:`~ppl_disentangle.inference.AugmentedLagrangian`.
        maximum: its last weight. A stiffer penalty of the small weights that steps of Adam leave beside an edge shrinks
            the edge, the more the longer training goes on.

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
        self.adjacency, self.sparsity, self.rho, self.maximum = adjacency, sparsity, rho, maximum
        dim = len(adjacency.names)
        self.intercept = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(1 if equal_scales else dim))

    @abc.abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """What each node is without its noise, from all nodes: ``(…, d)`` to ``(…, d)``."""

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x), the product of all equations."""
        names = self.adjacency.names
        if x is not None and x.shape[1:] != (len(names),):
            raise ValueError(
                f"expected x of shape (batch, {len(names)}), columns {list(names)}, got {tuple(x.shape)}"
            )
        with self.data_plate(x, batch_size):
            return pyro.sample("x", self.law(), obs=x)

    def law(self) -> GaussianEquations:
        """The distribution of all nodes, of event shape ``(d,)``."""
        return GaussianEquations(self.predict, self.log_scale.exp().expand_as(self.intercept))

    def guide(self, x: Tensor) -> None:
        """There are no latents."""

    def objective(self) -> AcyclicELBO:
        """The likelihood, sparse and without cycles."""
        lagrangian = AugmentedLagrangian(rho=self.rho, maximum=self.maximum)
        return AcyclicELBO(self.adjacency, sparsity=self.sparsity, lagrangian=lagrangian)


class LinearGraphStory(GraphStory):
    r"""Linear equations [1].

    .. math:: f_i(x) = b_i + \sum_j A_{ji} x_j

    The authors' least squares are ``equal_scales`` with that scale fixed at 1.

    Args:
        nodes: names of the columns of x.
        required: edges ``(cause, effect)`` that are known to be there.
        forbidden: edges that are known not to be.
        equal_scales: whether the noise of all nodes has one scale.
        sparsity: weight of :math:`\sum |A|`, in nats per datum; 0.1 in [1].
        rho: first weight of the penalty, see :class:`GraphStory`.
        maximum: its last weight.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> from ppl_disentangle.causal.learned_adjacency import learned_dag
        >>> from ppl_disentangle.data import from_arrays
        >>> from ppl_disentangle.inference import fit
        >>> cause = torch.randn(500)
        >>> x = torch.stack([cause, 2 * cause + torch.randn(500)], -1)
        >>> story = LinearGraphStory(["cause", "effect"])
        >>> history = fit(story, from_arrays(x), steps=1500, lr=0.02, batch_size=250, progress=False)
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
    r"""A network for each node, whose first layer holds the graph [1].

    .. math:: f_i(x) = b_i + \frac{1}{\sqrt h} \sum_{k=1}^h s_k \operatorname{relu}\Bigl(c_{ki} + \sum_j W_{kji} x_j
       \Bigr), \quad A_{ji} = \|W_{\cdot ji}\|_2

    Half of the signs s are 1, the others -1. :math:`A_{ji}` bounds the slope :math:`|\partial f_i / \partial x_j|`
    everywhere. In [1] the output weights are learned, so that the first layer shrinks as they grow, and a penalty on
    their squares holds them; a relu does not need them: what would scale its output may as well scale its input.

    Args:
        nodes: names of the columns of x.
        hidden: number h of hidden units of each node, even; 10 in [1].
        required: edges ``(cause, effect)`` that are known to be there.
        forbidden: edges that are known not to be.
        equal_scales: whether the noise of all nodes has one scale.
        sparsity: weight of :math:`\sum A`, in nats per datum; 0.01 in the authors' code, for :math:`\sum |W|`.
        rho: first weight of the penalty, see :class:`GraphStory`.
        maximum: its last weight.

    Raises:
        ValueError: an odd number of hidden units, or less than 2.

    References:
        [1] Zheng et al., 2020. Learning Sparse Nonparametric DAGs. https://arxiv.org/abs/1909.13189
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
        self.register_buffer("signs", torch.tensor([1.0, -1.0]).repeat(hidden // 2) / hidden**0.5)

    def predict(self, x: Tensor) -> Tensor:
        """The network of each node on its causes."""
        hidden = torch.einsum("...i,kij->...kj", x, self.adjacency.weights()) + self.bias
        return torch.einsum("k,...kj->...j", self.signs, hidden.relu()) + self.intercept
