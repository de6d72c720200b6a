"""Codes of data and reconstructions: a fitted story as an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_disentangle.conditionals import at_least_single
from ppl_disentangle.conditions import (
    accepted,
    conditions_of_guide,
    conditions_of_model,
    opened,
    row_labels,
    story_batches,
)
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.decoding import decode, observed_data, reconstruct
from ppl_disentangle.missing import for_missing
from ppl_disentangle.observed import (
    moments,
    with_classes,
)
from ppl_disentangle.pairs import story_of
from ppl_disentangle.sites import (
    Plate,
    Site,
    data_plate,
)
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
        shape = with_classes(q).event_shape
        names += code_names(story, name, shape.numel() if shape else None)
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


class Codes(NamedTuple):
    """Codes of a batch: names, and moments of shape ``(batch, code)``."""

    names: tuple[str, ...]
    means: Tensor
    scales: Tensor


def codes_of_batch(story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]) -> Codes:
    """Posterior means and standard deviations of the coordinates of all latents of each datum.

    The elements of a plate inside the data are coordinates. Classes as integers have a coordinate
    for the probability of each class.

    Args:
        story: A story.
        x: Observations of shape ``(batch, *event)``.
        conditions: Checked conditions of the observations.

    Raises:
        ValueError: The guide needs a condition that is missing, or no latent belongs to a datum.
    """
    posteriors = _posteriors(story, x, conditions)
    blocks = [_codes_of(story, posterior, len(x)) for posterior in posteriors]
    names, means, scales = zip(*blocks, strict=True)
    return Codes(sum(names, ()), torch.cat(means, -1), torch.cat(scales, -1))


class Posterior(NamedTuple):
    """The posterior of one latent, the plates around it, and which of them is over the data."""

    name: str
    fn: TorchDistribution
    plates: Sequence[Plate]
    plate: Plate | None


def _posteriors(
    story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]
) -> list[Posterior]:
    """The posteriors of all latents that belong to a datum."""
    if story.has_own_representation:
        parts = representation_of(story, x, conditions)
        return [Posterior(name, fn, (), None) for name, fn in parts.items()]
    sites = story.posterior_sites(x, **conditions)
    plate = _plate_over_data(story, sites, x, conditions)
    local = [site for site in sites.values() if plate is None or plate in site.plates]
    return [Posterior(site.name, site.fn, site.plates, plate) for site in local]


def _plate_over_data(
    story: GenerativeStory, sites: Mapping[str, Site], x: Tensor, conditions: Mapping[str, Any]
) -> Plate | None:
    """The plate over the data, checked; ``None`` for a guide without plates.

    Raises:
        ValueError: No latent is in the plate, or its size is not the number of data.
    """
    plate = data_plate(sites.values())
    if plate is None:
        is_shared = any(not s.fn.batch_shape for s in sites.values()) and len(x) > 1
    else:
        is_shared = plate.name != "data" and not _is_over_data(story, plate, x, conditions)
    if is_shared:
        raise ValueError(
            f"all data share the latents {list(sites)} of {story.title}: no datum has a code of its"
            " own; read their posterior from a trace of the guide, or from to_datatree"
        )
    if plate is not None and plate.size != len(x):
        raise ValueError(
            f"the plate {plate.name!r} in the guide of {story.title} has {plate.size} elements for"
            f" {len(x)} data; open the plate over the data as pyro.plate('data', len(x))"
        )
    return plate


def _is_over_data(
    story: GenerativeStory, plate: Plate, x: Tensor, conditions: Mapping[str, Any]
) -> bool:
    """Whether a plate of another name than ``data`` is around the observations."""
    observed = observed_data(story, x, conditions_of_model(story, conditions))
    names = [p.name for site in observed.values() for p in site.plates]
    return plate.name in names


def _codes_of(story: GenerativeStory, posterior: Posterior, num_data: int) -> Codes:
    """The coordinates of one latent."""
    plate = posterior.plate
    q = with_classes(posterior.fn)
    names = all_code_names(story, {posterior.name: posterior.fn})
    inner = [p for p in posterior.plates if p != plate]
    for other in sorted(inner, key=lambda p: p.dim, reverse=True):
        names = tuple(f"{n}[{other.name}={i}]" for i in range(other.size) for n in names)
    dim = None if plate is None else plate.dim - q.event_dim
    mean, scale = moments(q)
    return Codes(names, _rows(mean, dim, num_data), _rows(scale, dim, num_data))


def _rows(value: Tensor, dim: int | None, num_data: int) -> Tensor:
    """A value as rows ``(num_data, …)``, on the CPU; ``dim`` is the dimension of the data.

    It is float32, or float64 if the value is.
    """
    value = at_least_single(value)
    if dim is not None:
        value = value.movedim(dim, 0)
    if len(value) != num_data:
        raise ValueError(
            f"expected latents of {num_data} data, got values of shape {tuple(value.shape)}: open"
            " the plate over the data as pyro.plate('data', len(x))"
        )
    return value.reshape(num_data, -1).cpu()


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
    story = for_missing(story_of(story), data)

    def codes(observations: Tensor) -> Tensor:
        with evaluating(story, precision) as device:
            x = data.to_float(observations.to(device))
            return codes_of_batch(story, x, {}).means.float()

    return codes


def _joined(parts: Iterable[Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).numpy()


def encode(
    story: GenerativeStory,
    data: Any,
    *,
    batch_size: int = 128,
    precision: Precision = "float32",
    **conditions: Any,
) -> xr.Dataset:
    """Mean and standard deviation of q(z | x) for every datum, over dims ``data`` and ``code``.

    Latents that all data share have no code. The elements of a plate inside the data are codes of
    their own, such as ``z[words=0]``. A class as an integer has a code for the probability of each
    class.

    Args:
        story: A story.
        data: Float observations ``(num_data, *observation_shape)``, or data in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes.
        batch_size: Number of data in each pass. Larger batches are not faster on the CPU, because
            the memory of a pass is returned to the system after it.
        precision: Precision of the networks; ``"bfloat16"`` takes a fraction of the time.
        **conditions: Conditions of all data, such as ``labels``, ``(num_data, …)`` each, under the
            names that model and guide give them. They win over those that the data carry.

    Returns:
        ``mean``, and ``scale`` for the standard deviation. The coordinate ``data`` names the rows
        of the user's own data.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: The guide needs a condition that is missing, a condition has another number of
            rows than the data, or no latent belongs to a datum.
    """
    data = opened(data)
    story = for_missing(story_of(story), data)
    with evaluating(story, precision) as device:
        batches = [
            codes_of_batch(story, x, given)
            for x, given in story_batches(story, data, batch_size, device, conditions)
        ]
    dims = ("data", "code")
    means = _joined(batch.means for batch in batches)
    scales = _joined(batch.scales for batch in batches)
    coordinates = {"code": list(batches[-1].names), "data": row_labels(data)}
    return xr.Dataset({"mean": (dims, means), "scale": (dims, scales)}, coordinates)


def observation_dims(number: int, name: str = "x") -> tuple[str, ...]:
    """Names of the dims of an observation.

    Args:
        number: Number of dims; three are an image.
        name: Name of the observed site, from which other names are made.
    """
    return IMAGE_DIMS if number == 3 else tuple(f"{name}_dim_{i}" for i in range(number))
