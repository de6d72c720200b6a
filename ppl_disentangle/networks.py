"""The networks of the literature: plain ``nn.Sequential`` from images to vectors and back.

Convolutions have channels-last memory, which is faster on the CPU, and in bfloat16 on any device.
"""

from __future__ import annotations

import dataclasses
import itertools
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
    """Build the encoder of most PyTorch ports of the 12,600-run study.

    It differs from :func:`study_encoder` in that all kernels are 4x4 and the initial weights are
    PyTorch's. It leaves the plateau at the beginning of training much earlier.
    """
    convolutions = _strided_convolutions((channels, 32, 32, 64, 64))
    dense = _dense((1024, 256, outputs), nn.ReLU)
    return channels_last(nn.Sequential(*convolutions, nn.Flatten(), *dense))


def pytorch_port_decoder(latent_dim: int, *, channels: int = 1) -> nn.Sequential:
    """Build :func:`study_decoder` with PyTorch's initial weights."""
    decoder = study_decoder(latent_dim, channels=channels)
    for module in decoder:
        if isinstance(module, nn.Linear | nn.ConvTranspose2d):
            module.reset_parameters()
    return decoder


def study_encoder(outputs: int, *, channels: int = 1) -> nn.Sequential:
    """Build the encoder of the 12,600-run study [1] for images ``(batch, channels, 64, 64)``.

    Four strided convolutions, two with 32 channels and 4x4 kernels and two with 64 channels and 2x2
    kernels, are followed by 256 units and ``outputs`` linear units. All activations are ReLU.

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
    """Build the decoder of the 12,600-run study [1], to logits ``(batch, channels, 64, 64)``.

    256 and 1024 units are followed by four transposed 4x4 convolutions with 64, 32, 32 and
    ``channels`` channels. All activations are ReLU.

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
    """Build the encoder of [1] for images ``(batch, channels, 64, 64)``.

    Four 4x4 convolutions with 32 channels are followed by twice 256 units.

    References:
        [1] Burgess et al., 2018. https://arxiv.org/abs/1804.03599
    """
    convolutions = _strided_convolutions((channels, 32, 32, 32, 32))
    dense = _dense((512, 256, 256, outputs), nn.ReLU)
    return channels_last(nn.Sequential(*convolutions, nn.Flatten(), *dense))


def burgess_decoder(latent_dim: int, *, channels: int = 1) -> nn.Sequential:
    """Build the decoder of [1], the mirror of its encoder, to logits ``(batch, channels, 64, 64)``.

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
    """Build two layers of ReLU units on flattened observations.

    Args:
        outputs: Number of outputs.
        shape: Shape of one observation.
        hidden: Number of units of a layer; 1200 in [1, 2].

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
    """Build three layers of units from a code to observations.

    Args:
        latent_dim: Number of coordinates of the code.
        shape: Shape of one observation.
        hidden: Number of units of a layer; 1200 in [1, 2].
        activation: Activation of the layers; tanh in [1, 2].

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
        [2] Chen et al., 2018. https://arxiv.org/abs/1802.04942
    """
    widths = (latent_dim, hidden, hidden, hidden, math.prod(shape))
    return nn.Sequential(*_dense(widths, activation), nn.Unflatten(1, tuple(shape)))


class Upsampling(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)``, faster for large images.

    On the CPU, for channels-last memory, it is computed as a 2x2 convolution with four times the
    outputs, one for each pixel of a 2x2 block. The sums are the same, with other indices. Libraries of
    kernels are slow at transposed convolutions with few channels, particularly in the backward pass.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map ``(batch, inputs, rows, columns)`` to ``(batch, outputs, 2 * rows, 2 * columns)``."""
        if x.device.type != "cpu" or not _is_channels_last(x):
            return super().forward(x, output_size)
        bias = None if self.bias is None else self.bias.repeat(4)
        # (batch, rows + 1, columns + 1, 4 * outputs): a block around each corner of the inputs
        blocks = F.conv2d(x, self._corner_kernels(), bias, padding=1).movedim(1, -1)
        blocks = blocks.unflatten(-1, (2, 2, self.out_channels))
        # (batch, block row, block column, row, column, outputs) -> (batch, rows, columns, outputs)
        pixels = blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        # the outermost rows and columns of pixels lie outside of the image
        return pixels[:, 1:-1, 1:-1].movedim(-1, 1)

    def _corner_kernels(self) -> Tensor:
        """The kernel as 2x2 kernels ``(4 * outputs, inputs, 2, 2)``, one for each pixel of a block.

        A block of 2x2 output pixels lies around a corner of four inputs. Its upper pixels take row 2 of
        the 4x4 kernel for the inputs above the corner and row 0 for those below; its lower pixels take
        rows 3 and 1. The same holds for columns.
        """
        # (inputs, outputs, input row, pixel row, input column, pixel column)
        halves = self.weight.unflatten(2, (2, 2)).unflatten(4, (2, 2)).flip(2, 4)
        # (pixel row, pixel column, outputs, inputs, input row, input column)
        return halves.permute(3, 5, 1, 0, 2, 4).flatten(0, 2)


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def channels_last(net: nn.Sequential) -> nn.Sequential:
    """Give the convolutions of a network channels-last memory, and return the network."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def tensorflow_init(net: nn.Sequential) -> nn.Sequential:
    """Give a network the initial weights of TensorFlow's layers, and return the network.

    Weights are Glorot uniform and biases are zero, as in the 12,600-run study.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def _strided_convolutions(widths: Sequence[int]) -> list[nn.Module]:
    """4x4 convolutions with ReLU, each of which halves the image; from ``widths[0]`` channels on."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
    return layers


