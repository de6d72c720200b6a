"""What a story makes of data: codes, reconstructions, and what each coordinate of a latent does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_disentangle.conditionals import at_least_single
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.sites import returned_site
from ppl_disentangle.story import GenerativeStory, fork_randomness, parameters_stay_local, story_of

__all__ = [
    "aggregate_quantiles",
    "code_names",
    "decode",
    "encode",
    "encoder",
    "reconstruct",
    "traverse",
]

IMAGE_DIMS = ("channel", "row", "column")


@contextmanager
def evaluating(story: GenerativeStory, precision: str = "float32", *, seed: int = 0) -> Iterator[torch.device]:
    """No gradients, nothing left on Pyro's store or the random state, networks in ``precision``; yields the device."""
    tensor = next(story.parameters(), None)
    device = torch.device("cpu") if tensor is None else tensor.device
    training = story.training
    story.eval()
    try:
        with (
            torch.no_grad(),
            fork_randomness(),
            parameters_stay_local(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            torch.manual_seed(seed)
            yield device
    finally:
        story.train(training)


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
    names = tuple(story.coordinate_names.get(site, ())) or tuple(f"{site}[{i}]" for i in range(size))
    if len(names) != size:
        raise ValueError(f"latent {site!r} has {size} coordinates, coordinate_names has {len(names)}: {names}")
    return names


def all_code_names(story: GenerativeStory, parts: Mapping[str, TorchDistribution]) -> tuple[str, ...]:
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
            return torch.cat([q.mean.float().reshape(len(observations), -1) for q in parts], -1).cpu()

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
                columns = [at_least_single(getattr(q, statistic)).reshape(len(x), -1) for q in parts.values()]
                kept.append(torch.cat(columns, -1).cpu())
    dims = ("data", "code")
    return xr.Dataset(
        {"mean": (dims, torch.cat(means).numpy()), "scale": (dims, torch.cat(scales).numpy())}, {"code": list(names)}
    )


def float_batches(data: FactorDataset | Tensor, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Float observations in order, in batches on ``device``."""
    for x, _ in conditioned_batches(data, batch_size, device):
        yield x


def conditioned_batches(
    data: FactorDataset | Tensor, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Float observations in order, in batches on ``device``, each with what else a story is told of its data."""
    if isinstance(data, Tensor):
        for x in data.split(batch_size):
            yield x.to(device), {}
        return
    for index in torch.arange(len(data)).split(batch_size):
        told = {name: value.to(device) for name, value in data.conditions(index).items()}
        yield data.to_float(data.observations(index).to(device)), told


def observation_dims(number: int, name: str = "x") -> tuple[str, ...]:
    """Names of the dims of one value of an observed site, which has so many."""
    return IMAGE_DIMS if number == 3 else tuple(f"{name}_dim_{i}" for i in range(number))


def aggregate_quantiles(codes: xr.Dataset, probabilities: Sequence[float], *, seed: int = 0) -> xr.DataArray:
    """Quantiles of the aggregate posterior of each coordinate, over dims ``code`` and ``quantile``.

    Args:
        codes: what :func:`encode` returned; a Gaussian of its mean and scale stands for the posterior of each datum.
        probabilities: between 0 and 1.
        seed: of one draw per datum.
    """
    noise = np.random.default_rng(seed).standard_normal(codes["mean"].shape, dtype=np.float32)
    return (codes["mean"] + codes["scale"] * noise).quantile(list(probabilities), "data").transpose("code", "quantile")


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
        means = story.latent_means(x.to(device), **{name: value.to(device) for name, value in conditions.items()})
    return decode(story, means)


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
    from ppl_disentangle.causal.interventions import do

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
        reconstruct(do(story, {name: torch.as_tensor(v, dtype=torch.float32)}), repeated, **conditions)
        for name, v in values.items()
    ]
    return xr.DataArray(
        torch.stack(images).numpy(),
        dims=("code", "position", *observation_dims(x.dim() - 1)),
        coords={"code": list(values), "value": (("code", "position"), np.array(list(values.values())))},
    )
