"""The networks of the literature: plain ``nn.Sequential`` from images to vectors and back.

Convolutions lie in memory channels-last, which is faster on the CPU, and in bfloat16 everywhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl_disentangle.conditionals import Bernoulli, Conditional, Deterministic, GaussianLearnedScale

__all__ = [
    "NETWORKS",
    "STEADY_CRITIC",
    "STEADY_GAME",
    "Networks",
    "Upsampling",
    "burgess_decoder",
    "burgess_encoder",
    "mlp_decoder",
    "mlp_encoder",
    "pytorch_port_decoder",
    "pytorch_port_encoder",
    "study_decoder",
    "study_encoder",
    "tensorflow_init",
]


def pytorch_port_encoder(outputs: int, *, channels: int = 1) -> nn.Sequential:
    """:func:`study_encoder` as most ports to PyTorch have it: every kernel 4x4, PyTorch's initial weights.

    It leaves the plateau at the beginning of training much earlier.
    """
    widths = (channels, 32, 32, 64, 64)
    convolutions = (
        m
        for i, o in zip(widths, widths[1:], strict=False)
        for m in (nn.Conv2d(i, o, 4, 2, 1), nn.ReLU())
    )
    return channels_last(
        nn.Sequential(*convolutions, nn.Flatten(), *_dense((1024, 256, outputs), nn.ReLU))
    )


def pytorch_port_decoder(latent_dim: int, *, channels: int = 1) -> nn.Sequential:
    """:func:`study_decoder` with PyTorch's initial weights."""
    decoder = study_decoder(latent_dim, channels=channels)
    for module in decoder:
        if isinstance(module, nn.Linear | nn.ConvTranspose2d):
            module.reset_parameters()
    return decoder


