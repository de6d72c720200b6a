"""Traversals: the effect of each coordinate of a latent on an observation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.actions import resolve
from ppl_disentangle.causal.interventions import all_sites, do, intervenable
from ppl_disentangle.conditions import is_per_datum, one_batch
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import observation_dims, reconstruct
from ppl_disentangle.sites import data_plate
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["aggregate_quantiles", "traverse"]


def aggregate_quantiles(
    codes: xr.Dataset, probabilities: Sequence[float], *, seed: int = 0
) -> xr.DataArray:
    """Quantiles of the aggregate posterior of each coordinate, over dims ``code`` and ``quantile``.

    Args:
        codes: Result of :func:`~ppl_disentangle.representation.encode`. The posterior of each datum
            is taken as a Gaussian of its mean and scale.
        probabilities: Probabilities between 0 and 1.
        seed: Seed of the draws, one for each datum.
    """
    noise = np.random.default_rng(seed).standard_normal(codes["mean"].shape, dtype=np.float32)
    draws = codes["mean"] + codes["scale"] * noise
    return draws.quantile(list(probabilities), "data").transpose("code", "quantile")


def traverse(
    story: GenerativeStory, x: Any, values: Mapping[str, Sequence[float]], **conditions: Any
) -> xr.DataArray:
    """Mean observations as one coordinate varies, the others fixed at their posterior means.

    Args:
        story: A story.
        x: One float observation, of shape ``(1, *event)``, or a data set of one datum.
        values: Values of each coordinate (or scalar latent) to vary, the same number for all.
        **conditions: Conditions of the observation, ``(1, …)`` each, such as ``labels``; see
            :func:`~ppl_disentangle.representation.reconstruct`.

    Returns:
        Means of p(x | z) over dims ``code``, ``position`` and the dims of an observation. The
        coordinate ``value``, over ``code`` and ``position``, holds the values.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: There is more than one observation, the numbers of values differ, or the guide
            needs a condition that is missing.
    """
    story = story_of(story)
    with evaluating(story) as device:
        x, given, _ = one_batch(story, x, device, conditions)
    if len(x) != 1:
        raise ValueError(f"expected one observation, got {len(x)}")
    _common_length(values.values())
    images = [_varied(story, x, given, name, positions) for name, positions in values.items()]
    return xr.DataArray(
        torch.stack(images).numpy(),
        dims=("code", "position", *observation_dims(images[0].dim() - 1)),
        coords={
            "code": list(values),
            "value": (("code", "position"), np.array(list(values.values()))),
        },
    )


def _varied(
    story: GenerativeStory,
    x: Tensor,
    conditions: Mapping[str, Any],
    name: str,
    positions: Sequence[float],
) -> Tensor:
    """Mean observations ``(position, *event)`` at each value of a coordinate."""
    numbers = torch.as_tensor(positions, dtype=torch.float32)
    is_shared, num_inner = _plates_of(story, conditions, name)
    if is_shared:  # one pass has one value of it
        rows = [reconstruct(do(story, {name: number}, **conditions), x) for number in numbers]
        return torch.cat(rows)
    told: dict[str, Any] = {
        n: _repeated(v, len(numbers)) if is_per_datum(v) else v for n, v in conditions.items()
    }
    action = numbers.reshape(-1, *(1,) * num_inner)
    return reconstruct(do(story, {name: action}, **told), _repeated(x, len(numbers)), **told)


def _plates_of(
    story: GenerativeStory, conditions: Mapping[str, Any], name: str
) -> tuple[bool, int]:
    """Whether all data share a latent, and how many plates are right of the plate over the data."""
    sampled, stated = all_sites(story, conditions)
    site_name, _ = resolve(story, name, intervenable(story, conditions))
    plate = data_plate([*sampled.values(), *stated.values()])
    if plate is None:
        return False, 0
    is_outside = site_name in sampled and plate.name not in [
        p.name for p in sampled[site_name].plates
    ]
    return is_outside, -1 - plate.dim


def _common_length(sequences: Iterable[Sequence[float]]) -> int:
    lengths = {len(sequence) for sequence in sequences}
    if len(lengths) != 1:
        raise ValueError(f"expected as many values for each coordinate, got {sorted(lengths)}")
    return lengths.pop()


def _repeated(value: Tensor, size: int) -> Tensor:
    """A single row ``size`` times, without copying."""
    return value.expand(size, *value.shape[1:])
