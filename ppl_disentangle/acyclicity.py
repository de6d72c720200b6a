"""Weighted adjacencies that can be learned, and smooth functions that are zero where they have no cycle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import networkx as nx
import torch
from torch import Tensor, nn

from ppl_disentangle.graphs import as_dag

__all__ = ["LearnedAdjacency", "log_determinant", "trace_exponential", "trace_polynomial"]

Edges = Iterable[tuple[str, str]]


def trace_exponential(weights: Tensor) -> Tensor:
    r"""NOTEARS [1]: how much weight there is on closed walks, those of length k by one k-th of a factorial.

    .. math:: h(A) = \operatorname{tr} e^{A \circ A} - d = \sum_{k \ge 1} \frac{1}{k!} \operatorname{tr}\,(A \circ A)^k,
       \quad \nabla h = 2 A \circ (e^{A \circ A})^\top

    Zero exactly where no weight is on a cycle, else positive. It is computed as
    :math:`\operatorname{tr} B\,\varphi(B)` with :math:`B = A \circ A`, :math:`\varphi(B) = B^{-1}(e^B - I)`, hence is
    accurate however near to zero; the trace less d is not.

    Args:
        weights: A of shape ``(…, d, d)``; entry (i, j) is the weight of the edge from i to j.

    Returns:
        h, of shape ``(…)``.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> trace_exponential(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))  # 2 cosh(1) - 2
        tensor(1.0862)
    """
    squares, dim = _squares(weights)
    with torch.autocast(weights.device.type, enabled=False):
        identity = torch.eye(dim, dtype=squares.dtype, device=squares.device).expand_as(squares)
        above = torch.cat([squares, identity], -1)
        phi = torch.linalg.matrix_exp(torch.cat([above, torch.zeros_like(above)], -2))[..., :dim, dim:]
    return (squares * phi.mT).sum((-2, -1))


def trace_polynomial(weights: Tensor) -> Tensor:
    r"""The polynomial in place of the exponential [1]: closed walks of up to d steps, for a few products of matrices.

    .. math:: h(A) = \operatorname{tr}\,(I + \tfrac1d A \circ A)^d - d, \quad
       \nabla h = 2 A \circ \bigl((I + \tfrac1d A \circ A)^{d - 1}\bigr)^\top

    Zero exactly where no weight is on a cycle, else positive, and accurate however near to zero: the identity is never
    added. Unlike :func:`trace_exponential` it waits for no value of an accelerator.

    Args:
        weights: A of shape ``(…, d, d)``; entry (i, j) is the weight of the edge from i to j.

    Returns:
        h, of shape ``(…)``.

    References:
        [1] Yu et al., 2019. https://arxiv.org/abs/1904.10098

    Example:
        >>> trace_polynomial(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor(0.5000)
    """
    squares, dim = _squares(weights)
    step = squares / dim
    power = step  # (I + step)^k - I, for k from the leading bits of d
    with torch.autocast(weights.device.type, enabled=False):
        for bit in f"{dim:b}"[1:]:
            power = power @ power + 2 * power
            if bit == "1":
                power = power @ step + power + step
    return power.diagonal(dim1=-2, dim2=-1).sum(-1)


def log_determinant(weights: Tensor, *, s: float = 1.0) -> Tensor:
    r"""DAGMA [1]: a barrier against cycles, on the weights among which s exceeds every eigenvalue of their squares.

    .. math:: h_s(A) = d \log s - \log\det(s I - A \circ A), \quad \nabla h_s = 2 A \circ (s I - A \circ A)^{-\top}

    Zero exactly where no weight is on a cycle, else positive. It has no values outside of its domain, which is what a
    determinant alone does not tell: there, it is infinite. From weights of zero, small steps stay inside.

    Args:
        weights: A of shape ``(…, d, d)``; entry (i, j) is the weight of the edge from i to j.
        s: above the spectral radius of :math:`A \circ A`.

    Returns:
        :math:`h_s`, of shape ``(…)``.

    Raises:
        ValueError: ``s`` is not positive.

    References:
        [1] Bello et al., 2022. https://arxiv.org/abs/2209.08037

    Example:
        >>> log_determinant(torch.tensor([[[0.0, 0.5], [1.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]]]))  # -log(1 - 0.25)
        tensor([0.2877,    inf])
    """
    if s <= 0:
        raise ValueError(f"expected s > 0, got {s}")
    squares, dim = _squares(weights)
    matrix = s * torch.eye(dim, dtype=squares.dtype, device=squares.device) - squares
    h = dim * math.log(s) - torch.linalg.slogdet(matrix).logabsdet
    # Inside, and only there, no entry of the inverse is negative, up to rounding.
    inverse, singular = torch.linalg.inv_ex(matrix.detach())
    rounding = dim * torch.finfo(inverse.dtype).eps * inverse.abs().amax((-2, -1))
    inside = (inverse.amin((-2, -1)) >= -rounding) & (singular == 0)
    return h.where(inside, torch.inf)


def _squares(weights: Tensor) -> tuple[Tensor, int]:
    if weights.dim() < 2 or weights.shape[-1] != weights.shape[-2] or not weights.shape[-1]:
        raise ValueError(f"expected weights of shape (…, d, d), got {tuple(weights.shape)}")
    return weights.square(), weights.shape[-1]


class LearnedAdjacency(nn.Module):
    """Weights of the edges among named nodes, for observed nodes or latents alike.

    Edges that are required count as present whatever their weight, so that nothing may close a cycle with them; edges
    that are forbidden, those against a required one and those from a node to itself have weight zero.

    Args:
        nodes: names of the nodes, in the order of rows and columns.
        required: edges ``(cause, effect)`` that are known to be there.
        forbidden: edges that are known not to be.
        width: how many weights an edge has, such as one for each hidden unit that reads the cause; ``None``: one.

    Raises:
        ValueError: a node twice, an edge with another node, a cycle of required edges, or an edge both required and
            forbidden.

    Attributes:
        names: names of the nodes.
        weight: the parameter, of shape ``(d, d)`` or ``(width, d, d)``: zeros, or small random numbers.
        allowed: 1 where there may be an edge, else 0, of shape ``(d, d)``.
        required: whether an edge is required, of shape ``(d, d)``.

    Example:
        >>> adjacency = LearnedAdjacency(["age", "dose", "health"], required=[("dose", "health")])
        >>> adjacency.allowed
        tensor([[0., 1., 1.],
                [1., 0., 1.],
                [1., 0., 0.]])
    """

    allowed: Tensor
    required: Tensor

    def __init__(
        self, nodes: Sequence[str], *, required: Edges = (), forbidden: Edges = (), width: int | None = None
    ) -> None:
        super().__init__()
        self.names = tuple(nodes)
        known = as_dag(nx.DiGraph(list(required)), nodes=self.names)
        self.register_buffer("required", self._indicator(known.edges) > 0)
        against = self._indicator(forbidden) > 0
        if (against & self.required).any():
            cause, effect = (self.names[i] for i in (against & self.required).nonzero()[0].tolist())
            raise ValueError(f"the edge {cause} -> {effect} is both required and forbidden")
        identity = torch.eye(len(self.names)) > 0
        self.register_buffer("allowed", (~(against | self.required.T | identity)).float())
        shape = self.allowed.shape if width is None else (width, *self.allowed.shape)
        scale = 0.0 if width is None else 0.1 / math.sqrt(width)
        self.weight = nn.Parameter(scale * torch.randn(shape))

    def _indicator(self, edges: Edges) -> Tensor:
        matrix = torch.zeros(len(self.names), len(self.names))
        for cause, effect in edges:
            for name in (cause, effect):
                if name not in self.names:
                    raise ValueError(f"no node named {name!r}; the nodes are {list(self.names)}")
            matrix[self.names.index(cause), self.names.index(effect)] = 1.0
        return matrix

    def weights(self) -> Tensor:
        """The weights, zero where there may be no edge, of the shape of :attr:`weight`."""
        return self.weight * self.allowed

    def matrix(self) -> Tensor:
        """One weight an edge, of shape ``(d, d)``: as it is, or the Euclidean norm of the edge's ``width`` weights."""
        weights = self.weights()
        return weights if weights.dim() == 2 else torch.linalg.vector_norm(weights, dim=0)

    def restrict(self, dag: nx.DiGraph) -> None:
        """From now on allow and require the edges of ``dag`` alone, whose nodes are these; their weights stay."""
        edges = self._indicator(as_dag(dag, nodes=self.names).edges)
        self.allowed.copy_(edges)
        self.required.copy_(edges > 0)
