"""Codes of stories, encoders and arrays for the same rows, and codes for chance and ceiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.conditions import checked_conditions, rows_of, taken_by
from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.metrics.estimators.arrays import as_array, as_codes
from ppl_disentangle.missing import for_missing
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import codes_of_batch
from ppl_disentangle.story import evaluating

__all__ = ["codes_of", "is_story", "permuted_codes", "perfect_codes"]

EncodeRows = Callable[[Tensor, Mapping[str, Any]], ArrayLike]
"""A function from stored observations and their conditions to codes ``(num, num_codes)``."""

ROWS_PER_CALL = 1024
IDLE_SCALE = 0.02
"""Standard deviation of codes without information, and of the posteriors of a perfect code."""


def codes_of(
    representations: Sequence[Any],
    data: FactorDataset | ArrayLike,
    index: Tensor,
    *,
    progress: bool,
    conditions: Mapping[str, Any],
) -> list[tuple[ndarray, ndarray | None]]:
    """Codes of the rows by every representation, each with the posterior scales if it is a story.

    Each observation is read once, for all encoders together. A story gets those conditions that its
    guide or model takes, of ``conditions`` and of those that the data carry.

    Args:
        representations: Stories, functions from observations to codes, and arrays of codes.
        data: Data set, or factors alone if all representations are arrays.
        index: Indices of the rows to encode.
        progress: Whether to show a progress bar.
        conditions: Conditions of all data by name, ``(num_data, …)``, which win over those that the
            data carry.
    """
    num_data = len(data if isinstance(data, FactorDataset) else as_array(data))
    encoders: dict[int, EncodeRows] = {}
    codes: dict[int, ndarray] = {}
    for position, representation in enumerate(representations):
        if not (is_story(representation) or callable(representation)):
            codes[position] = _rows_of_codes(representation, num_data, index)
        else:
            encoders[position] = _encoder(representation, data)
    if isinstance(data, FactorDataset) and encoders:
        codes |= _encode(encoders, data, index, conditions, progress=progress)
    return [
        _means_and_scales(codes[position]) if is_story(representation) else (codes[position], None)
        for position, representation in enumerate(representations)
    ]


def is_story(representation: Any) -> bool:
    """Whether a representation has a model and a guide."""
    return hasattr(representation, "model") and hasattr(representation, "guide")


def _encoder(representation: Any, data: FactorDataset | ArrayLike) -> EncodeRows:
    """The function from stored observations and their conditions to codes."""
    if not isinstance(data, FactorDataset):
        got = type(representation).__name__
        raise TypeError(
            f"expected codes (num_data, num_codes), since the data are factors alone, got {got};"
            " give data with factors, such as as_dataset(TensorDataset(x, factors))"
        )
    if is_story(representation):
        return _posterior(representation, data)
    return lambda observations, _: representation(observations)


def _posterior(story: Any, data: FactorDataset) -> EncodeRows:
    """The function from observations and conditions to posterior means and scales, side by side."""
    story = for_missing(story_of(story), data)

    def means_and_scales(observations: Tensor, conditions: Mapping[str, Any]) -> Tensor:
        with evaluating(story) as device:
            x = data.to_float(observations.to(device))
            given = checked_conditions(story, x, taken_by(story, conditions))
            codes = codes_of_batch(story, x, given)
        return torch.cat([codes.means.float(), codes.scales.float()], -1)

    return means_and_scales


def _means_and_scales(columns: ndarray) -> tuple[ndarray, ndarray]:
    """The two halves of the columns that a story's encoder returns."""
    means, scales = np.hsplit(columns, 2)
    return means, scales


def _rows_of_codes(codes: ArrayLike, num_data: int, index: Tensor) -> ndarray:
    checked = as_codes(codes)
    if len(checked) != num_data:
        raise ValueError(f"expected codes of all {num_data} data, got {len(checked)} rows")
    return checked[index.numpy()]


def _encode(
    encoders: Mapping[int, EncodeRows],
    data: FactorDataset,
    index: Tensor,
    conditions: Mapping[str, Any],
    *,
    progress: bool,
) -> dict[int, ndarray]:
    """Codes of the rows by every encoder, a batch of observations at a time."""
    from tqdm.auto import tqdm

    batches: dict[int, list[ndarray]] = {position: [] for position in encoders}
    with torch.no_grad():
        for rows in tqdm(index.split(ROWS_PER_CALL), desc="encode", disable=not progress):
            observations = data.observations(rows)
            given = data.conditions(rows) | rows_of(conditions, rows)
            for position, encode in encoders.items():
                batches[position].append(as_array(encode(observations, given)))
    return {position: as_codes(np.concatenate(batch)) for position, batch in batches.items()}


def permuted_codes(
    codes: ndarray, scales: ndarray | None, rng: np.random.Generator
) -> tuple[ndarray, ndarray | None]:
    """The codes, with their scales, after each code was shuffled independently over the data."""
    rows = np.tile(np.arange(len(codes))[:, None], codes.shape[1])
    order = rng.permuted(rows, axis=0)  # (num_data, num_codes): a permutation in each column
    permuted = np.take_along_axis(codes, order, 0)
    return permuted, None if scales is None else np.take_along_axis(scales, order, 0)


def perfect_codes(
    numbers: ndarray, num_codes: int, *, has_scales: bool, rng: np.random.Generator
) -> tuple[ndarray, ndarray | None]:
    """The standardised factors, followed by codes of small noise up to ``num_codes`` codes.

    A factor is the number of a continuous factor, or the class of another.

    With ``has_scales`` the codes have posteriors, all of standard deviation :data:`IDLE_SCALE`.
    """
    factors = (numbers - numbers.mean(0)) / numbers.std(0)
    num_idle = max(num_codes - factors.shape[1], 0)
    idle = rng.normal(0, IDLE_SCALE, (len(factors), num_idle))
    perfect = np.concatenate([factors, idle], 1)
    return perfect, np.full(perfect.shape, IDLE_SCALE) if has_scales else None
