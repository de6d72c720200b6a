"""Smooth functions of the weights of edges that are zero where these have no cycle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["log_determinant", "trace_exponential", "trace_polynomial"]


def trace_exponential(weights: Tensor) -> Tensor:
    r"""NOTEARS [1]: the weight of all closed walks, those of k steps divided by k factorial.

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
        phi = torch.linalg.matrix_exp(torch.cat([above, torch.zeros_like(above)], -2))[
            ..., :dim, dim:
        ]
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
    for bit in f"{dim:b}"[1:]:
        power = _product(power, power) + 2 * power
        if bit == "1":
            power = _product(power, step) + power + step
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


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices as sums of products, since autocast would take a matrix product to bfloat16."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _squares(weights: Tensor) -> tuple[Tensor, int]:
    if weights.dim() < 2 or weights.shape[-1] != weights.shape[-2] or not weights.shape[-1]:
        raise ValueError(f"expected weights of shape (…, d, d), got {tuple(weights.shape)}")
    return weights.square(), weights.shape[-1]
