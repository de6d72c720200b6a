"""Networks of signals and sequences: 1-d convolutions, and recurrent networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = [
    "MIN_SIGNAL_LENGTH",
    "SequenceDecoder",
    "SequenceEncoder",
    "signal_decoder",
    "signal_encoder",
]

MIN_SIGNAL_LENGTH = 8
"""Length of the shortest signal that a convolutional network takes."""

_SHORTEST = 4
"""Halvings end at a length below twice this."""
_FIRST_WIDTH = 32
_WIDTH = 64
_HIDDEN_UNITS = 256
_RECURRENT_UNITS = 64


def signal_encoder(outputs: int, *, shape: Sequence[int]) -> nn.Sequential:
    """Build 1-d convolutions with ReLU, each of which halves the length, and 256 units.

    Args:
        outputs: Number of outputs.
        shape: Shape ``(channels, time)`` of one signal, of 8 points in time or more.
    """
    channels, length = shape
    lengths = _lengths(length)
    layers: list[nn.Module] = []
    inputs = channels
    for k in range(len(lengths) - 1):
        layers += [nn.Conv1d(inputs, _width(k), 4, 2, 1), nn.ReLU()]
        inputs = _width(k)
    flat = inputs * lengths[-1]
    layers += [nn.Flatten(), nn.Linear(flat, _HIDDEN_UNITS), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(_HIDDEN_UNITS, outputs))


def signal_decoder(latent_dim: int, *, shape: Sequence[int]) -> nn.Sequential:
    """Build the mirror of :func:`signal_encoder`, to signals ``(batch, channels, time)``.

    Args:
        latent_dim: Number of coordinates of the code.
        shape: Shape ``(channels, time)`` of one signal, of 8 points in time or more.
    """
    channels, length = shape
    lengths = _lengths(length)
    inputs = _width(len(lengths) - 2)
    layers: list[nn.Module] = [
        *(nn.Linear(latent_dim, _HIDDEN_UNITS), nn.ReLU()),
        *(nn.Linear(_HIDDEN_UNITS, inputs * lengths[-1]), nn.ReLU()),
        nn.Unflatten(1, (inputs, lengths[-1])),
    ]
    for k in reversed(range(len(lengths) - 1)):
        outputs = _width(k - 1) if k else channels
        odd = lengths[k] % 2  # a halving drops the last point of an odd length
        layers += [nn.ConvTranspose1d(inputs, outputs, 4, 2, 1, output_padding=odd), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers[:-1])


def _lengths(length: int) -> list[int]:
    """Length of a signal before and after each halving."""
    if length < MIN_SIGNAL_LENGTH:
        raise ValueError(
            f"expected signals of {MIN_SIGNAL_LENGTH} points in time or more, got {length}; use 'mlp'"
        )
    lengths = [length]
    while lengths[-1] >= 2 * _SHORTEST:
        lengths.append(lengths[-1] // 2)
    return lengths


def _width(k: int) -> int:
    """Number of channels after halving k."""
    return _FIRST_WIDTH if k < 2 else _WIDTH


class SequenceEncoder(nn.Module):
    """A recurrent network that reads a sequence in both directions, with linear units on its end states.

    Args:
        outputs: Number of outputs.
        shape: Shape ``(time, features)`` of one sequence.

    References:
        [1] Cho et al., 2014. https://arxiv.org/abs/1406.1078
    """

    def __init__(self, outputs: int, *, shape: Sequence[int]) -> None:
        super().__init__()
        _, features = shape
        self.reader = nn.GRU(features, _RECURRENT_UNITS, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * _RECURRENT_UNITS, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map sequences ``(batch, time, features)`` to ``(batch, outputs)``."""
        _, last = self.reader(x)  # (directions, batch, units)
        return self.head(torch.cat([last[0], last[1]], -1))


class SequenceDecoder(nn.Module):
    """A recurrent network that writes a sequence from a code, which it gets at each step.

    Args:
        latent_dim: Number of coordinates of the code.
        shape: Shape ``(time, features)`` of the outputs. Several parameters of each element are
            stacked along time, as :class:`~ppl_disentangle.conditionals.Conditional` has them.
        num_parameters: Number of outputs for each element of an observation.

    References:
        [1] Bowman et al., 2016. https://arxiv.org/abs/1511.06349
    """

    def __init__(self, latent_dim: int, *, shape: Sequence[int], num_parameters: int = 1) -> None:
        super().__init__()
        self.length, features = shape
        self.num_parameters = num_parameters
        self.first = nn.Linear(latent_dim, _RECURRENT_UNITS)
        self.writer = nn.GRU(latent_dim, _RECURRENT_UNITS, batch_first=True)
        self.head = nn.Linear(_RECURRENT_UNITS, num_parameters * features)

    def forward(self, z: Tensor) -> Tensor:
        """Map codes ``(batch, latent_dim)`` to ``(batch, num_parameters * time, features)``."""
        inputs = z[:, None].expand(-1, self.length, -1)
        states, _ = self.writer(inputs.contiguous(), torch.tanh(self.first(z))[None].contiguous())
        parameters = self.head(states).chunk(self.num_parameters, -1)
        return torch.cat(parameters, 1)
