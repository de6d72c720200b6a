"""Codes of stories, of encoders and of arrays for the same rows, and codes to compare them with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.metrics.estimators.arrays import as_array, as_codes
from ppl_disentangle.metrics.estimators.grid_codes import Encode
from ppl_disentangle.story import story_of

__all__ = ["codes_of", "is_story", "references"]

ROWS_PER_CALL = 1024
IDLE = (
    0.02  # standard deviation of codes that tell nothing, and of the posteriors of a perfect code
)


def codes_of(
    representations: Sequence[Any],
    data: FactorDataset | ArrayLike,
    index: Tensor,
    *,
    progress: bool,
) -> list[tuple[ndarray, ndarray | None]]:
    """Codes of the rows by every representation, and a story's scales; each observation is read once."""
    encoders: dict[int, Encode] = {}
    codes: dict[int, ndarray] = {}
    for place, representation in enumerate(representations):
        if not (is_story(representation) or callable(representation)):
            codes[place] = _given(representation, data, index)
        elif isinstance(data, FactorDataset):
            encoders[place] = (
                _posterior(representation, data) if is_story(representation) else representation
            )
        else:
            got = type(representation).__name__
            raise TypeError(
                f"expected codes (num_data, num_codes), since the data are factors alone, got {got}"
            )
    codes |= (
        _encode(encoders, data, index, progress=progress)
        if isinstance(data, FactorDataset) and encoders
        else {}
    )
    stories = [is_story(representation) for representation in representations]
    return [
        _halves(codes[place]) if story else (codes[place], None)
        for place, story in enumerate(stories)
    ]


def is_story(representation: Any) -> bool:
    """Whether it has a model and a guide."""
    return hasattr(representation, "model") and hasattr(representation, "guide")


def _posterior(story: Any, data: FactorDataset) -> Encode:
    """From stored observations to posterior means and scales, side by side."""
    from ppl_disentangle.story import evaluating

    story = story_of(story)

    def means_and_scales(observations: Tensor) -> Tensor:
        with evaluating(story) as device:
            parts = story.representation(data.to_float(observations.to(device))).values()
            columns = [q.mean for q in parts] + [q.variance.sqrt() for q in parts]
        return torch.cat([c.float().reshape(len(observations), -1) for c in columns], -1).cpu()

    return means_and_scales


def _halves(columns: ndarray) -> tuple[ndarray, ndarray]:
    means, scales = np.hsplit(columns, 2)
    return means, scales


def _given(codes: ArrayLike, data: Any, index: Tensor) -> ndarray:
    checked = as_codes(codes)
    if len(checked) != len(data):
        raise ValueError(f"expected codes of all {len(data)} data, got {len(checked)} rows")
    return checked[index.numpy()]


def _encode(
    encoders: Mapping[int, Encode], data: FactorDataset, index: Tensor, *, progress: bool
) -> dict[int, ndarray]:
    from tqdm.auto import tqdm

    parts: dict[int, list[ndarray]] = {place: [] for place in encoders}
    with torch.no_grad():
        for rows in tqdm(index.split(ROWS_PER_CALL), desc="encode", disable=not progress):
            observations = data.observations(rows)
            for place, encode in encoders.items():
                parts[place].append(as_array(encode(observations)))
    return {place: as_codes(np.concatenate(part)) for place, part in parts.items()}


def references(
    codes: ndarray, scales: ndarray | None, factors: ndarray, rng: np.random.Generator
) -> list[tuple[ndarray, ndarray | None]]:
    """The codes, each in a random order of its own; and the standardised classes, with idle codes and small noise."""
    order = rng.permuted(np.tile(np.arange(len(codes))[:, None], codes.shape[1]), axis=0)
    classes = (factors - factors.mean(0)) / factors.std(0)
    idle = rng.normal(0, IDLE, (len(factors), max(codes.shape[1] - classes.shape[1], 0)))
    perfect = np.concatenate([classes, idle], 1)
    if scales is None:
        return [(np.take_along_axis(codes, order, 0), None), (perfect, None)]
    means, spreads = (np.take_along_axis(array, order, 0) for array in (codes, scales))
    return [(means, spreads), (perfect, np.full(perfect.shape, IDLE))]
