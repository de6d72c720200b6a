"""A mechanism with a monotone spline of its noise: skewed, peaked, flat or bimodal."""

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
    r"""A shifted and scaled monotone function of the noise, which depends on the parents.

    .. math:: z = \mu(\text{parents}) + \sigma(\text{parents})\, S(\varepsilon; \text{parents})

    The function S acts on each coordinate separately. On :math:`[-b, b]` it is a
    :class:`LinearRationalSpline` with slopes in :math:`[1/m, m]`; outside it is the identity up to
    a shift, so that :math:`\sigma` is the scale of the tails. Because the slopes are bounded,
    inverses are exact up to rounding in single precision. With zero parameters, S is the identity.

    Args:
        dim: Number of coordinates of the node.
        parent_dim: Number of coordinates of all its parents; 0 for a root.
        hidden: Width of the two tanh layers of the MLP that computes all parameters.
        bins: Number of pieces of S.
        bound: The bound b, in standard deviations of the noise.
        max_slope: The largest slope m.

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
        self.bins = bins
        self.bound = bound
        self.max_slope = max_slope
        self.bias = nn.Parameter(torch.zeros(dim, 2 * bins + 1))
        self.net = mlp(parent_dim, hidden, self.bias.numel()) if parent_dim else None

    def transform(self, parents: Tensor) -> Transform:
        """The transform from noise to value."""
        parameters = self._parameters_of(parents)
        loc, log_scale, widths, slopes = parameters.split([1, 1, self.bins, self.bins - 1], -1)
        # A tenth of the interval is shared equally: no bin is so narrow that rounding matters.
        shares = 0.1 / self.bins + 0.9 * widths.softmax(-1)
        log_slopes = math.log(self.max_slope) * slopes.tanh()
        spline = LinearRationalSpline(2 * self.bound * shares, log_slopes.exp())
        affine = AffineTransform(loc.squeeze(-1), log_scale.squeeze(-1).exp(), event_dim=1)
        return ComposeTransform([IndependentTransform(spline, 1), affine])

    def _parameters_of(self, parents: Tensor) -> Tensor:
        """The parameters of each coordinate, ``(…, dim, 2 * bins + 1)``."""
        if self.net is None:
            return self.bias
        output = unrounded(self.net, parents.to(self.bias.dtype))
        return self.bias + output.unflatten(-1, self.bias.shape)


class LinearRationalSpline(Transform):
    r"""A monotone function of one variable that is a quotient of linear functions in each bin.

    .. math:: S(x) = y_k + \frac{d_k t}{1 + c_k t}, \quad t = x - x_k, \quad c_k = (\sqrt{d_k / d_{k+1}} - 1) / w_k

    for x in bin k, which has width :math:`w_k`, begins at the knot :math:`x_k` with value
    :math:`y_k`, and has slopes :math:`d_k` and :math:`d_{k+1}` at its ends. The slope is
    continuous; within a bin it lies between the slopes at the ends of the bin. Outside all bins the
    slope is 1. The knots are centred on zero. This is the rational-quadratic spline [1, 2] with
    bins of height :math:`w_k \sqrt{d_k d_{k+1}}`. With other heights, also in [3], the slopes at
    the ends of a bin do not bound the slopes within it.

    Args:
        widths: Positive widths of the bins, ``(…, bins)``.
        slopes: Positive slopes at the inner knots, ``(…, bins - 1)``.

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
        slopes = nn.functional.pad(slopes, (1, 1), value=1.0)  # the slope outside all bins is 1
        start = slopes[..., :-1]
        end = slopes[..., 1:]
        self.slope = start
        self.bend = ((start / end).sqrt() - 1) / widths
        self.x = _knots(widths)
        self.y = _knots(widths * (start * end).sqrt())

    def forward_shape(self, shape: tuple[int, ...]) -> torch.Size:
        """The shape of the values for inputs of the given shape."""
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
        """``value`` clamped to the bins, and the knot, value, slope and bend of its bin."""
        inside = value.clamp(knots[..., 0], knots[..., -1])
        # (…, 1): the index of the bin is the number of inner knots that the value has passed
        index = (inside[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)
        parameters = (self.x, self.y, self.slope, self.bend)  # (…, bins + 1) or (…, bins)
        expanded = [a.expand(*index.shape[:-1], a.shape[-1]) for a in parameters]
        return inside, [a.gather(-1, index).squeeze(-1) for a in expanded]


def _knots(steps: Tensor) -> Tensor:
    """Positions of the knots between consecutive steps, centred on zero."""
    ends = nn.functional.pad(steps.cumsum(-1), (1, 0))
    return ends - ends[..., -1:] / 2