def study_encoder(outputs: int, *, channels: int = 1) -> nn.Sequential:
    """The convolutional encoder of the 12,600-run study [1], from ``(batch, channels, 64, 64)`` to ``outputs``.

    Four strided convolutions (32 and 32 of 4x4, 64 and 64 of 2x2), then 256 units, ReLU throughout.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359
    """
    net = tensorflow_init(
        nn.Sequential(
            *(nn.Conv2d(channels, 32, 4, 2, 1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU()),
            *(nn.Conv2d(32, 64, 2, 2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 2, 2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(1024, 256), nn.ReLU()),
            nn.Linear(256, outputs),
        )
    )
    return channels_last(net)


def study_decoder(latent_dim: int, *, channels: int = 1) -> nn.Sequential:
    """The deconvolutional decoder of the 12,600-run study [1], to logits of ``(batch, channels, 64, 64)``.

    256 and 1024 units, then four transposed convolutions of 4x4 (64, 32, 32, ``channels``), ReLU between them.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359
    """
    net = tensorflow_init(
        nn.Sequential(
            *(nn.Linear(latent_dim, 256), nn.ReLU()),
            *(nn.Linear(256, 1024), nn.ReLU(), nn.Unflatten(1, (64, 4, 4))),
            *(nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU()),
            *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()),
            *(Upsampling(32, 32), nn.ReLU()),
            Upsampling(32, channels),
        )
    )
    return channels_last(net)


def burgess_encoder(outputs: int, *, channels: int = 1) -> nn.Sequential:
    """The encoder of [1], from ``(batch, channels, 64, 64)``: four 4x4 convolutions of 32, then 256 and 256 units.

    References:
        [1] Burgess et al., 2018. https://arxiv.org/abs/1804.03599
    """
    widths = (channels, 32, 32, 32, 32)
    convolutions = (
        m
        for i, o in zip(widths, widths[1:], strict=False)
        for m in (nn.Conv2d(i, o, 4, 2, 1), nn.ReLU())
    )
    return channels_last(
        nn.Sequential(*convolutions, nn.Flatten(), *_dense((512, 256, 256, outputs), nn.ReLU))
    )


def burgess_decoder(latent_dim: int, *, channels: int = 1) -> nn.Sequential:
    """The decoder of [1], the mirror of its encoder, to logits of ``(batch, channels, 64, 64)``.

    References:
        [1] Burgess et al., 2018. https://arxiv.org/abs/1804.03599
    """
    layers: list[nn.Module] = [
        *_dense((latent_dim, 256, 256, 512), nn.ReLU),
        nn.ReLU(),
        nn.Unflatten(1, (32, 4, 4)),
    ]
    for _ in range(2):
        layers += [nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU()]
    return channels_last(
        nn.Sequential(*layers, Upsampling(32, 32), nn.ReLU(), Upsampling(32, channels))
    )


def mlp_encoder(
    outputs: int, *, shape: Sequence[int] = (1, 64, 64), hidden: int = 1200
) -> nn.Sequential:
    """Two layers of ``hidden`` ReLU units on flattened observations of ``shape``; 1200 units in [1, 2].

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
        [2] Chen et al., 2018. https://arxiv.org/abs/1802.04942
    """
    return nn.Sequential(
        nn.Flatten(), *_dense((math.prod(shape), hidden, hidden, outputs), nn.ReLU)
    )


def mlp_decoder(
    latent_dim: int,
    *,
    shape: Sequence[int] = (1, 64, 64),
    hidden: int = 1200,
    activation: type[nn.Module] = nn.Tanh,
) -> nn.Sequential:
    """Three layers of ``hidden`` units to observations of ``shape``; 1200 units of tanh in [1, 2].

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
        [2] Chen et al., 2018. https://arxiv.org/abs/1802.04942
    """
    widths = (latent_dim, hidden, hidden, hidden, math.prod(shape))
    return nn.Sequential(*_dense(widths, activation), nn.Unflatten(1, tuple(shape)))


class Upsampling(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)`` for large images of few channels.

    On the CPU and channels-last it is a 2x2 convolution to the four pixels of each block, the same sums with other
    indices: libraries of kernels are slow at the transposed convolutions at the end of a decoder, more so backwards.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """From ``(batch, inputs, rows, columns)`` to ``(batch, outputs, 2 * rows, 2 * columns)``."""
        if (
            x.device.type != "cpu"
            or x.dim() != 4
            or not x.is_contiguous(memory_format=torch.channels_last)
        ):
            return super().forward(x, output_size)
        # A block lies around a corner of four inputs. Of the kernel's rows 0..3, its upper pixels have 2 for the inputs
        # above the corner and 0 for those below, the lower pixels 3 and 1; columns likewise.
        halves = self.weight.unflatten(2, (2, 2)).unflatten(4, (2, 2)).flip(2, 4)
        taps = halves.permute(3, 5, 1, 0, 2, 4).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        blocks = F.conv2d(x, taps, bias, padding=1).movedim(1, -1)
        pixels = (
            blocks.unflatten(-1, (2, 2, self.out_channels))
            .transpose(2, 3)
            .flatten(3, 4)
            .flatten(1, 2)
        )
        return pixels[:, 1:-1, 1:-1].movedim(-1, 1)


def channels_last(net: nn.Sequential) -> nn.Sequential:
    """Lay out the convolutions of ``net`` channels-last. Returns ``net``."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def tensorflow_init(net: nn.Sequential) -> nn.Sequential:
    """Give ``net`` the initial weights of the study's layers: Glorot uniform, zero biases. Returns ``net``."""
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor):
            nn.init.xavier_uniform_(weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return net


def _dense(widths: Sequence[int], activation: type[nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o), activation()]
    return layers[:-1]


PAIRS = {
    "study": (study_encoder, study_decoder),
    "pytorch_port": (pytorch_port_encoder, pytorch_port_decoder),
    "burgess": (burgess_encoder, burgess_decoder),
}


NETWORKS = (*PAIRS, "mlp")


STEADY_GAME = MappingProxyType({"gradient_penalty": 0.1})


STEADY_CRITIC = MappingProxyType({"lr": 3e-4, "betas": (0.5, 0.99)})
"""Options of games and of their critics' optimisers, choices of ours: else InfoGAN drew few of the digits."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """Encoders and decoders of one architecture, each with weights of its own.

    Attributes:
        shape: Shape of one observation.
        kind: Name of the architecture. ``"study"``, ``"pytorch_port"`` and ``"burgess"`` take
            images of 64x64, ``"mlp"`` takes observations of any shape. Left out, it is ``"study"``
            for images of 64x64 and ``"mlp"`` for all other observations.
        likelihood: Class of the decoders' distribution.

    Raises:
        ValueError: The kind is unknown, or it does not take observations of this shape.

    Example:
        >>> import torch
        >>> networks = Networks((1, 8, 8))
        >>> networks.encoder(6)(torch.zeros(5, 1, 8, 8)).shape, networks.decoder(3)(torch.zeros(5, 3)).event_shape
        (torch.Size([5, 6]), torch.Size([1, 8, 8]))
    """

    shape: tuple[int, ...]
    kind: str | None = None
    likelihood: type[Conditional] = Bernoulli

    def __post_init__(self) -> None:
        images = len(self.shape) == 3 and self.shape[1:] == (64, 64)
        kind = self.kind or ("study" if images else "mlp")
        if kind not in NETWORKS:
            raise ValueError(f"no network named {kind!r}; there are {', '.join(NETWORKS)}")
        if kind in PAIRS and not images:
            raise ValueError(
                f"network {kind!r} takes images of shape (channels, 64, 64), the data are {self.shape}; use 'mlp'"
            )
        object.__setattr__(self, "kind", kind)

    def encoder(self, outputs: int) -> nn.Module:
        """A network from ``(batch, *shape)`` to ``(batch, outputs)``."""
        if self.kind in PAIRS:
            return PAIRS[self.kind][0](outputs, channels=self.shape[0])
        return mlp_encoder(outputs, shape=self.shape, hidden=self._hidden)

    def decoder(self, inputs: int) -> Conditional:
        """p(x | h) for h of shape ``(batch, inputs)``."""
        return self.likelihood(self._to_observations(inputs))

    def generator(self, inputs: int) -> Deterministic:
        """A point for h of shape ``(batch, inputs)``: what the likelihood's mean would be."""
        net = self._to_observations(inputs)
        return Deterministic(
            net if self.likelihood is GaussianLearnedScale else nn.Sequential(net, nn.Sigmoid())
        )

    def _to_observations(self, inputs: int) -> nn.Module:
        if self.kind in PAIRS:
            return PAIRS[self.kind][1](inputs, channels=self.shape[0])
        activation = nn.Tanh if self._hidden == 1200 else nn.ReLU
        return mlp_decoder(inputs, shape=self.shape, hidden=self._hidden, activation=activation)

    @property
    def _hidden(self) -> int:
        """The 1200 units of the literature, and their tanh, were chosen for 4096 pixels."""
        return 1200 if math.prod(self.shape) >= 1024 else 256
