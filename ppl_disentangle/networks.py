"""The networks of the literature: plain ``nn.Sequential`` from images to vectors and back.

Convolutions have channels-last memory, which is faster on the CPU, and in bfloat16 on any device.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl_disentangle.columns import Column
from ppl_disentangle.conditionals import (
    Bernoulli,
    Conditional,
    Deterministic,
    GaussianLearnedScale,
    NegativeBinomial,
    Poisson,
    Row,
    StudentT,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
    num_row_outputs,
)
from ppl_disentangle.data.base import Kind
from ppl_disentangle.networks_1d import (
    MIN_SIGNAL_LENGTH,
    SequenceDecoder,
    SequenceEncoder,
    signal_decoder,
    signal_encoder,
)
from ppl_disentangle.networks_rows import CountInput, RowInput, RowPoints, num_row_inputs

__all__ = [
    "NETWORKS",
    "STEADY_CRITIC",
    "STEADY_GAME",
    "Networks",
    "ObservedInput",
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

IMAGE_SIZE = (64, 64)
"""Height and width of the images of the literature."""
MIN_IMAGE_SIZE = 8
"""Smallest height and width that a convolutional network takes, and that a layer of it halves."""
MAX_SIZE_OF_TINY_IMAGES = 16
"""Images up to this height and width get the MLP by default."""


def pytorch_port_encoder(
    outputs: int, *, channels: int = 1, size: tuple[int, int] = IMAGE_SIZE
) -> nn.Sequential:
    """Build the encoder of most PyTorch ports of the 12,600-run study.

    It differs from :func:`study_encoder` in that all kernels are 4x4 and the initial weights are
    PyTorch's. It leaves the plateau at the beginning of training much earlier.

    Args:
        outputs: Number of outputs.
        channels: Channels of an image.
        size: Height and width of an image, each at least 8 pixels.
    """
    halvings = _halvings(size)
    widths = _study_widths(len(halvings))
    convolutions = _downwards(halvings, (channels, *widths))
    dense = _dense((_num_features(halvings, widths), 256, outputs), nn.ReLU)
    return channels_last(nn.Sequential(*convolutions, nn.Flatten(), *dense))


def pytorch_port_decoder(
    latent_dim: int, *, channels: int = 1, size: tuple[int, int] = IMAGE_SIZE
) -> nn.Sequential:
    """Build :func:`study_decoder` with PyTorch's initial weights."""
    decoder = study_decoder(latent_dim, channels=channels, size=size)
    for module in decoder:
        if isinstance(module, nn.Linear | nn.ConvTranspose2d):
            module.reset_parameters()
    return decoder


def study_encoder(
    outputs: int, *, channels: int = 1, size: tuple[int, int] = IMAGE_SIZE
) -> nn.Sequential:
    """Build the encoder of the 12,600-run study [1] for images ``(batch, channels, *size)``.

    Images of 64x64, the size of the study, have four strided convolutions, two with 32 channels and
    4x4 kernels and two with 64 channels and 2x2 kernels. 256 units and ``outputs`` linear units
    follow. All activations are ReLU. Larger images have further convolutions with 64 channels and
    smaller images fewer, so that the last grid has 4 to 7 rows and columns.

    Args:
        outputs: Number of outputs.
        channels: Channels of an image.
        size: Height and width of an image, each at least 8 pixels.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359

    Example:
        >>> study_encoder(20, channels=3, size=(96, 128))(torch.zeros(5, 3, 96, 128)).shape
        torch.Size([5, 20])
    """
    halvings = _halvings(size)
    widths = _study_widths(len(halvings))
    convolutions = _downwards(halvings, (channels, *widths), num_wide_kernels=2)
    dense = _dense((_num_features(halvings, widths), 256, outputs), nn.ReLU)
    return channels_last(tensorflow_init(nn.Sequential(*convolutions, nn.Flatten(), *dense)))


