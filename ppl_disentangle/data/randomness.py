"""Draws for data sets: generators from seeds, and bytes that depend on a seed and an index alone."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_generator", "random_bytes", "uniform_index"]

_GOLDEN, _MIX1, _MIX2 = (
    c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def as_generator(seed: int | torch.Generator) -> torch.Generator:
    """A new generator of the seed, or the generator itself, which then moves on."""
    return seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)


def uniform_index(size: int | Tensor, num: int, generator: torch.Generator) -> Tensor:
    """``num`` independent uniform integers below ``size``, int64; ``size`` may be one for each, 0 counting as 1."""
    if isinstance(size, int):
        return torch.randint(size, (num,), generator=generator)
    uniform = torch.rand(num, generator=generator, dtype=torch.float64)
    return (uniform * size).long().minimum(size - 1).clamp(min=0)


def random_bytes(seed: int, index: Tensor, num: int) -> Tensor:
    """Uniform bytes, a function of seed, index and position: uint8 of shape ``(len(index), num)``.

    A counter takes the place of a state, hence a datum has the same bytes alone, in any batch and on any device. Words
    of 4 bytes are the position, hashed, exclusive-or the hashed seed and index, and hashed again; the hashes are the
    finalisers of SplitMix64 [1] and of MurmurHash3.

    References:
        [1] Steele et al., 2014. Fast splittable pseudorandom number generators.
        https://doi.org/10.1145/2660193.2660195
    """
    key = _mix64(_mix64(index + 1) + seed * _GOLDEN % (1 << 62)).to(torch.int32)
    position = torch.arange(-(-num // 4), dtype=torch.int32, device=index.device)
    words = _mix32_(_mix32_(position + 1) ^ key[:, None])  # (batch, words)
    return words.view(torch.uint8)[:, :num]


def _mix64(z: Tensor) -> Tensor:
    z = z * _GOLDEN
    z = (z ^ (z >> 30 & 0x3FFFFFFFF)) * _MIX1
    z = (z ^ (z >> 27 & 0x1FFFFFFFFF)) * _MIX2
    return z ^ (z >> 31 & 0x1FFFFFFFF)


def _mix32_(x: Tensor) -> Tensor:
    x.bitwise_xor_(x >> 16 & 0xFFFF).mul_(0x85EBCA6B - (1 << 32))
    x.bitwise_xor_(x >> 13 & 0x7FFFF).mul_(0xC2B2AE35 - (1 << 32))
    return x.bitwise_xor_(x >> 16 & 0xFFFF)
