"""Codes of data and reconstructions: a fitted story as an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
import xarray as xr
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_disentangle.conditionals import at_least_single
from ppl_disentangle.conditions import (
    accepted,
    conditions_of_guide,
    story_batches,
)
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.pairs import story_of
from ppl_disentangle.sites import returned_site
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = [
    "code_names",
    "decode",
    "encode",
    "encoder",
    "reconstruct",
]

IMAGE_DIMS = ("channel", "row", "column")

Precision = Literal["float32", "bfloat16"]
"""Precision of the networks; bfloat16 takes a fraction of the time."""


def code_names(story: GenerativeStory, site: str, size: int | None) -> tuple[str, ...]:
    """Names of the coordinates of a latent.

    These are the names in ``story.coordinate_names``, else ``z[0]``, ``z[1]``, …. A scalar latent
    has the name of its site.

    Args:
        story: A story.
        site: Name of the latent.
        size: Number of its coordinates; ``None`` for a scalar.

    Raises:
        ValueError: ``coordinate_names`` has another number of names.
    """
    if size is None:
        return (site,)
    names = tuple(story.coordinate_names.get(site, ()))
    if not names:
        names = tuple(f"{site}[{i}]" for i in range(size))
    if len(names) != size:
        raise ValueError(
            f"latent {site!r} has {size} coordinates, coordinate_names has {len(names)}: {names}"
        )
    return names


def all_code_names(
    story: GenerativeStory, posteriors: Mapping[str, TorchDistribution]
) -> tuple[str, ...]:
    """Names of all coordinates of a representation, in order.

    Args:
        story: A story.
        posteriors: The representation: distributions of its latents, by name.
    """
    names: list[str] = []
    for name, q in posteriors.items():
        names += code_names(story, name, q.event_shape.numel() if q.event_shape else None)
    return tuple(names)


def representation_of(
    story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]
) -> dict[str, TorchDistribution]:
    """The representation of x under checked conditions, of which each story gets what it takes.

    Args:
        story: A story.
        x: Observations of shape ``(batch, *event)``.
        conditions: Conditions of each observation.

    Raises:
        ValueError: The guide needs a condition that is missing.
    """
    conditions_of_guide(story, conditions)
    return story.representation(x, **accepted(story.representation, conditions))


def encoder(
    story: GenerativeStory, data: FactorDataset, *, precision: Precision = "float32"
) -> Callable[[Tensor], Tensor]:
    """An encoder as a function, from observations as stored in ``data`` to posterior means.

    Conditions go with indices of the data, not with observations: use :func:`encode` for a guide
    that needs them.

    Args:
        story: A story.
        data: The data set, which knows how to convert its observations to floats.
        precision: Precision of the networks; ``"bfloat16"`` takes a fraction of the time.

    Returns:
        A function whose result has shape ``(batch, code)``, on the CPU.
    """
    story = story_of(story)

    def codes(observations: Tensor) -> Tensor:
        with evaluating(story, precision) as device:
            posteriors = representation_of(story, data.to_float(observations.to(device)), {})
            means = [q.mean.float() for q in posteriors.values()]
            return _side_by_side(means, len(observations))

    return codes


def encode(
    story: GenerativeStory,
    data: FactorDataset | Tensor,
    *,
    batch_size: int = 128,
    precision: Precision = "float32",
    **conditions: Any,
) -> xr.Dataset:
    """Mean and standard deviation of q(z | x) for every datum, over dims ``data`` and ``code``.

    Args:
        story: A story.
        data: A data set, or float observations ``(num_data, *observation_shape)``.
        batch_size: Number of data in each pass. Larger batches are not faster on the CPU, because
            the memory of a pass is returned to the system after it.
        precision: Precision of the networks; ``"bfloat16"`` takes a fraction of the time.
        **conditions: Conditions of all data, such as ``labels``, ``(num_data, …)`` each, under the
            names that model and guide give them. They win over those that the data carry.

    Returns:
        ``mean``, and ``scale`` for the standard deviation.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: The guide needs a condition that is missing, or a condition has another number
            of rows than the data.
    """
    story = story_of(story)
    means: list[Tensor] = []
    scales: list[Tensor] = []
    names: tuple[str, ...] = ()
    with evaluating(story, precision) as device:
        for x, given in story_batches(story, data, batch_size, device, conditions):
            posteriors = representation_of(story, x, given)
            names = all_code_names(story, posteriors)
            means.append(_side_by_side([q.mean for q in posteriors.values()], len(x)))
            scales.append(_side_by_side([q.stddev for q in posteriors.values()], len(x)))
    dims = ("data", "code")
    return xr.Dataset(
        {"mean": (dims, torch.cat(means).numpy()), "scale": (dims, torch.cat(scales).numpy())},
        {"code": list(names)},
    )


def _side_by_side(values: Iterable[Tensor], batch_size: int) -> Tensor:
    """Values of several latents as one matrix, of shape ``(batch, code)``, on the CPU.

    It is float32, or float64 if the values are.
    """
    columns = [at_least_single(value).reshape(batch_size, -1) for value in values]
    return torch.cat(columns, -1).cpu()


def observation_dims(number: int, name: str = "x") -> tuple[str, ...]:
    """Names of the dims of an observation.

    Args:
        number: Number of dims; three are an image.
        name: Name of the observed site, from which other names are made.
    """
    return IMAGE_DIMS if number == 3 else tuple(f"{name}_dim_{i}" for i in range(number))


def decode(story: GenerativeStory, latents: Mapping[str, Tensor]) -> Tensor:
    """Mean of p(x | z) at given values of all latents.

    This is equivalent to ``poutine.condition(story.model, latents)``, with the mean of the
    likelihood in place of a draw.

    Args:
        story: A story.
        latents: Values of all latents by name, each of shape ``(batch, *event)``.
    """
    return _decode(story_of(story), latents)


def reconstruct(story: GenerativeStory, x: Tensor, **conditions: Tensor) -> Tensor:
    """Mean of p(x | z) at the posterior means of observations.

    Args:
        story: A story.
        x: Float observations, of shape ``(batch, *event)``.
        **conditions: Conditions of each observation that :meth:`~GenerativeStory.latent_means`
            takes, such as ``labels``.
    """
    story = story_of(story)
    with evaluating(story) as device:
        on_device = {name: value.to(device) for name, value in conditions.items()}
        means = story.latent_means(x.to(device), **on_device)
    return _decode(story, means)


def _decode(story: GenerativeStory, latents: Mapping[str, Tensor]) -> Tensor:
    with evaluating(story) as device:
        values = {name: torch.as_tensor(value, device=device) for name, value in latents.items()}
        batch_size = len(next(iter(values.values())))
        conditioned = poutine.condition(story.model, data=values)
        trace = poutine.trace(conditioned).get_trace(batch_size=batch_size)
        return returned_site(trace).fn.mean.cpu()
