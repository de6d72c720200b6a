"""Networks that return distributions, and the conditionals of codes and pixels."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import ClassVar, TypeGuard

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
    "StudentT",
    "at_least_single",
    "parameters_of_elements",
    "unrounded",
]


MAX_FLOAT32_WEIGHTS = 2**16
"""Number of weights of the largest layer that is as fast in float32 as in bfloat16."""


class Conditional(nn.Module, abc.ABC):
    """A conditional distribution p(y | h) whose parameters are computed by a network.

    The network may run in bfloat16 under autocast. The distribution is always built in float32, or in
    the network's precision if that is higher. Small linear layers at either end of an ``nn.Sequential``
    run in float32 as well, because bfloat16 would round the means and the draws of a latent by a large
    part of a posterior's standard deviation.

    Implementing a conditional: define :meth:`distribution`.

    Args:
        net: Network from ``(batch, *input)`` to ``(batch, *output)``.
        input_dims: Number of dimensions of one input. Inputs may then have any number of batch
            dimensions (particles, worlds, data). With ``None`` the first dimension is the batch, and
            all others are the input.

    Attributes:
        num_parameters: Number of outputs of the network for each element of an observation. The
            first dimension of an output has that many times the size of the observation's.
    """

    num_parameters: ClassVar[int] = 1

    def __init__(self, net: nn.Module, *, input_dims: int | None = 1) -> None:
        super().__init__()
        self.net = net
        self.input_dims = input_dims

    @abc.abstractmethod
    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the distribution from the network's output, whose last ``event_dim`` dimensions are one event."""

    def forward(self, h: Tensor) -> TorchDistribution:
        """Return p(y | h), of batch shape ``h.shape`` without the dimensions of the input.

        Raises:
            TypeError: The network does not return one tensor.
        """
        num_batch_dims = 1 if self.input_dims is None else h.dim() - self.input_dims
        if num_batch_dims == 1:
            output = at_least_single(_output(self.net, h))
            return self.distribution(output, output.dim() - 1)
        # networks take one batch dimension
        flat = h.reshape(-1, *h.shape[num_batch_dims:])
        output = at_least_single(_output(self.net, flat))
        event_dim = output.dim() - 1
        output = output.reshape(*h.shape[:num_batch_dims], *output.shape[1:])
        return self.distribution(output, event_dim)


def _output(net: nn.Module, h: Tensor) -> Tensor:
    """The output of a network; under autocast, small linear layers at its ends run unrounded."""
    # a subclass of nn.Sequential may have its own forward
    if not (type(net) is nn.Sequential and _autocasts(h)):
        return _tensor(net, net(h))
    for layer in net:
        is_at_an_end = layer is net[0] or layer is net[-1]
        if is_at_an_end and _is_small_linear(layer):
            h = unrounded(layer, h.to(layer.weight.dtype))
        else:
            h = layer(h)
    return _tensor(net, h)


def _tensor(net: nn.Module, output: object) -> Tensor:
    """The output of a network, which must be one tensor.

    Raises:
        TypeError: The output is something else, such as a tuple of means and log variances.
    """
    if isinstance(output, Tensor):
        return output
    kind = type(output).__name__
    got = f"a {kind} of {len(output)}" if isinstance(output, tuple | list) else f"a {kind}"
    raise TypeError(
        f"expected one tensor from {type(net).__name__}, with the parameters of the distribution side"
        f" by side, got {got}; let it return torch.cat((mean, log_variance), -1), say"
    )


def _is_small_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    return isinstance(layer, nn.Linear) and layer.weight.numel() <= MAX_FLOAT32_WEIGHTS


