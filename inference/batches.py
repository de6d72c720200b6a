"""Minibatches as a function of the step: shuffled epochs of fixed batch size, indexed on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_disentangle.data import FactorDataset

__all__ = ["Batches"]


class Batches:
    """``batches(step)`` is the float batch of that step, for whoever asks and whenever.

    Each epoch visits every datum at most once in an order that depends on ``seed`` and the epoch alone; data that
    do not fill a last batch wait for another epoch, so that shapes are static. Data stay as they are stored (uint8)
    until they are on the device.
    """

    def __init__(self, data: FactorDataset, batch_size: int, *, seed: int, device: torch.device) -> None:
        if batch_size < 1:
            raise ValueError(f"expected batch_size >= 1, got {batch_size}")
        if batch_size > len(data):
            raise ValueError(f"batch_size={batch_size} is more than the {len(data)} data of {data.name!r}")
        self.data, self.seed, self.device = data.to(device), seed, device
        self.batch_size = batch_size
        self.steps_per_epoch = len(data) // self.batch_size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """Float observations of shape ``(batch_size, *observation_shape)``."""
        return self.data.to_float(self.data.observations(self.index(step)))

    def conditions(self, step: int) -> dict[str, Tensor]:
        """What else the story is told of each datum of the batch, by name."""
        return self.data.conditions(self.index(step))

    def index(self, step: int) -> Tensor:
        """Indices of the data of a batch, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed << 32) + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.data), generator=generator).to(self.device)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]
