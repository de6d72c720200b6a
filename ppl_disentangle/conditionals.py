"""Networks that return distributions: ``z = pyro.sample("z", encoder(x))``."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.amp import is_autocast_available

__all__ = [
    "Bernoulli",
    "Conditional",
    "ContinuousBernoulli",
    "Deterministic",
    "Gaussian",
    "GaussianLearnedScale",
    "Grouped",
    "at_least_single",
    "unrounded",
]


SMALL = 2**16
"""Weights of the largest layer that costs nothing in float32."""


class Conditional(nn.Module, abc.ABC):
    """A conditional distribution p(y | h) whose parameters are computed by a network.

    The network may run in bfloat16 under autocast; the distribution is built in float32, or in the network's precision
    if that is higher. So do small linear layers at the ends of an ``nn.Sequential``: bfloat16 would round means and
    draws of a latent by a good part of a posterior's standard deviation.

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
        """The distribution, from the network's output, whose last ``event_dim`` dimensions are the event."""

    def forward(self, h: Tensor) -> TorchDistribution:
        """p(y | h), of batch shape ``h.shape`` without the dimensions of the input."""
        batch = h.shape[:1] if self.input_dims is None else h.shape[: h.dim() - self.input_dims]
        if len(batch) == 1:
            output = at_least_single(_output(self.net, h))
            return self.distribution(output, output.dim() - 1)
        output = at_least_single(_output(self.net, h.reshape(-1, *h.shape[len(batch) :])))
        return self.distribution(output.reshape(*batch, *output.shape[1:]), output.dim() - 1)


def _output(net: nn.Module, h: Tensor) -> Tensor:
    """What a network returns; under autocast without rounding at its ends."""
    if not (type(net) is nn.Sequential and _autocasts(h)):  # a subclass may do something else
        return net(h)
    for layer in net:
        at_an_end = layer is net[0] or layer is net[-1]
        if at_an_end and isinstance(layer, nn.Linear) and layer.weight.numel() <= SMALL:
            h = unrounded(layer, h.to(layer.weight.dtype))
        else:
            h = layer(h)
    return h


def unrounded(function: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """What a function, such as a network, makes of ``h`` without autocast."""
    with torch.autocast(h.device.type, enabled=False) if _autocasts(h) else nullcontext():
        return function(h)


def _autocasts(h: Tensor) -> bool:
    return is_autocast_available(h.device.type) and torch.is_autocast_enabled(h.device.type)


def at_least_single(output: Tensor) -> Tensor:
    """What a network returns, in float32, or in its precision if that is higher."""
    return output.to(torch.promote_types(output.dtype, torch.float32))


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
            raise ValueError(
                f"expected an even number of outputs (means, log variances), got {output.shape[-1]}"
            )
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


class Deterministic(Conditional):
    """What the network returns and nothing else: a generator, which has no likelihood."""

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """A point at the outputs."""
        return dist.Delta(output, event_dim=event_dim)


class Grouped(nn.Module):
    r"""Several latents from one network: groups of normal coordinates, and classes, relaxed [1, 2].

    .. math:: z^g \mid x \sim \mathcal N(\mu^g(x), \operatorname{diag} \sigma^g(x)^2), \quad
       c^k \mid x \sim \operatorname{Concrete}(\operatorname{softmax} l^k(x), T)

    Args:
        net: maps ``(batch, *input)`` to the means of all groups, their log variances and the logits of all classes, in
            this order: ``2 * sum(groups.values()) + sum(classes.values())`` outputs.
        groups: number of coordinates of each group.
        classes: number of values of each class; a draw is of that shape, nearly one-hot.
        temperature: T, a choice of ours.

    Raises:
        ValueError: nothing to infer, a name twice, a size below 1 or a temperature that is not positive; when called, a
            network with another number of outputs.

    References:
        [1] Jang et al., 2017. https://arxiv.org/abs/1611.01144
        [2] Maddison et al., 2017. https://arxiv.org/abs/1611.00712

    Example:
        >>> encoder = Grouped(nn.Linear(64, 14), {"place": 2, "style": 3}, {"digit": 4})
        >>> {name: tuple(q.event_shape) for name, q in encoder(torch.zeros(8, 64)).items()}
        {'place': (2,), 'style': (3,), 'digit': (4,)}
    """

    def __init__(
        self,
        net: nn.Module,
        groups: Mapping[str, int],
        classes: Mapping[str, int] | None = None,
        *,
        temperature: float = 2 / 3,
    ) -> None:
        super().__init__()
        classes = classes or {}
        if not groups and not classes or groups.keys() & classes.keys():
            raise ValueError(
                f"expected names for each latent, got groups {dict(groups)} and classes {dict(classes)}"
            )
        if min([*groups.values(), *classes.values()]) < 1 or temperature <= 0:
            raise ValueError(
                f"expected positive sizes and temperature, got {groups}, {classes} and {temperature}"
            )
        self.net, self.groups, self.classes, self.temperature = (
            net,
            dict(groups),
            dict(classes),
            temperature,
        )

    def check_groups(self, *names: str) -> None:
        """Raise a ValueError unless it has these groups, in this order, and no classes."""
        if tuple(self.groups) != names or self.classes:
            expected, given = " and ".join(map(repr, names)), {**self.groups, **self.classes}
            raise ValueError(f"expected an encoder of the groups {expected}, got {given}")

    def forward(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q of each latent, by name, each of batch shape ``(batch,)``."""
        output = at_least_single(_output(self.net, x))
        dim, sizes = sum(self.groups.values()), list(self.classes.values())
        if output.shape[-1] != 2 * dim + sum(sizes):
            raise ValueError(
                f"expected a network with {2 * dim + sum(sizes)} outputs, got {output.shape[-1]}"
            )
        locs, log_variances, *logits = output.split([dim, dim, *sizes], -1)
        widths = list(self.groups.values())
        parts = zip(
            self.groups, locs.split(widths, -1), log_variances.split(widths, -1), strict=True
        )
        normal = {name: dist.Normal(loc, (0.5 * log).exp()).to_event(1) for name, loc, log in parts}
        temperature = output.new_tensor(self.temperature)
        relaxed = {
            name: dist.RelaxedOneHotCategorical(temperature, logits=values)
            for name, values in zip(self.classes, logits, strict=True)
        }
        return normal | relaxed
