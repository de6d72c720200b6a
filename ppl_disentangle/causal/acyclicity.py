"""Smooth functions of the weights of edges that are zero if and only if the edges have no cycle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["log_determinant", "trace_exponential", "trace_polynomial"]


def trace_exponential(weights: Tensor) -> Tensor:
    r"""NOTEARS [1]: the weight of all closed walks, divided by k factorial for walks of k steps.

    .. math:: h(A) = \operatorname{tr} e^{A \circ A} - d = \sum_{k \ge 1} \frac{1}{k!} \operatorname{tr}\,(A \circ A)^k,
       \quad \nabla h = 2 A \circ (e^{A \circ A})^\top

    for a weight matrix A of d nodes. It is zero if no edge is on a cycle, else positive. It is
    computed as :math:`\operatorname{tr} B\,\varphi(B)` with :math:`B = A \circ A`,
    :math:`\varphi(B) = B^{-1}(e^B - I)`, and so is accurate arbitrarily close to zero, where
    subtracting d from the trace would cancel.

    Args:
        weights: The matrix A, of shape ``(…, d, d)``; entry (i, j) is the weight of the edge from i
            to j.

    Returns:
        The value h, of shape ``(…)``.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> trace_exponential(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))  # 2 cosh(1) - 2
        tensor(1.0862)
    """
    squares = _squares(weights)
    dim = squares.shape[-1]
    with torch.autocast(weights.device.type, enabled=False):
        # exp([[B, I], [0, 0]]) = [[exp(B), phi(B)], [0, I]]
        identity = torch.eye(dim, dtype=squares.dtype, device=squares.device).expand_as(squares)
        upper_rows = torch.cat([squares, identity], -1)
        block = torch.cat([upper_rows, torch.zeros_like(upper_rows)], -2)  # (…, 2 d, 2 d)
        phi = torch.linalg.matrix_exp(block)[..., :dim, dim:]
    return (squares * phi.mT).sum((-2, -1))


def trace_polynomial(weights: Tensor) -> Tensor:
    r"""DAG-GNN [1]: a polynomial, the weight of closed walks of up to d steps.

    .. math:: h(A) = \operatorname{tr}\,(I + \tfrac1d A \circ A)^d - d, \quad
       \nabla h = 2 A \circ \bigl((I + \tfrac1d A \circ A)^{d - 1}\bigr)^\top

    for a weight matrix A of d nodes. It is zero if no edge is on a cycle, else positive. It takes a
    few products of matrices and is accurate arbitrarily close to zero, because the identity is
    never added. Unlike :func:`trace_exponential` it never waits for an accelerator.

    Args:
        weights: The matrix A, of shape ``(…, d, d)``; entry (i, j) is the weight of the edge from i
            to j.

    Returns:
        The value h, of shape ``(…)``.

    References:
        [1] Yu et al., 2019. https://arxiv.org/abs/1904.10098

    Example:
        >>> trace_polynomial(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor(0.5000)
    """
    squares = _squares(weights)
    dim = squares.shape[-1]
    step = squares / dim
    power = step  # (I + step)^k - I, with k = 1, the leading bit of d
    for bit in f"{dim:b}"[1:]:
        power = _product(power, power) + 2 * power
        if bit == "1":
            power = _product(power, step) + power + step
    return power.diagonal(dim1=-2, dim2=-1).sum(-1)


def log_determinant(weights: Tensor, *, s: float = 1.0) -> Tensor:
    r"""DAGMA [1]: a log-determinant that is infinite where the weights leave its domain.

    .. math:: h_s(A) = d \log s - \log\det(s I - A \circ A), \quad \nabla h_s = 2 A \circ (s I - A \circ A)^{-\top}

    for a weight matrix A of d nodes. It is zero if no edge is on a cycle, else positive. Outside
    its domain, where s is at most the spectral radius of :math:`A \circ A`, it is infinite; the
    sign of the determinant does not detect this. Small steps from zero weights stay inside.

    Args:
        weights: The matrix A, of shape ``(…, d, d)``; entry (i, j) is the weight of the edge from i
            to j.
        s: Bound s on the spectral radius of :math:`A \circ A`.

    Returns:
        The value :math:`h_s`, of shape ``(…)``.

    Raises:
        ValueError: ``s`` is not positive, or the weights are not square matrices.

    References:
        [1] Bello et al., 2022. https://arxiv.org/abs/2209.08037

    Example:
        >>> log_determinant(torch.tensor([[[0.0, 0.5], [1.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]]]))  # -log(1 - 0.25)
        tensor([0.2877,    inf])
    """
    if s <= 0:
        raise ValueError(f"expected s > 0, got {s}")
    squares = _squares(weights)
    dim = squares.shape[-1]
    matrix = s * torch.eye(dim, dtype=squares.dtype, device=squares.device) - squares
    h = dim * math.log(s) - torch.linalg.slogdet(matrix).logabsdet
    return h.where(_is_m_matrix(matrix.detach()), torch.inf)


def _is_m_matrix(matrix: Tensor) -> Tensor:
    """Whether the inverse exists and has no negative entry: this holds exactly in the domain."""
    inverse, singular = torch.linalg.inv_ex(matrix)
    dim = matrix.shape[-1]
    rounding = dim * torch.finfo(inverse.dtype).eps * inverse.abs().amax((-2, -1))
    return (inverse.amin((-2, -1)) >= -rounding) & (singular == 0)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices as a sum, because autocast would multiply them in bfloat16."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)  # (…, i, j, 1) * (…, 1, j, k) -> (…, i, k)


def _squares(weights: Tensor) -> Tensor:
    if weights.dim() < 2 or weights.shape[-1] != weights.shape[-2] or not weights.shape[-1]:
        raise ValueError(f"expected weights of shape (…, d, d), got {tuple(weights.shape)}")
    return weights.square()
