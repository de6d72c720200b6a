"""Traversals: the effect of each coordinate of a latent on an observation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.interventions import do
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import observation_dims, reconstruct
from ppl_disentangle.story import GenerativeStory

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
    story: GenerativeStory,
    x: Tensor,
    values: Mapping[str, Sequence[float]],
    **conditions: Tensor,
) -> xr.DataArray:
    """Mean observations as one coordinate varies, the others fixed at their posterior means.

    Args:
        story: A story.
        x: One float observation, of shape ``(1, *event)``.
        values: Values of each coordinate (or scalar latent) to vary, the same number for all.
        **conditions: Conditions of the observation, such as ``labels``; see
            :func:`~ppl_disentangle.representation.reconstruct`.

    Returns:
        Means of p(x | z) over dims ``code``, ``position`` and the dims of an observation. The
        coordinate ``value``, over ``code`` and ``position``, holds the values.

    Raises:
        ValueError: There is more than one observation, or the numbers of values differ.
    """
    story = story_of(story)
    if len(x) != 1:
        raise ValueError(f"expected one observation, got {len(x)}")
    num_positions = _common_length(values.values())
    repeated = _repeated(x, num_positions)
    repeated_conditions = {name: _repeated(v, num_positions) for name, v in conditions.items()}
    images = []
    for name, positions in values.items():
        intervened = do(story, {name: torch.as_tensor(positions, dtype=torch.float32)})
        images.append(reconstruct(intervened, repeated, **repeated_conditions))
    return xr.DataArray(
        torch.stack(images).numpy(),
        dims=("code", "position", *observation_dims(x.dim() - 1)),
        coords={
            "code": list(values),
            "value": (("code", "position"), np.array(list(values.values()))),
        },
    )


def _common_length(sequences: Iterable[Sequence[float]]) -> int:
    lengths = {len(sequence) for sequence in sequences}
    if len(lengths) != 1:
        raise ValueError(f"expected as many values for each coordinate, got {sorted(lengths)}")
    return lengths.pop()


def _repeated(value: Tensor, size: int) -> Tensor:
    """A single row ``size`` times, without copying."""
    return value.expand(size, *value.shape[1:])