def study_decoder(
    latent_dim: int, *, channels: int = 1, size: tuple[int, int] = IMAGE_SIZE
) -> nn.Sequential:
    """Build the decoder of the 12,600-run study [1], to logits ``(batch, channels, *size)``.

    For images of 64x64, the size of the study, 256 and 1024 units are followed by four transposed
    4x4 convolutions with 64, 32, 32 and ``channels`` channels. All activations are ReLU. For other
    sizes, the decoder goes through the grids of :func:`study_encoder` in reverse.

    Args:
        latent_dim: Number of coordinates of the code.
        channels: Channels of an image.
        size: Height and width of an image, each at least 8 pixels.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359
    """
    halvings = _halvings(size)
    widths = _study_widths(len(halvings))
    net = nn.Sequential(
        *_dense((latent_dim, 256, _num_features(halvings, widths)), nn.ReLU),
        *(nn.ReLU(), nn.Unflatten(1, (widths[-1], *halvings[-1].after))),
        *_upwards(halvings, (channels, *widths)),
    )
    return channels_last(tensorflow_init(net))


def burgess_encoder(
    outputs: int, *, channels: int = 1, size: tuple[int, int] = IMAGE_SIZE
) -> nn.Sequential:
    """Build the encoder of [1] for images ``(batch, channels, *size)``.

    Images of 64x64, the size of the paper, have four 4x4 convolutions with 32 channels. Larger
    images have more of them and smaller images fewer. Twice 256 units follow.

    Args:
        outputs: Number of outputs.
        channels: Channels of an image.
        size: Height and width of an image, each at least 8 pixels.

    References:
        [1] Burgess et al., 2018. https://arxiv.org/abs/1804.03599
    """
    halvings = _halvings(size)
    widths = [32] * len(halvings)
    convolutions = _downwards(halvings, (channels, *widths))
    dense = _dense((_num_features(halvings, widths), 256, 256, outputs), nn.ReLU)
    return channels_last(nn.Sequential(*convolutions, nn.Flatten(), *dense))


def burgess_decoder(
    latent_dim: int, *, channels: int = 1, size: tuple[int, int] = IMAGE_SIZE
) -> nn.Sequential:
    """Build the decoder of [1], the mirror of its encoder, to logits ``(batch, channels, *size)``.

    Args:
        latent_dim: Number of coordinates of the code.
        channels: Channels of an image.
        size: Height and width of an image, each at least 8 pixels.

    References:
        [1] Burgess et al., 2018. https://arxiv.org/abs/1804.03599
    """
    halvings = _halvings(size)
    widths = [32] * len(halvings)
    net = nn.Sequential(
        *_dense((latent_dim, 256, 256, _num_features(halvings, widths)), nn.ReLU),
        *(nn.ReLU(), nn.Unflatten(1, (widths[-1], *halvings[-1].after))),
        *_upwards(halvings, (channels, *widths)),
    )
    return channels_last(net)


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


