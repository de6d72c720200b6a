"""Sequences of different lengths as one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.arrays import from_arrays
from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.conditioned import ConditionedDataset
from ppl_disentangle.data.observations import as_tensor

__all__ = ["from_sequences"]


def from_sequences(
    sequences: Sequence[Any],
    factors: Any | Mapping[str, Any] | None = None,
    *,
    lengths: str | None = None,
    factor_names: Sequence[str] | None = None,
    name: str = "sequences",
) -> FactorDataset:
    """Sequences of different lengths, padded with NaN to the longest.

    NaN stands for missing values: the likelihood does not count the padding, and an encoder reads
    zeros there. A model that handles the lengths itself takes them as a condition.

    Args:
        sequences: Tensors or arrays of shape ``(time, features)`` or ``(time,)``, each with its own
            time.
        factors: Factors of each sequence; see :func:`~ppl_disentangle.data.from_arrays`.
        lengths: Name of the argument of model and guide that takes the lengths, int64
            ``(batch,)``, such as ``"lengths"``; by default no argument takes them.
        factor_names: Names of the columns of ``factors``.
        name: Short name for tables and run folders.

    Raises:
        ValueError: There are no sequences, one is empty, or their features differ in number.

    Example:
        >>> data = from_sequences([torch.ones(2, 1), torch.ones(3, 1)], lengths="lengths")
        >>> data.observations([0]).flatten(), data.conditions([0, 1])["lengths"]
        (tensor([1., 1., nan]), tensor([2, 3]))
    """
    parts = [_checked(as_tensor(sequence), i) for i, sequence in enumerate(sequences)]
    if not parts:
        raise ValueError("expected at least one sequence, got none")
    num_features = parts[0].shape[1]
    for i, part in enumerate(parts):
        if part.shape[1] != num_features:
            got = f"{part.shape[1]} in sequence {i}"
            raise ValueError(f"expected {num_features} features in each sequence, got {got}")
    padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=torch.nan)
    data = from_arrays(padded, factors, factor_names=factor_names, kind="sequence", name=name)
    if lengths is None:
        return data
    return ConditionedDataset(data, {lengths: torch.tensor([len(part) for part in parts])})


def _checked(sequence: Tensor, i: int) -> Tensor:
    """A sequence as floats ``(time, features)``."""
    if sequence.dim() not in (1, 2) or not sequence.numel():
        got = f"{tuple(sequence.shape)} in sequence {i}"
        raise ValueError(f"expected sequences (time, features) or (time,), got {got}")
    columns = sequence if sequence.dim() == 2 else sequence[:, None]
    return columns if columns.is_floating_point() else columns.float()
