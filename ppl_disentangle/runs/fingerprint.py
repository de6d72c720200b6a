"""A fingerprint of the data of a run, by which a later command notices that they have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_disentangle.data import FactorDataset

__all__ = ["fingerprint", "what_changed"]

MAX_HASHED_VALUES = 1 << 25
"""Observations of up to this number of values are hashed whole."""
NUM_SAMPLED_DATA = 256
"""Data of larger data sets that are hashed, spread evenly."""
BLOCK_DATA = 4096


def fingerprint(data: FactorDataset) -> dict[str, str]:
    """Hashes of the observations and of the factors of a data set.

    Data of up to 32 million values are hashed whole. Of larger data sets, 256 observations are
    hashed, from the first to the last, and the factors of all data up to a million.
    """
    num_values = len(data) * int(np.prod(data.observation_shape))
    sampled = torch.linspace(0, len(data) - 1, NUM_SAMPLED_DATA).long().unique()
    everything = torch.arange(len(data))
    observed = everything if num_values <= MAX_HASHED_VALUES else sampled
    labelled = everything if len(data) <= 1_000_000 else sampled
    factors = repr([(f.name, f.values, f.kind) for f in data.space])
    return {
        "observations": _hash(str(data.maximum), map(data.observations, _blocks(observed))),
        "factors": _hash(factors, map(data.factors, _blocks(labelled))),
    }


def _blocks(index: Tensor) -> Iterator[Tensor]:
    yield from index.split(BLOCK_DATA)


def _hash(text: str, tensors: Iterator[Tensor]) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape[1:])}".encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return digest.hexdigest()


def what_changed(config: Mapping[str, Any], data: FactorDataset) -> list[str]:
    """Say how data differ from the data that a configuration describes; empty if they do not.

    Args:
        config: The part ``data`` of the configuration of a run. Runs of earlier versions, and of data
            sets by name, have no fingerprint: only sizes are compared.
        data: The data that were loaded.
    """
    found = {
        "num_data": len(data),
        "observation_shape": list(data.observation_shape),
        "factors": dict(zip(data.factor_names, data.factor_sizes, strict=True)),
    }
    changes = [
        f"{name.replace('_', ' ')} {config[name]} became {value}"
        for name, value in found.items()
        if name in config and config[name] != value
    ]
    if changes or "fingerprint" not in config:
        return changes
    hashes = fingerprint(data)
    saved = config["fingerprint"]
    return [f"the {part} have other values" for part in saved if saved[part] != hashes[part]]