class ObservedInput(nn.Module):
    """The input of a network that reads observations with missing values, which are NaN.

    Zeros stand for missing values. Further channels, or features, say which values are observed.

    Args:
        dim: Dimension of the channels or features.

    Example:
        >>> ObservedInput()(torch.tensor([[2.0, float("nan")]]))
        tensor([[2., 0., 1., 0.]])
    """

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map observations ``(batch, *shape)`` to twice the channels."""
        observed = ~x.isnan()
        return torch.cat([x.nan_to_num(0.0), observed.to(x.dtype)], self.dim)


class Upsampling(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)``, faster for large images.

    On the CPU, for channels-last memory, it is computed as a 2x2 convolution with four times the
    outputs, one for each pixel of a 2x2 block. The sums are the same, with other indices. Libraries of
    kernels are slow at transposed convolutions with few channels, particularly in the backward pass.

    Args:
        inputs: Channels of the inputs.
        outputs: Channels of the outputs.
        output_padding: 1 for an odd number of rows and of columns of the outputs, else 0.
    """

    def __init__(
        self, inputs: int, outputs: int, *, output_padding: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__(inputs, outputs, 4, 2, 1, output_padding)
        # The first row and column of pixels lie outside of the image, and the last ones of even sizes.
        ends = [None if is_odd else -1 for is_odd in output_padding]
        self._inside = (slice(None), *(slice(1, end) for end in ends))

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map ``(batch, inputs, rows, columns)`` to ``(batch, outputs, 2 * rows, 2 * columns)``.

        Odd outputs have one row or column more.
        """
        if x.device.type != "cpu" or not _is_channels_last(x):
            return super().forward(x, output_size)
        bias = None if self.bias is None else self.bias.repeat(4)
        # (batch, rows + 1, columns + 1, 4 * outputs): a block around each corner of the inputs
        blocks = F.conv2d(x, self._corner_kernels(), bias, padding=1).movedim(1, -1)
        blocks = blocks.unflatten(-1, (2, 2, self.out_channels))
        # (batch, block row, block column, row, column, outputs) -> (batch, rows, columns, outputs)
        pixels = blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return pixels[self._inside].movedim(-1, 1)

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


class _Halving(NamedTuple):
    """Sizes of the grid before and after a strided convolution; small axes keep their size."""

    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def strides(self) -> tuple[int, int]:
        """2 for an axis that is halved, 1 for an axis that is small already."""
        rows, columns = (2 if small < large else 1 for large, small in zip(*self, strict=True))
        return rows, columns

    @property
    def odd(self) -> tuple[int, int]:
        """1 for an axis of odd size that is halved, else 0."""
        rows, columns = (
            size % 2 if stride == 2 else 0
            for size, stride in zip(self.before, self.strides, strict=True)
        )
        return rows, columns


def _halvings(size: tuple[int, int]) -> list[_Halving]:
    """The steps from an image to a grid of 4 to 7 rows and columns. An odd size is rounded down."""
    halvings: list[_Halving] = []
    while max(size) >= MIN_IMAGE_SIZE:
        rows, columns = (n // 2 if n >= MIN_IMAGE_SIZE else n for n in size)
        halvings.append(_Halving(size, (rows, columns)))
        size = (rows, columns)
    return halvings


def _study_widths(num_layers: int) -> list[int]:
    """Channels of the study's convolutions: twice 32, then 64; fewer layers keep the last 64."""
    num_narrow = min(2, num_layers - 1)
    return [32] * num_narrow + [64] * (num_layers - num_narrow)


def _num_features(halvings: Sequence[_Halving], widths: Sequence[int]) -> int:
    return widths[-1] * math.prod(halvings[-1].after)


def _downwards(
    halvings: Sequence[_Halving], widths: Sequence[int], *, num_wide_kernels: int | None = None
) -> list[nn.Module]:
    """Strided convolutions with ReLU from images to the last grid.

    Args:
        halvings: Sizes of the grids.
        widths: Channels of the image and after each convolution.
        num_wide_kernels: Number of first layers with 4x4 kernels; by default all. Later layers have
            2x2 kernels, which are 3 wide along an odd axis, so that they read its last pixel too.
    """
    layers: list[nn.Module] = []
    for k, halving in enumerate(halvings):
        is_wide = num_wide_kernels is None or k < num_wide_kernels
        layers += [_downward(halving, widths[k], widths[k + 1], is_wide=is_wide), nn.ReLU()]
    return layers


def _downward(halving: _Halving, inputs: int, outputs: int, *, is_wide: bool) -> nn.Module:
    """The strided convolution of a halving, with a 4x4 or a 2x2 kernel; small axes keep their size."""
    kernel = []
    padding = []
    for stride, is_odd in zip(halving.strides, halving.odd, strict=True):
        if stride == 2:
            kernel.append(4 if is_wide else 2 + is_odd)
            padding.append(1 if is_wide else 0)
        else:
            kernel.append(3)
            padding.append(1)
    rows, columns = kernel
    row_padding, column_padding = padding
    return nn.Conv2d(
        inputs, outputs, (rows, columns), halving.strides, (row_padding, column_padding)
    )


def _upwards(halvings: Sequence[_Halving], widths: Sequence[int]) -> list[nn.Module]:
    """Transposed 4x4 convolutions with ReLU between them, from the last grid to images.

    Args:
        halvings: Sizes of the grids, from the image on.
        widths: Channels of the image and after each convolution of the encoder.
    """
    layers: list[nn.Module] = []
    for k in reversed(range(len(halvings))):
        layers += [_upward(halvings[k], widths[k + 1], widths[k], is_large=k < 2), nn.ReLU()]
    return layers[:-1]


def _upward(halving: _Halving, inputs: int, outputs: int, *, is_large: bool) -> nn.Module:
    """The transposed convolution that undoes a halving; small axes keep their size."""
    if is_large and halving.strides == (2, 2):
        return Upsampling(inputs, outputs, output_padding=halving.odd)
    rows, columns = (4 if stride == 2 else 3 for stride in halving.strides)
    return nn.ConvTranspose2d(
        inputs, outputs, (rows, columns), halving.strides, 1, output_padding=halving.odd
    )


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
"""Convolutional encoders and decoders of images, by name."""

ONE_DIMENSIONAL: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "conv1d": (signal_encoder, signal_decoder),
    "gru": (SequenceEncoder, SequenceDecoder),
}
"""Encoders and decoders of signals and sequences, by name."""

