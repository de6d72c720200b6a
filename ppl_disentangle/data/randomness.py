"""Random numbers for data sets: generators from seeds, and bytes by seed and index alone."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_generator", "random_bytes", "uniform_index"]

# Constants of SplitMix64 and of MurmurHash3, as signed integers: torch has no unsigned arithmetic.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX64_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX64_SECOND = 0x94D049BB133111EB - (1 << 64)
_MIX32_FIRST = 0x85EBCA6B - (1 << 32)
_MIX32_SECOND = 0xC2B2AE35 - (1 << 32)


def as_generator(seed: int | torch.Generator) -> torch.Generator:
    """A new generator with the given seed; a generator is returned unchanged."""
    return seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)


def uniform_index(size: int | Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Independent uniform integers from 0 to ``size - 1``, int64 of shape ``(num,)``.

    Args:
        size: Number of possible values, or a tensor with the number for each draw; 0 counts as 1.
        num: Number of draws.
        generator: Generator of the random draws.
    """
    if isinstance(size, int):
        return torch.randint(size, (num,), generator=generator)
    uniform = torch.rand(num, generator=generator, dtype=torch.float64)
    return (uniform * size).long().minimum(size - 1).clamp(min=0)


def random_bytes(seed: int, index: Tensor, num: int) -> Tensor:
    """Uniform bytes, a function of seed, index and position: uint8 of shape ``(len(index), num)``.

    The generator is a counter without state, so a datum has the same bytes alone, in any batch and
    on any device. Each word of 4 bytes is the hashed position, exclusive-or the hashed seed and
    index, hashed again. The hashes are the finalisers of SplitMix64 [1] and of MurmurHash3.

    References:
        [1] Steele et al., 2014. Fast splittable pseudorandom number generators.
        https://doi.org/10.1145/2660193.2660195
    """
    key = _mix64(_mix64(index + 1) + seed * _GOLDEN % (1 << 62)).to(torch.int32)
    num_words = -(-num // 4)  # rounded up
    position = torch.arange(num_words, dtype=torch.int32, device=index.device)
    words = _mix32_(_mix32_(position + 1) ^ key[:, None])  # (batch, words)
    return words.view(torch.uint8)[:, :num]


def _mix64(z: Tensor) -> Tensor:
    """Finaliser of SplitMix64. The masks turn the arithmetic shifts of torch into logical ones."""
    z = z * _GOLDEN
    z = (z ^ (z >> 30 & 0x3FFFFFFFF)) * _MIX64_FIRST
    z = (z ^ (z >> 27 & 0x1FFFFFFFFF)) * _MIX64_SECOND
    return z ^ (z >> 31 & 0x1FFFFFFFF)


def _mix32_(x: Tensor) -> Tensor:
    """Finaliser of MurmurHash3, in place."""
    x.bitwise_xor_(x >> 16 & 0xFFFF).mul_(_MIX32_FIRST)
    x.bitwise_xor_(x >> 13 & 0x7FFFF).mul_(_MIX32_SECOND)
    return x.bitwise_xor_(x >> 16 & 0xFFFF)
