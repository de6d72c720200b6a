"""Codes of data and reconstructions: a fitted story as an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import xarray as xr
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.conditionals import at_least_single
from ppl_disentangle.conditions import (
    accepted,
    checked_conditions,
    conditions_of_guide,
    conditions_of_model,
    one_batch,
    opened,
    row_labels,
    story_batches,
)
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.missing import for_missing
from ppl_disentangle.observed import (
    Layout,
    latent_point,
    layout_of,
    mean_of,
    moments,
    with_classes,
    without_factors,
)
from ppl_disentangle.pairs import story_of
from ppl_disentangle.sites import (
    Plate,
    Site,
    data_plate,
    observed_sites,
    returned_value,
    sampled_sites,
    site_values,
)
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = [
    "check_all_drawn",
    "code_names",
    "decode",
    "drawn_layout",
    "encode",
    "encoder",
    "observed_layout",
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
    if story.has_own_representation:
        posteriors = representation_of(story, x, conditions)
        blocks = [_codes_of(story, name, q, (), None, len(x)) for name, q in posteriors.items()]
    else:
        sites = story.posterior_sites(x, **conditions)
        plate = _plate_over_data(story, sites, x, conditions)
        local = [s for s in sites.values() if plate is None or plate in s.plates]
        blocks = [_codes_of(story, s.name, s.fn, s.plates, plate, len(x)) for s in local]
    names, means, scales = zip(*blocks, strict=True)
    return Codes(sum(names, ()), torch.cat(means, -1), torch.cat(scales, -1))


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


def _codes_of(
    story: GenerativeStory,
    name: str,
    posterior: TorchDistribution,
    plates: Sequence[Plate],
    plate: Plate | None,
    num_data: int,
) -> Codes:
    """The coordinates of one latent."""
    q = with_classes(posterior)
    names = all_code_names(story, {name: posterior})
    inner = [p for p in plates if p is not plate and p != plate]
    for other in sorted(inner, key=lambda p: p.dim, reverse=True):
        names = tuple(f"{n}[{other.name}={i}]" for i in range(other.size) for n in names)
    mean, scale = (
        _rows(value, None if plate is None else plate.dim - q.event_dim, num_data)
        for value in moments(q)
    )
    return Codes(names, mean, scale)


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
    means = torch.cat([batch.means for batch in batches]).numpy()
    scales = torch.cat([batch.scales for batch in batches]).numpy()
    coordinates = {"code": list(batches[-1].names), "data": row_labels(data)}
    return xr.Dataset({"mean": (dims, means), "scale": (dims, scales)}, coordinates)


def observation_dims(number: int, name: str = "x") -> tuple[str, ...]:
    """Names of the dims of an observation.

    Args:
        number: Number of dims; three are an image.
        name: Name of the observed site, from which other names are made.
    """
    return IMAGE_DIMS if number == 3 else tuple(f"{name}_dim_{i}" for i in range(number))


def decode(story: GenerativeStory, latents: Mapping[str, Tensor], **conditions: Any) -> Tensor:
    """Mean of p(x | z) at given values of the latents.

    This is equivalent to ``poutine.condition(story.model, latents)``, with the mean of the
    likelihood in place of a draw. A latent of ``story.latents`` that is left out is drawn.

    Args:
        story: A story.
        latents: Values of latents by name, each of shape ``(batch, *event)``.
        **conditions: Conditions of each datum that the model takes, ``(batch, …)`` each.

    Returns:
        The mean of the observed site whose value the model returns, else of its only observed site,
        else of all sites in the places that they have in the returned value. For integer classes
        the mean is the most probable class.

    Raises:
        KeyError: The model has no site of that name.
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: The model needs a condition or a latent that is not given, or has several
            observed sites and does not return the observations.
    """
    story = story_of(story)
    with evaluating(story) as device:
        values = {name: torch.as_tensor(value, device=device) for name, value in latents.items()}
        size = len(next(iter(values.values())))
        checked = checked_conditions(story, torch.empty(size, device=device), conditions)
        return _drawn_mean(story, values, size, checked).cpu()


def _drawn_mean(
    story: GenerativeStory, values: Mapping[str, Tensor], size: int, conditions: Mapping[str, Any]
) -> Tensor:
    """The mean of p(x | z) of a model that draws x."""
    given = conditions_of_model(story, _not_in_latents(story, conditions))
    trace = poutine.trace(poutine.condition(story.model, data=dict(values))).get_trace(
        batch_size=size, **given
    )
    _check_sites(story, values, site_values(trace))
    template, layout = drawn_layout(story, trace, given)
    sites = without_factors(sampled_sites(trace))
    others = [name for name in sites if name not in {*layout.names, *story.latents}]
    if others and story.has_bound:
        observed = observed_data(story, template, given)
        check_all_drawn(story, [name for name in others if name not in observed])
    return layout.assemble(template, {name: mean_of(sites[name]) for name in layout.names})


def _check_sites(
    story: GenerativeStory, values: Mapping[str, Tensor], sites: Mapping[str, Tensor]
) -> None:
    unknown = [name for name in values if name not in sites]
    if unknown:
        raise KeyError(
            f"the model of {story.title} has no latent {unknown[0]!r}; its sites are {list(sites)}"
        )


def drawn_layout(
    story: GenerativeStory, trace: Trace, conditions: Mapping[str, Any]
) -> tuple[Tensor, Layout]:
    """The observations that a model drew, and where its sites hold them.

    Args:
        story: The story.
        trace: A trace of the model without observations.
        conditions: The conditions of the trace.

    Raises:
        ValueError: Several sites are no latents, and none of them, nor all together, was returned.
    """
    returned = returned_value(trace)
    sites = without_factors(sampled_sites(trace))
    others = [name for name in sites if name not in story.latents]
    whole = next((name for name, site in sites.items() if site.value is returned), None)
    if whole is None and len(others) == 1:
        whole = others[0]
    if whole is not None:
        return sites[whole].value, Layout(whole, {})
    if not isinstance(returned, Tensor):
        raise ValueError(
            f"the model of {story.title} draws {others} and returns none of them: return the"
            " observations"
        )
    return returned, observed_layout(story, returned, conditions)


def observed_layout(story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]) -> Layout:
    """Where the observed sites of the model hold x; ``conditions`` are those of the model."""

    def at(other: Tensor) -> dict[str, Site]:
        return observed_data(story, other, conditions)

    return layout_of(story.title, x, at(x), at)


def observed_data(
    story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]
) -> dict[str, Site]:
    """The observed sites of the model at x; ``conditions`` are those of the model."""
    trace = poutine.trace(story.model).get_trace(x, **conditions)
    return without_factors(observed_sites(trace))


def check_all_drawn(story: GenerativeStory, undrawn: Sequence[str]) -> None:
    """Refuse latents of the model that the guide does not draw, of which ``undrawn`` are names.

    Raises:
        ValueError: There is such a latent.
    """
    if undrawn:
        raise ValueError(
            f"the model of {story.title} draws {undrawn[0]!r}, which its guide does not: it has no"
            " posterior; draw it in the guide too, or give its value to decode"
        )


def _not_in_latents(story: GenerativeStory, conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in conditions.items() if name not in story.conditions_in_latents
    }


def reconstruct(story: GenerativeStory, x: Any, **conditions: Any) -> Tensor:
    """Mean of p(x | z) at the posterior means of observations.

    The model runs on x with all latents that the guide draws at their means. The result holds the
    mean of each observed value in the place of that value: ``obs=x.reshape(-1, 784)``, and several
    sites such as ``obs=x[:, :3]`` and ``obs=x[:, 3]``, come back in the shape of x. If one site
    holds the whole of x, other observed sites, such as labels, do not matter. For integer classes
    the mean is the most probable class.

    Args:
        story: A story.
        x: Float observations, of shape ``(batch, *event)``, or data in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes.
        **conditions: Conditions of each observation, such as ``labels``, ``(batch, …)`` each, under
            the names that model and guide give them.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: A condition is missing, the model draws a latent that the guide does not, or
            several observed sites hold functions of x.
    """
    story = story_of(story)
    with evaluating(story) as device:
        x, given, _ = one_batch(story, x, device, conditions)
        encoding = for_missing(story, x)
        conditions_of_guide(encoding, given)
        means = encoding.latent_means(x, **accepted(encoding.latent_means, given))
        if encoding is not story:
            # the means of the model do not depend on the values that it observes
            given = {"observed": ~x.isnan(), **given}
            x = x.nan_to_num()
        if story.conditions_in_latents:
            return _drawn_mean(story, means, len(x), given).cpu()
        sites = _observed_at(story, x, means, given)

        def rerun(numbers: Tensor) -> dict[str, Site]:
            return _observed_at(story, numbers, means, given)

        layout = layout_of(story.title, x, sites, rerun)
        return layout.assemble(x, {name: mean_of(site) for name, site in sites.items()}).cpu()


def _observed_at(
    story: GenerativeStory, x: Tensor, means: Mapping[str, Tensor], conditions: Mapping[str, Any]
) -> dict[str, Site]:
    """The observed sites of the model at x, with all latents of the guide at their means."""
    given = conditions_of_model(story, conditions)
    model = poutine.condition(story.model, data=dict(means))
    trace = poutine.trace(model).get_trace(x, **given)
    undrawn = sampled_sites(trace)
    if undrawn and story.has_bound:
        # The guide may draw latents that are not among story.latents.
        guide = poutine.trace(story.guide).get_trace(x, **conditions_of_guide(story, conditions))
        others = {n: s for n, s in sampled_sites(guide).items() if n in undrawn}
        check_all_drawn(story, [name for name in undrawn if name not in others])
        points = {name: latent_point(site.fn) for name, site in others.items()}
        trace = poutine.trace(poutine.condition(model, data=points)).get_trace(x, **given)
    observed = observed_sites(trace)
    return without_factors({n: s for n, s in observed.items() if n not in {*means, *undrawn}})