def _dense(widths: Sequence[int], activation: type[nn.Module]) -> list[nn.Module]:
    """Linear layers with activations between them, from ``widths[0]`` inputs on."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return layers[:-1]


PAIRS = {
    "study": (study_encoder, study_decoder),
    "pytorch_port": (pytorch_port_encoder, pytorch_port_decoder),
    "burgess": (burgess_encoder, burgess_decoder),
}
"""Encoders and decoders of images of 64x64, by name."""

NETWORKS = (*PAIRS, "mlp")

STEADY_GAME = MappingProxyType({"gradient_penalty": 0.1})
"""Options of adversarial objectives. Without the penalty, InfoGAN generated only some of the digits."""

STEADY_CRITIC = MappingProxyType({"lr": 3e-4, "betas": (0.5, 0.99)})
"""Options of the critics' Adam optimisers, chosen with :data:`STEADY_GAME`; not from a paper."""

WIDE_HIDDEN_UNITS = 1200
NARROW_HIDDEN_UNITS = 256
NUM_PIXELS_OF_WIDE_MLP = 1024


@dataclasses.dataclass(frozen=True)
class Networks:
    """Make encoders and decoders of one architecture, each with its own weights.

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
        >>> networks.encoder(6)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 6])
        >>> networks.decoder(3)(torch.zeros(5, 3)).event_shape
        torch.Size([1, 8, 8])
    """

    shape: tuple[int, ...]
    kind: str | None = None
    likelihood: type[Conditional] = Bernoulli

    def __post_init__(self) -> None:
        are_images = len(self.shape) == 3 and self.shape[1:] == (64, 64)
        kind = self.kind or ("study" if are_images else "mlp")
        if kind not in NETWORKS:
            raise ValueError(f"no network named {kind!r}; there are {', '.join(NETWORKS)}")
        if kind in PAIRS and not are_images:
            raise ValueError(
                f"network {kind!r} takes images of shape (channels, 64, 64), the data are"
                f" {self.shape}; use 'mlp'"
            )
        object.__setattr__(self, "kind", kind)

    def encoder(self, outputs: int) -> nn.Module:
        """Make a network from ``(batch, *shape)`` to ``(batch, outputs)``."""
        if self.kind in PAIRS:
            encoder, _ = PAIRS[self.kind]
            return encoder(outputs, channels=self.shape[0])
        return mlp_encoder(outputs, shape=self.shape, hidden=self._hidden)

    def decoder(self, inputs: int) -> Conditional:
        """Make p(x | h) for h of shape ``(batch, inputs)``."""
        return self.likelihood(self._to_observations(inputs))

    def generator(self, inputs: int) -> Deterministic:
        """Make a generator from h of shape ``(batch, inputs)`` to points x.

        Its points are in [0, 1], except for a Gaussian likelihood, whose mean is any real number.
        """
        net = self._to_observations(inputs)
        if self.likelihood is GaussianLearnedScale:
            return Deterministic(net)
        return Deterministic(nn.Sequential(net, nn.Sigmoid()))

    def _to_observations(self, inputs: int) -> nn.Module:
        if self.kind in PAIRS:
            _, decoder = PAIRS[self.kind]
            return decoder(inputs, channels=self.shape[0])
        activation = nn.Tanh if self._hidden == WIDE_HIDDEN_UNITS else nn.ReLU
        return mlp_decoder(inputs, shape=self.shape, hidden=self._hidden, activation=activation)

    @property
    def _hidden(self) -> int:
        """The units of a layer. The literature chose its 1200 tanh units for 4096 pixels."""
        is_wide = math.prod(self.shape) >= NUM_PIXELS_OF_WIDE_MLP
        return WIDE_HIDDEN_UNITS if is_wide else NARROW_HIDDEN_UNITS
