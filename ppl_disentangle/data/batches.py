"""Batches of float observations in order, with or without the conditions of each datum."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset


def float_batches(
    data: FactorDataset | Tensor, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """Yield the float observations in order, in batches on ``device``."""
    for x, _ in conditioned_batches(data, batch_size, device):
        yield x


def conditioned_batches(
    data: FactorDataset | Tensor, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Yield the float observations in order, in batches on ``device``, with their conditions.

    The conditions are further arguments of model and guide; a tensor of observations has none.
    """
    if isinstance(data, Tensor):
        for x in data.split(batch_size):
            yield in_default_dtype(x.to(device)), {}
        return
    for index in torch.arange(len(data)).split(batch_size):
        given = data.conditions(index)
        conditions = {name: in_default_dtype(value.to(device)) for name, value in given.items()}
        observations = data.observations(index).to(device)
        yield data.to_float(observations), conditions


def in_default_dtype(value: Tensor) -> Tensor:
    """Single precision as double precision where that is torch's default; all else as it is."""
    widens = value.dtype == torch.float32 and torch.get_default_dtype() == torch.float64
    return value.double() if widens else value