def unrounded(function: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """Call a function, such as a network, without autocast."""
    with torch.autocast(h.device.type, enabled=False) if _autocasts(h) else nullcontext():
        return function(h)


def _autocasts(h: Tensor) -> bool:
    return is_autocast_available(h.device.type) and torch.is_autocast_enabled(h.device.type)


def parameters_of_elements(output: Tensor, number: int, event_dim: int) -> tuple[Tensor, ...]:
    """Split outputs into ``number`` parameters of each element, along the first event dimension.

    Raises:
        ValueError: That dimension is not a multiple of ``number``.
    """
    size = output.shape[-event_dim]
    if size % number:
        raise ValueError(
            f"expected {number} outputs for each element of an observation, got {size} outputs"
        )
    return output.chunk(number, -event_dim)


def at_least_single(output: Tensor) -> Tensor:
    """Convert an output to float32; an output in float64 stays as it is."""
    return output.to(torch.promote_types(output.dtype, torch.float32))


class Gaussian(Conditional):
    r"""Normal with diagonal covariance; the network returns means, then log variances.

    .. math:: p(y \mid h) = \mathcal N(y; \mu(h), \operatorname{diag} \sigma^2(h)), \quad
       (\mu, \log \sigma^2) = \operatorname{net}(h)

    The last dimension of the output holds all means, then all log variances. ``input_dims`` is ``None``
    by default, so that an encoder takes images without further settings.

    Example:
        >>> Gaussian(nn.Linear(64, 20))(torch.zeros(8, 64)).event_shape
        torch.Size([10])
    """

    def __init__(self, net: nn.Module, *, input_dims: int | None = None) -> None:
        super().__init__(net, input_dims=input_dims)

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the normal; its event has half as many coordinates as the output."""
        if output.shape[-1] % 2:
            raise ValueError(
                f"expected an even number of outputs (means, log variances), got {output.shape[-1]}"
            )
        loc, log_variance = output.chunk(2, -1)
        return dist.Normal(loc, (0.5 * log_variance).exp()).to_event(event_dim)


class Bernoulli(Conditional):
    r"""Independent Bernoulli pixels; the network returns logits.

    For grey values x in [0, 1], the log density is the cross-entropy
    :math:`x \log p + (1 - x) \log (1 - p)`, with which most papers train. It is not normalised on
    [0, 1]; the likelihood of :class:`ContinuousBernoulli` is.
    """

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the Bernoulli whose logits are the outputs."""
        return dist.Bernoulli(logits=output, validate_args=False).to_event(event_dim)


class ContinuousBernoulli(Conditional):
    """Independent continuous Bernoulli pixels on [0, 1]; the network returns logits.

    References:
        [1] Loaiza-Ganem & Cunningham, 2019. https://arxiv.org/abs/1907.06845
    """

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the continuous Bernoulli whose logits are the outputs."""
        return dist.ContinuousBernoulli(logits=output, validate_args=False).to_event(event_dim)


class GaussianLearnedScale(Conditional):
    r"""Normal pixels around the network's output, all with the same learned scale :math:`\sigma`.

    References:
        [1] Rybkin et al., 2021. Simple and effective VAE training with calibrated decoders.
        https://arxiv.org/abs/2006.13202
    """

    def __init__(self, net: nn.Module, *, input_dims: int | None = 1, scale: float = 1.0) -> None:
        super().__init__(net, input_dims=input_dims)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the normal whose means are the outputs."""
        return dist.Normal(output, self.log_scale.exp()).to_event(event_dim)


class StudentT(Conditional):
    r"""Independent Student-t elements with heavy tails, around the network's output.

    .. math:: y_d \mid h \sim \mathcal T_\nu(f_d(h), \sigma)

    All elements share the learned scale :math:`\sigma` and degrees of freedom :math:`\nu > 1`, so
    that the mean exists.

    References:
        [1] Lange et al., 1989. https://doi.org/10.1080/01621459.1989.10478852
    """

    def __init__(self, net: nn.Module, *, input_dims: int | None = 1) -> None:
        super().__init__(net, input_dims=input_dims)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.log_freedom = nn.Parameter(torch.tensor(1.0))

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the distribution whose locations are the outputs."""
        freedom = 1 + self.log_freedom.exp()
        return dist.StudentT(freedom, output, self.log_scale.exp()).to_event(event_dim)


class Deterministic(Conditional):
    """The network's output as a point: a generator without a likelihood."""

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the point distribution at the outputs."""
        return dist.Delta(output, event_dim=event_dim)


class Grouped(nn.Module):
    r"""Several latents from one network: groups of normal coordinates, and relaxed classes [1, 2].

    .. math:: z^g \mid x \sim \mathcal N(\mu^g(x), \operatorname{diag} \sigma^g(x)^2), \quad
       c^k \mid x \sim \operatorname{Concrete}(\operatorname{softmax} l^k(x), T)

    Args:
        net: Network from ``(batch, *input)`` to the means of all groups, their log variances and the
            logits of all classes, in this order: ``2 * sum(groups.values()) + sum(classes.values())``
            outputs.
        groups: Number of coordinates of each group, by name.
        classes: Number of values of each class, by name. A draw has one coordinate for each value and
            is nearly one-hot. Left out, there are no classes.
        temperature: Temperature T of the relaxation. The default is not from a paper.

    Raises:
        ValueError: There are no latents, a name occurs twice, a size is below 1, or the temperature is
            not positive. Calls raise it if the network has another number of outputs.

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
        self.net = net
        self.groups = dict(groups)
        self.classes = dict(classes)
        self.temperature = temperature

    def check_groups(self, *names: str) -> None:
        """Raise a ValueError unless the latents are groups of these names, in this order."""
        if tuple(self.groups) != names or self.classes:
            expected = " and ".join(map(repr, names))
            sizes = {**self.groups, **self.classes}
            raise ValueError(f"expected an encoder of the groups {expected}, got {sizes}")

    def forward(self, x: Tensor) -> dict[str, TorchDistribution]:
        """Return q(latent | x) of each latent, by name, each of batch shape ``(batch,)``."""
        output = at_least_single(_output(self.net, x))
        dim = sum(self.groups.values())
        num_logits = sum(self.classes.values())
        if output.shape[-1] != 2 * dim + num_logits:
            raise ValueError(
                f"expected a network with {2 * dim + num_logits} outputs, got {output.shape[-1]}"
            )
        locs, log_variances, logits = output.split([dim, dim, num_logits], -1)
        return self._normals(locs, log_variances) | self._relaxed_classes(logits)

    def _normals(self, locs: Tensor, log_variances: Tensor) -> dict[str, TorchDistribution]:
        """A normal for each group, from parameters of shape ``(batch, coordinates of all groups)``."""
        sizes = list(self.groups.values())
        parameters = zip(locs.split(sizes, -1), log_variances.split(sizes, -1), strict=True)
        normals = {}
        for name, (loc, log_variance) in zip(self.groups, parameters, strict=True):
            normals[name] = dist.Normal(loc, (0.5 * log_variance).exp()).to_event(1)
        return normals

    def _relaxed_classes(self, logits: Tensor) -> dict[str, TorchDistribution]:
        """A relaxed class for each name, from logits of shape ``(batch, values of all classes)``."""
        temperature = logits.new_tensor(self.temperature)
        relaxed = {}
        by_class = logits.split(list(self.classes.values()), -1)
        for name, class_logits in zip(self.classes, by_class, strict=True):
            relaxed[name] = dist.RelaxedOneHotCategorical(temperature, logits=class_logits)
        return relaxed
