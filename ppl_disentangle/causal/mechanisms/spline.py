"""A mechanism that bends its noise: skewed, peaked, flat or two-humped, as the parents have it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.distributions.transforms import AffineTransform, ComposeTransform, IndependentTransform

from ppl_disentangle.causal.mechanisms.affine import mlp
from ppl_disentangle.causal.mechanisms.base import InvertibleMechanism
from ppl_disentangle.conditionals import unrounded

__all__ = ["LinearRationalSpline", "MonotoneSpline"]


class MonotoneSpline(InvertibleMechanism):
    r"""Shifts and scales a monotone function of its noise, all three by the parents.

    .. math:: z = \mu(\text{parents}) + \sigma(\text{parents})\, S(\varepsilon; \text{parents})

    S acts on each coordinate alone; it is a :class:`LinearRationalSpline` on :math:`[-b, b]` with slopes in
    :math:`[1/m, m]`, and the identity but for a shift outside, so that :math:`\sigma` is the scale of the tails. With
    slopes that are bounded, inverses are exact to rounding in single precision. At zero parameters S is the identity.

    Args:
        dim: as in :class:`Mechanism`.
        parent_dim: as in :class:`Mechanism`.
        hidden: width of the two tanh layers of the MLP that all parameters come from.
        bins: number of pieces of S.
        bound: b, in standard deviations of the noise.
        max_slope: m.

    Raises:
        ValueError: ``bins`` < 2, ``bound`` <= 0 or ``max_slope`` <= 1.

    Example:
        >>> mechanism, parents = MonotoneSpline(1, 2), torch.randn(5, 2)
        >>> value = mechanism(torch.randn(3, 5, 1), parents)
        >>> value.shape, torch.allclose(mechanism(mechanism.abduct(value, parents), parents), value, atol=1e-5)
        (torch.Size([3, 5, 1]), True)
    """

    def __init__(
        self,
        dim: int = 1,
        parent_dim: int = 0,
        *,
        hidden: int = 32,
        bins: int = 8,
        bound: float = 3.0,
        max_slope: float = 10.0,
    ) -> None:
        super().__init__(dim, parent_dim)
        if bins < 2 or bound <= 0 or max_slope <= 1:
            raise ValueError(
                f"expected bins >= 2, bound > 0 and max_slope > 1, got {bins}, {bound} and {max_slope}"
            )
        self.bins, self.bound, self.max_slope = bins, bound, max_slope
        self.bias = nn.Parameter(torch.zeros(dim, 2 * bins + 1))
        self.net = mlp(parent_dim, hidden, self.bias.numel()) if parent_dim else None

    def transform(self, parents: Tensor) -> Transform:
        """From noise to value."""
        raw = (
            self.bias
            if self.net is None
            else self.bias
            + unrounded(self.net, parents.to(self.bias.dtype)).unflatten(-1, self.bias.shape)
        )
        loc, log_scale, widths, slopes = raw.split([1, 1, self.bins, self.bins - 1], -1)
        shares = 0.1 / self.bins + 0.9 * widths.softmax(
            -1
        )  # no bin is so narrow that rounding shows
        spline = LinearRationalSpline(
            2 * self.bound * shares, (math.log(self.max_slope) * slopes.tanh()).exp()
        )
        affine = AffineTransform(loc.squeeze(-1), log_scale.squeeze(-1).exp(), event_dim=1)
        return ComposeTransform([IndependentTransform(spline, 1), affine])


class LinearRationalSpline(Transform):
    r"""A monotone function of one variable, in each bin a quotient of linear functions.

    .. math:: S(x) = y_k + \frac{d_k t}{1 + c_k t}, \quad t = x - x_k, \quad c_k = (\sqrt{d_k / d_{k+1}} - 1) / w_k

    for x in bin k, of width :math:`w_k`, which begins at the knot :math:`x_k` and has slopes :math:`d_k` and
    :math:`d_{k+1}` at its ends. The slope is continuous and, within a bin, between those at its ends. Outside all bins
    it is 1; the knots are centred on zero. This is the rational-quadratic spline [1, 2] whose bins have heights
    :math:`w_k \sqrt{d_k d_{k+1}}`. With other heights, as in [3] too, slopes within a bin are not bounded by those at
    its ends.

    Args:
        widths: positive widths of the bins, ``(…, bins)``.
        slopes: positive slopes at the inner knots, ``(…, bins - 1)``.

    References:
        [1] Gregory & Delbourgo, 1982. Piecewise rational quadratic interpolation to monotonic data.
        https://doi.org/10.1093/imanum/2.2.123
        [2] Durkan et al., 2019. Neural spline flows. https://arxiv.org/abs/1906.04032
        [3] Dolatabadi et al., 2020. Invertible generative modeling using linear rational splines.
        https://arxiv.org/abs/2001.05168

    Example:
        >>> spline = LinearRationalSpline(torch.ones(2), torch.tensor([4.0]))
        >>> spline(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
        tensor([-3., -2., 0., 2., 3.])
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, widths: Tensor, slopes: Tensor) -> None:
        super().__init__()
        slopes = nn.functional.pad(slopes, (1, 1), value=1.0)
        here, there = slopes[..., :-1], slopes[..., 1:]
        self.slope, self.bend = here, ((here / there).sqrt() - 1) / widths
        self.x, self.y = _knots(widths), _knots(widths * (here * there).sqrt())

    def forward_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of the values of inputs of this shape."""
        return torch.broadcast_shapes(shape, self.slope.shape[:-1])

    inverse_shape = forward_shape

    def _call(self, x: Tensor) -> Tensor:
        inside, (x_k, y_k, slope, bend) = self._at(x, self.x)
        t = inside - x_k
        return y_k + slope * t / (1 + bend * t) + (x - inside)

    def _inverse(self, y: Tensor) -> Tensor:
        inside, (x_k, y_k, slope, bend) = self._at(y, self.y)
        u = inside - y_k
        return x_k + u / (slope - bend * u) + (y - inside)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Logarithms of the slopes at x."""
        inside, (x_k, _, slope, bend) = self._at(x, self.x)
        return slope.log() - 2 * (bend * (inside - x_k)).log1p()

    def _at(self, value: Tensor, knots: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``value`` moved to the nearest knot if it is outside all, and what describes its bin."""
        inside = value.clamp(knots[..., 0], knots[..., -1])
        index = (inside[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)
        of_bins = (self.x, self.y, self.slope, self.bend)
        expanded = [a.expand(*index.shape[:-1], a.shape[-1]) for a in of_bins]
        return inside, [a.gather(-1, index).squeeze(-1) for a in expanded]


def _knots(steps: Tensor) -> Tensor:
    """Ends of the steps, one after the other, centred on zero."""
    ends = nn.functional.pad(steps.cumsum(-1), (1, 0))
    return ends - ends[..., -1:] / 2
