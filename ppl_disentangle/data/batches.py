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
            yield x.to(device), {}
        return
    for index in torch.arange(len(data)).split(batch_size):
        conditions = {name: value.to(device) for name, value in data.conditions(index).items()}
        observations = data.observations(index).to(device)
        yield data.to_float(observations), conditions
