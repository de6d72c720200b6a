"""Networks that return distributions: ``z = pyro.sample("z", encoder(x))``."""

from __future__ import annotations

import abc
import math

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

__all__ = ["Bernoulli", "Conditional", "ContinuousBernoulli", "Gaussian", "GaussianLearnedScale"]


class Conditional(nn.Module, abc.ABC):
    """A conditional distribution p(y | h) whose parameters are computed by a network.

    The network may run in bfloat16 under autocast; the distribution is always built in float32.

    Implementing a conditional: define :meth:`distribution`.

    Args:
        net: maps ``(batch, *input)`` to ``(batch, *output)``.
        input_dims: number of dimensions of one input. If given, inputs may have any number of batch dimensions
            (particles, worlds, data). ``None``: the first dimension is the batch, the rest is the input.
    """

    def __init__(self, net: nn.Module, *, input_dims: int | None = 1) -> None:
        super().__init__()
        self.net, self.input_dims = net, input_dims

    @abc.abstractmethod
    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """The distribution, from the network's float32 output, whose last ``event_dim`` dimensions are the event."""

    def forward(self, h: Tensor) -> TorchDistribution:
        """p(y | h), of batch shape ``h.shape`` without the dimensions of the input."""
        batch = h.shape[:1] if self.input_dims is None else h.shape[: h.dim() - self.input_dims]
        if len(batch) == 1:
            output = self.net(h)
            return self.distribution(output.float(), output.dim() - 1)
        output = self.net(h.reshape(-1, *h.shape[len(batch) :])).float()
        return self.distribution(output.reshape(*batch, *output.shape[1:]), output.dim() - 1)


class Gaussian(Conditional):
    r"""Normal with diagonal covariance; the network returns means and log variances along the last dimension.

    .. math:: p(y \mid h) = \mathcal N(y; \mu(h), \operatorname{diag} \sigma^2(h)), \quad
       (\mu, \log \sigma^2) = \operatorname{net}(h)

    An encoder takes images as they are: ``Gaussian(net)`` has ``input_dims=None``.

    Example:
        >>> Gaussian(nn.Linear(64, 20))(torch.zeros(8, 64)).event_shape
        torch.Size([10])
    """

    def __init__(self, net: nn.Module, *, input_dims: int | None = None) -> None:
        super().__init__(net, input_dims=input_dims)

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Normal over half of the outputs."""
        if output.shape[-1] % 2:
            raise ValueError(f"expected an even number of outputs (means, log variances), got {output.shape[-1]}")
        loc, log_variance = output.chunk(2, -1)
        return dist.Normal(loc, (0.5 * log_variance).exp()).to_event(event_dim)


class Bernoulli(Conditional):
    r"""Independent Bernoulli pixels; the network returns logits.

    For grey values x in [0, 1] this is the cross-entropy :math:`x \log p + (1 - x) \log (1 - p)` that the field trains
    with; it is then no normalised likelihood (:class:`ContinuousBernoulli` is).
    """

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Bernoulli of the outputs as logits."""
        return dist.Bernoulli(logits=output, validate_args=False).to_event(event_dim)


class ContinuousBernoulli(Conditional):
    """Independent continuous Bernoulli pixels on [0, 1]; the network returns logits.

    References:
        [1] Loaiza-Ganem & Cunningham, 2019. https://arxiv.org/abs/1907.06845
    """

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Continuous Bernoulli of the outputs as logits."""
        return dist.ContinuousBernoulli(logits=output, validate_args=False).to_event(event_dim)


class GaussianLearnedScale(Conditional):
    r"""Normal pixels around the network's output, with one learned scale :math:`\sigma` for all of them.

    References:
        [1] Rybkin et al., 2021. Simple and effective VAE training with calibrated decoders.
        https://arxiv.org/abs/2006.13202
    """

    def __init__(self, net: nn.Module, *, input_dims: int | None = 1, scale: float = 1.0) -> None:
        super().__init__(net, input_dims=input_dims)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Normal around the outputs."""
        return dist.Normal(output, self.log_scale.exp()).to_event(event_dim)