NETWORKS = (*PAIRS, "conv1d", "gru", "mlp")

COUNTS = (Poisson, NegativeBinomial, ZeroInflatedPoisson, ZeroInflatedNegativeBinomial)
"""Likelihoods of counts, which encoders read as logarithms."""

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
        kind: Name of the architecture. ``"study"``, ``"pytorch_port"`` and ``"burgess"`` are
            convolutional and take images ``(channels, height, width)`` of 8x8 and more;
            ``"conv1d"`` takes signals ``(channels, time)`` of 8 points in time and more, ``"gru"``
            sequences ``(time, features)``, and ``"mlp"`` observations of any shape. Left out, it is
            ``"study"`` for images, ``"conv1d"`` for signals, ``"gru"`` for sequences and ``"mlp"``
            for all other observations. Images of 16x16 and less get ``"mlp"`` too: two layers of
            units see every pair of their pixels, where a convolution halves once.
        likelihood: Class of the decoders' distribution.
        observations: Kind of the observations; by default images if they have three dims, else
            vectors.
        columns: The columns of a table; each has its own likelihood, and ``likelihood`` is not
            used. Empty for other observations.
        has_missing: Whether observations have missing values, which are NaN. Encoders then also
            read which elements are observed.

    Raises:
        ValueError: The kind is unknown, or it does not take observations of this shape.

    Example:
        >>> import torch
        >>> networks = Networks((1, 8, 8))
        >>> networks.encoder(6)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 6])
        >>> networks.decoder(3)(torch.zeros(5, 3)).event_shape
        torch.Size([1, 8, 8])
        >>> Networks((1, 8, 8)).kind, Networks((3, 96, 128)).kind
        ('mlp', 'study')
    """

    shape: tuple[int, ...]
    kind: str | None = None
    likelihood: type[Conditional] = Bernoulli
    observations: Kind | None = None
    columns: tuple[Column, ...] = ()
    has_missing: bool = False

    def __post_init__(self) -> None:
        kind = self.kind or self._default_kind()
        if kind not in NETWORKS:
            raise ValueError(f"no network named {kind!r}; there are {', '.join(NETWORKS)}")
        if kind in PAIRS and not self._are_images:
            raise ValueError(
                f"network {kind!r} takes images of shape (channels, height, width) of"
                f" {MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE} pixels or more, the data are {self.shape};"
                " use 'mlp'"
            )
        if kind in ONE_DIMENSIONAL and len(self.shape) != 2:
            layout = (
                "signals (channels, time)" if kind == "conv1d" else "sequences (time, features)"
            )
            raise ValueError(
                f"network {kind!r} takes {layout}, the data are {self.shape}; use 'mlp'"
            )
        object.__setattr__(self, "kind", kind)

    def _default_kind(self) -> str:
        if self.observations == "signal":
            return "conv1d" if self.shape[-1] >= MIN_SIGNAL_LENGTH else "mlp"
        if self.observations == "sequence":
            return "gru"
        is_tiny = max(self.shape[1:], default=0) <= MAX_SIZE_OF_TINY_IMAGES
        return "study" if self._are_images and not is_tiny else "mlp"

    @property
    def _are_images(self) -> bool:
        """Whether observations are images that a convolutional network takes."""
        return len(self.shape) == 3 and min(self.shape[1:]) >= MIN_IMAGE_SIZE

    def encoder(self, outputs: int) -> nn.Module:
        """Make a network from ``(batch, *shape)`` to ``(batch, outputs)``."""
        first, shape = self._input()
        net = self._from_inputs(outputs, shape)
        if not first:
            return net
        layers = [*net] if type(net) is nn.Sequential else [net]
        return nn.Sequential(*first, *layers)

    def _input(self) -> tuple[list[nn.Module], tuple[int, ...]]:
        """Layers that prepare observations for an encoder, and the shape of their output."""
        if self.columns:
            size = num_row_inputs(self.columns, has_missing=self.has_missing)
            return [RowInput(self.columns, has_missing=self.has_missing)], (size,)
        first: list[nn.Module] = [CountInput()] if self.likelihood in COUNTS else []
        if not self.has_missing:
            return first, self.shape
        if self.observations == "sequence":
            return [*first, ObservedInput(-1)], (*self.shape[:-1], 2 * self.shape[-1])
        return [*first, ObservedInput()], (2 * self.shape[0], *self.shape[1:])

    def _from_inputs(self, outputs: int, shape: tuple[int, ...]) -> nn.Module:
        if self.kind in PAIRS:
            encoder, _ = PAIRS[self.kind]
            channels, height, width = shape
            return encoder(outputs, channels=channels, size=(height, width))
        if self.kind in ONE_DIMENSIONAL:
            encoder_1d, _ = ONE_DIMENSIONAL[self.kind]
            return encoder_1d(outputs, shape=shape)
        return mlp_encoder(outputs, shape=shape, hidden=self._hidden)

    def decoder(self, inputs: int) -> Conditional:
        """Make p(x | h) for h of shape ``(batch, inputs)``."""
        if self.columns:
            net = self._to_observations(inputs, (num_row_outputs(self.columns),))
            return Row(net, self.columns)
        first, *others = self.shape
        outputs = (self.likelihood.num_parameters * first, *others)
        return self.likelihood(self._to_observations(inputs, outputs))

    def observed_through(self, net: nn.Module) -> Conditional:
        """Make p(x | h) of a network that returns one number for each element of x, in order.

        Raises:
            ValueError: The likelihood needs other numbers.
        """
        likelihoods = {column.likelihood for column in self.columns}
        if not self.columns and self.likelihood.num_parameters == 1:
            return self.likelihood(net)
        if len(likelihoods) == 1 and num_row_outputs(self.columns) == len(self.columns):
            return Row(net, self.columns)
        names = ", ".join(sorted(map(str, likelihoods))) or self.likelihood.__name__
        raise ValueError(
            "this story needs a likelihood with one number for each element, the same for all"
            f" columns; the data have {names}"
        )

    def generator(self, inputs: int) -> Deterministic:
        """Make a generator from h of shape ``(batch, inputs)`` to points x.

        Its points are in the range of the likelihood: in [0, 1], any real number for a Gaussian or
        Student-t likelihood, and positive for counts.
        """
        net = self._to_observations(inputs, self.shape)
        if self.columns:
            return Deterministic(nn.Sequential(net, RowPoints(self.columns)))
        if self.likelihood in (GaussianLearnedScale, StudentT):
            return Deterministic(net)
        last = nn.Softplus() if self.likelihood in COUNTS else nn.Sigmoid()
        return Deterministic(nn.Sequential(net, last))

    def _to_observations(self, inputs: int, shape: tuple[int, ...]) -> nn.Module:
        if self.kind in PAIRS:
            _, decoder = PAIRS[self.kind]
            channels, height, width = shape
            return decoder(inputs, channels=channels, size=(height, width))
        if self.kind in ONE_DIMENSIONAL:
            _, decoder_1d = ONE_DIMENSIONAL[self.kind]
            return decoder_1d(inputs, shape=shape)
        activation = nn.Tanh if self._hidden == WIDE_HIDDEN_UNITS else nn.ReLU
        return mlp_decoder(inputs, shape=shape, hidden=self._hidden, activation=activation)

    @property
    def _hidden(self) -> int:
        """The units of a layer. The literature chose its 1200 tanh units for 4096 pixels."""
        is_wide = math.prod(self.shape) >= NUM_PIXELS_OF_WIDE_MLP
        return WIDE_HIDDEN_UNITS if is_wide else NARROW_HIDDEN_UNITS
