"""Conditionals of classes 0, 1, …, without an order or with one."""

from __future__ import annotations

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals.base import Conditional

__all__ = ["UNIT_GAP", "Categorical", "Ordinal", "cumulative_logit", "increasing"]

UNIT_GAP = 0.5413
"""The free number whose softplus is 1."""
LEAST_GAP = 1e-3
"""Smallest distance of two cut points, so that no level has probability zero."""


class Categorical(Conditional):
    r"""Independent classes without an order; the network returns a logit for each class.

    .. math:: p(y = k \mid h) \propto e^{f_k(h)}

    The last dimension of the output holds the classes; an observation has the shape of the other
    dimensions. Observations are class numbers, as integers or floats.

    Example:
        >>> Categorical(nn.Linear(4, 3))(torch.zeros(8, 4)).batch_shape  # a scalar for each datum
        torch.Size([8])
    """

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the classes whose logits are the outputs."""
        return dist.Categorical(logits=output).to_event(event_dim - 1)


class Ordinal(Conditional):
    r"""Independent levels with an order, by cumulative logits [1]; the network returns their place.

    .. math:: P(y \le k \mid h) = \sigma(c_k - f(h)), \quad c_0 < c_1 < … < c_{K - 2}

    All elements of an observation have the same K levels and share the learned cut points c, which
    start evenly spaced. Observations are level numbers 0, …, K - 1, as integers or floats.

    Args:
        net: Network from ``(batch, *input)`` to ``(batch, *output)``.
        num_levels: Number K of levels.
        input_dims: Number of dimensions of one input; see :class:`Conditional`.

    Raises:
        ValueError: There are fewer than two levels.

    References:
        [1] McCullagh, 1980. https://doi.org/10.1111/j.2517-6161.1980.tb01109.x
    """

    def __init__(self, net: nn.Module, num_levels: int, *, input_dims: int | None = 1) -> None:
        super().__init__(net, input_dims=input_dims)
        if num_levels < 2:
            raise ValueError(f"expected num_levels >= 2, got {num_levels}")
        self.first_cut = nn.Parameter(torch.tensor(-0.5 * (num_levels - 2)))
        self.gaps = nn.Parameter(torch.full((num_levels - 2,), UNIT_GAP))

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the levels whose places are the outputs."""
        cuts = increasing(self.first_cut, self.gaps)
        return cumulative_logit(output, cuts).to_event(event_dim)


def increasing(first: Tensor, gaps: Tensor) -> Tensor:
    """Increasing cut points ``(…, K - 1)`` from the first ``(…)`` and free numbers ``(…, K - 2)``."""
    steps = F.softplus(gaps) + LEAST_GAP
    return torch.cat([first[..., None], first[..., None] + steps.cumsum(-1)], -1)


def cumulative_logit(place: Tensor, cuts: Tensor) -> TorchDistribution:
    r"""Levels whose cumulative probabilities are logistic: P(y <= k) = sigmoid(cuts[k] - place).

    Pyro's ``OrderedLogistic`` has the same density, but subtracts probabilities, which rounds the
    density of rare levels.

    Args:
        place: Numbers of shape ``batch``.
        cuts: Increasing cut points, of shape ``(…, K - 1)``.
    """
    # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)) for each level's ends a < b
    below = F.logsigmoid(cuts - place[..., None])
    above = F.logsigmoid(place[..., None] - cuts)
    gaps = torch.log(-torch.expm1(cuts[..., :-1] - cuts[..., 1:]))
    inner = below[..., 1:] + above[..., :-1] + gaps
    log_probabilities = torch.cat([below[..., :1], inner, above[..., -1:]], -1)
    return dist.Categorical(logits=log_probabilities)
