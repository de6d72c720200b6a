"""Traversals: what each coordinate of a latent does to an observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.interventions import do
from ppl_disentangle.representation import observation_dims, reconstruct
from ppl_disentangle.story import GenerativeStory, story_of

__all__ = ["aggregate_quantiles", "traverse"]


def aggregate_quantiles(
    codes: xr.Dataset, probabilities: Sequence[float], *, seed: int = 0
) -> xr.DataArray:
    """Quantiles of the aggregate posterior of each coordinate, over dims ``code`` and ``quantile``.

    Args:
        codes: what :func:`encode` returned; a Gaussian of its mean and scale stands for the posterior of each datum.
        probabilities: between 0 and 1.
        seed: of one draw per datum.
    """
    noise = np.random.default_rng(seed).standard_normal(codes["mean"].shape, dtype=np.float32)
    return (
        (codes["mean"] + codes["scale"] * noise)
        .quantile(list(probabilities), "data")
        .transpose("code", "quantile")
    )


def traverse(
    story: GenerativeStory,
    x: Tensor,
    values: Mapping[str, Sequence[float]],
    **conditions: Tensor,
) -> xr.DataArray:
    """What the mean image becomes as one coordinate takes other values, the others held at their posterior means.

    Args:
        story: a story.
        x: one float observation, of shape ``(1, *event)``.
        values: for each coordinate (or scalar latent) the values that it takes, the same number for all.
        **conditions: as in :func:`reconstruct`.

    Returns:
        Means of p(x | z) over dims ``code``, ``position`` and those of one observation; the values are the coordinate
        ``value`` over ``code`` and ``position``.
    """
    story = story_of(story)
    if len(x) != 1:
        raise ValueError(f"expected one observation, got {len(x)}")
    lengths = {len(v) for v in values.values()}
    if len(lengths) != 1:
        raise ValueError(f"expected as many values for each coordinate, got {sorted(lengths)}")
    size = lengths.pop()
    repeated, *told = (value.expand(size, *value.shape[1:]) for value in (x, *conditions.values()))
    conditions = dict(zip(conditions, told, strict=True))
    images = [
        reconstruct(
            do(story, {name: torch.as_tensor(v, dtype=torch.float32)}), repeated, **conditions
        )
        for name, v in values.items()
    ]
    return xr.DataArray(
        torch.stack(images).numpy(),
        dims=("code", "position", *observation_dims(x.dim() - 1)),
        coords={
            "code": list(values),
            "value": (("code", "position"), np.array(list(values.values()))),
        },
    )
