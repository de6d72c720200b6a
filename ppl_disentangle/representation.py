"""What a story makes of data: codes, reconstructions, and what each coordinate of a latent does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import xarray as xr
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_disentangle.conditionals import at_least_single
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.batches import float_batches
from ppl_disentangle.sites import returned_site
from ppl_disentangle.story import GenerativeStory, evaluating, story_of

__all__ = [
    "code_names",
    "decode",
    "encode",
    "encoder",
    "reconstruct",
]

IMAGE_DIMS = ("channel", "row", "column")


def code_names(story: GenerativeStory, site: str, size: int | None) -> tuple[str, ...]:
    """Names of a latent's coordinates: those in ``story.coordinate_names``, else ``z[0]``, ``z[1]``, …; a scalar's own.

    Args:
        story: a story.
        site: the latent.
        size: number of its coordinates; ``None`` for a scalar.

    Raises:
        ValueError: the story names another number of coordinates.
    """
    if size is None:
        return (site,)
    names = tuple(story.coordinate_names.get(site, ())) or tuple(
        f"{site}[{i}]" for i in range(size)
    )
    if len(names) != size:
        raise ValueError(
            f"latent {site!r} has {size} coordinates, coordinate_names has {len(names)}: {names}"
        )
    return names


def all_code_names(
    story: GenerativeStory, parts: Mapping[str, TorchDistribution]
) -> tuple[str, ...]:
    """Names of all coordinates of a representation, in order."""
    names: list[str] = []
    for name, q in parts.items():
        names += code_names(story, name, q.event_shape.numel() if q.event_shape else None)
    return tuple(names)


Precision = Literal["float32", "bfloat16"]


def encoder(
    story: GenerativeStory, data: FactorDataset, *, precision: Precision = "float32"
) -> Callable[[Tensor], Tensor]:
    """The representation as a function from stored observations of ``data`` to posterior means ``(batch, code)``."""
    story = story_of(story)

    def codes(observations: Tensor) -> Tensor:
        with evaluating(story, precision) as device:
            parts = story.representation(data.to_float(observations.to(device))).values()
            return torch.cat(
                [q.mean.float().reshape(len(observations), -1) for q in parts], -1
            ).cpu()

    return codes


def encode(
    story: GenerativeStory,
    data: FactorDataset | Tensor,
    *,
    batch_size: int = 128,
    precision: Precision = "float32",
) -> xr.Dataset:
    """Mean and scale of q(z | x) of every datum, over dims ``data`` and ``code``.

    Args:
        story: a story.
        data: a data set, or float observations ``(num_data, *observation_shape)``.
        batch_size: data per pass. On the CPU more are not faster: what a pass leaves is given back to the system.
        precision: ``"bfloat16"`` for networks in bfloat16, which takes a fraction of the time.
    """
    story = story_of(story)
    means: list[Tensor] = []
    scales: list[Tensor] = []
    names: tuple[str, ...] = ()
    with evaluating(story, precision) as device:
        for x in float_batches(data, batch_size, device):
            parts = story.representation(x)
            names = all_code_names(story, parts)
            for kept, statistic in ((means, "mean"), (scales, "stddev")):
                columns = [
                    at_least_single(getattr(q, statistic)).reshape(len(x), -1)
                    for q in parts.values()
                ]
                kept.append(torch.cat(columns, -1).cpu())
    dims = ("data", "code")
    return xr.Dataset(
        {"mean": (dims, torch.cat(means).numpy()), "scale": (dims, torch.cat(scales).numpy())},
        {"code": list(names)},
    )


def observation_dims(number: int, name: str = "x") -> tuple[str, ...]:
    """Names of the dims of one value of an observed site, which has so many."""
    return IMAGE_DIMS if number == 3 else tuple(f"{name}_dim_{i}" for i in range(number))


def decode(story: GenerativeStory, latents: Mapping[str, Tensor]) -> Tensor:
    """Mean of p(x | z) at given values of all latents, each of shape ``(batch, *event)``.

    This is equivalent to ``poutine.condition(story.model, latents)`` with the likelihood's mean for its draw.
    """
    story = story_of(story)
    with evaluating(story) as device:
        held = {name: torch.as_tensor(value, device=device) for name, value in latents.items()}
        size = len(next(iter(held.values())))
        trace = poutine.trace(poutine.condition(story.model, data=held)).get_trace(batch_size=size)
        return returned_site(trace).fn.mean.cpu()


def reconstruct(story: GenerativeStory, x: Tensor, **conditions: Tensor) -> Tensor:
    """Mean of p(x | z) at the posterior means of float observations ``(batch, *event)``.

    Args:
        story: a story.
        x: the observations.
        **conditions: what its :meth:`~GenerativeStory.latent_means` is told of each, such as ``labels``.
    """
    story = story_of(story)
    with evaluating(story) as device:
        means = story.latent_means(
            x.to(device), **{name: value.to(device) for name, value in conditions.items()}
        )
    return decode(story, means)
