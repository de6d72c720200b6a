"""A fit as labelled arrays in ArviZ's groups: plates are dims, coordinates and factors have names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.conditions import (
    COLUMNED,
    arranged,
    by_name,
    conditions_of_model,
    one_batch,
    programs,
)
from ppl_disentangle.data import CausalDataset, FactorDataset, as_dataset, with_conditions
from ppl_disentangle.decoding import check_all_drawn
from ppl_disentangle.missing import Incomplete, for_missing
from ppl_disentangle.names import free_name
from ppl_disentangle.observed import mean_of, without_factors
from ppl_disentangle.observed_elements import elements_observed
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import code_names, observation_dims
from ppl_disentangle.sites import (
    Plate,
    Site,
    data_plate,
    deterministic_sites,
    observed_sites,
    paired_traces,
    sampled_sites,
)
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["Predictive", "to_arviz", "to_datatree"]

Predictive = Literal["summary", "draws"]

UNIT = "drawn_unit"
"""Dim of units that are drawn from the model and belong to no datum."""


class Draw(NamedTuple):
    """One draw of the latents of each datum of a batch.

    Attributes:
        latents: Values of the latents.
        means: Means of p(x | z) of the observed sites whose distribution states a mean.
        log_likelihood: Log density of each datum by observed site.
        observed: Values of the observed sites.
    """

    latents: dict[str, xr.DataArray]
    means: dict[str, xr.DataArray]
    log_likelihood: dict[str, xr.DataArray]
    observed: dict[str, xr.DataArray]


def to_datatree(
    story: GenerativeStory,
    data: Any,
    history: xr.Dataset | None = None,
    *,
    num_data: int = 64,
    draws: int = 20,
    predictive: Predictive = "summary",
    seed: int = 0,
    **groups_or_conditions: Any,
) -> xr.DataTree:
    """Draw from posterior and prior, and put draws, data and fit into ArviZ's groups.

    The groups are ``posterior`` (latents given the data), ``posterior_predictive`` (means of
    p(x | z) at these draws), ``log_likelihood`` (log p(x | z), for a story that has a bound),
    ``prior`` (latents), ``prior_predictive`` (means of p(x | z) at these draws),
    ``observed_data``, ``constant_data`` (factor values) and ``fit`` (the history). Dims are
    ``chain`` (one), ``draw``, ``data``, further plates by their names, and the dims of a latent or
    an observation. A latent that all data share has no dim ``data``. The coordinate ``data`` names
    the rows of the user's own data.

    The prior groups have a dim ``drawn_unit`` in place of ``data``: units drawn from the model belong to
    no datum. If the model takes conditions, the units have the conditions of the data that are kept.

    Predictive groups are summaries by default: mean and standard deviation over the draws, along a
    dim ``statistic``. Draws of images would be a hundred times larger than all other groups. The
    summary of ``prior_predictive`` is over all units.

    Latents that are local to a datum are drawn independently, not by a Markov chain: R-hat and
    effective sample size say nothing about them.

    Args:
        story: A story.
        data: Data in any form that :func:`~ppl_disentangle.data.as_dataset` takes, with the
            conditions that the story needs. ``num_data`` of them are drawn at random without
            replacement. If the guide has parameters of each datum, all data are kept.
        history: Result of :func:`~ppl_disentangle.inference.fit`; left out, the group ``fit`` is
            left out too.
        num_data: Number of data to keep.
        draws: Number of draws for each datum.
        predictive: ``"summary"``, or ``"draws"`` to keep every draw of the predictive groups.
        seed: Seed of the choice of the data and of the draws.
        **groups_or_conditions: Further groups of the tree, such as ``metrics``, if they are xarray
            data sets. Everything else is a condition of all data, such as ``labels``,
            ``(num_data, …)``, which wins over those that the data carry.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: An unknown value of ``predictive``, a condition that is missing, or a latent
            that the guide does not draw.
    """
    if predictive not in get_args(Predictive):
        raise ValueError(f"expected predictive 'summary' or 'draws', got {predictive!r}")
    story = story_of(story)
    groups = {n: v for n, v in groups_or_conditions.items() if isinstance(v, xr.Dataset)}
    conditions = {n: v for n, v in groups_or_conditions.items() if n not in groups}
    data = _conditioned(story, as_dataset(data), conditions)
    story = for_missing(story, data)
    index = _kept_index(story, len(data), num_data, seed)
    kept = data.subset(index)
    with evaluating(story, seed=seed) as device:
        x, given, rows = one_batch(story, kept, device, {})
        posterior = [_draw_posterior(story, x, given) for _ in range(draws)]
        observed = tuple(posterior[0].observed)
        prior = [_draw_prior(story, len(x), given, observed) for _ in range(draws)]
    tree = {
        **_posterior_groups(posterior, predictive),
        **_prior_groups(prior, predictive),
        "observed_data": xr.Dataset(posterior[0].observed),
        "constant_data": _factor_values(data, index),
    }
    if not story.has_bound:
        del tree["log_likelihood"]
    if history is not None:
        tree["fit"] = history
    labelled = {name: _with_rows(group, rows) for name, group in tree.items()}
    return xr.DataTree.from_dict(labelled | groups)


def _conditioned(
    story: GenerativeStory, data: FactorDataset, conditions: Mapping[str, Any]
) -> FactorDataset:
    """Add conditions to data, and put the columns of labels into the order of the story."""
    if conditions:
        named = any(name in COLUMNED for name in conditions) and bool(story.columns)
        columns = story.columns if named else None
        data = with_conditions(data, columns=columns, **by_name(story, conditions))
    return arranged(story, data)


def _kept_index(story: GenerativeStory, available: int, num_data: int, seed: int) -> Tensor:
    """Draw the data to keep; all in order if the guide has parameters of each datum."""
    if available == story.fixed_size:
        return torch.arange(available)
    return torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:num_data]


def _posterior_groups(draws: Sequence[Draw], predictive: Predictive) -> dict[str, xr.Dataset]:
    """Make the groups of draws given the data; predictive summaries are over the draws."""
    means = _stack([draw.means for draw in draws])
    return {
        "posterior": _stack([draw.latents for draw in draws]),
        "posterior_predictive": means if predictive == "draws" else _summary(means),
        "log_likelihood": _stack([draw.log_likelihood for draw in draws]),
    }


def _prior_groups(draws: Sequence[Draw], predictive: Predictive) -> dict[str, xr.Dataset]:
    """Make the groups of draws from the model; predictive summaries are over draws and data."""
    means = _stack([draw.means for draw in draws])
    return {
        "prior": _stack([draw.latents for draw in draws]),
        "prior_predictive": means if predictive == "draws" else _summary(means, UNIT),
    }


def to_arviz(tree: xr.DataTree) -> Any:
    """Convert a tree to the type that the installed ArviZ takes.

    Returns:
        An ``InferenceData`` for ArviZ before version 1; the tree itself for later versions.
    """
    import arviz

    if int(arviz.__version__.split(".")[0]) >= 1:
        return tree
    return arviz.InferenceData.from_datatree(tree)


def _draw_posterior(story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]) -> Draw:
    """Draw the latents of each datum from the guide and run the model with them."""
    model_trace, guide_trace = paired_traces(
        *programs(story, conditions), (x,), dict(conditions), reparameterised=False, matched=False
    )
    guided = sampled_sites(guide_trace)
    if story.has_bound:
        check_all_drawn(story, [name for name in sampled_sites(model_trace) if name not in guided])
    drawn = deterministic_sites(model_trace) | guided
    for name in story.latents:
        if name not in drawn:
            raise ValueError(
                f"the guide of {story.title} does not draw the latent {name!r}; it draws"
                f" {list(guided)}"
            )
    latents = {name: drawn[name] for name in story.latents}
    observed = without_factors(observed_sites(model_trace))
    return _labelled_draw(story, latents, observed, "data")


def _draw_prior(
    story: GenerativeStory, num: int, conditions: Mapping[str, Any], observed: Sequence[str]
) -> Draw:
    """Draw latents and the sites ``observed`` from the model."""
    given = {n: v for n, v in conditions.items() if n not in story.conditions_in_latents}
    told = conditions_of_model(story, given)
    drawn = sampled_sites(poutine.trace(story.model).get_trace(batch_size=num, **told))
    latents = {name: drawn[name] for name in story.latents if name in drawn}
    return _labelled_draw(story, latents, {n: drawn[n] for n in observed if n in drawn}, UNIT)


def _labelled_draw(
    story: GenerativeStory, latents: Mapping[str, Site], observed: Mapping[str, Site], unit: str
) -> Draw:
    """Label the dims of one draw; the dim of the plate over the data is called ``unit``."""
    plate = data_plate([*observed.values(), *latents.values()])
    means = _means(observed)
    return Draw(
        latents={name: _latent(story, site, plate, unit) for name, site in latents.items()},
        means={name: _observation(observed[name], plate, unit, means[name]) for name in means},
        log_likelihood={
            name: _log_likelihood(site, plate, unit) for name, site in observed.items()
        },
        observed={
            name: _observation(site, plate, unit, _observed_value(story, site))
            for name, site in observed.items()
        },
    )


def _log_likelihood(site: Site, plate: Plate | None, unit: str) -> xr.DataArray:
    """Label the log density of each datum; of a site outside of the data, its whole density."""
    density = site.log_prob()
    if plate is not None and plate.name in [p.name for p in site.plates]:
        return _labelled(site.per_datum(density, plate), (unit,))
    value, dims = _plate_dims(site, plate, unit, density, event_dim=0)
    return _labelled(value, tuple(dims))


def _observed_value(story: GenerativeStory, site: Site) -> Tensor:
    """The value of an observed site, NaN where the data have missing values."""
    observed = elements_observed(site.fn) if isinstance(story, Incomplete) else None
    return site.value if observed is None else site.value.where(observed, math.nan)


def _plate_dims(
    site: Site, plate: Plate | None, unit: str, value: Tensor, *, event_dim: int
) -> Plated:
    """Name the batch dims of a value of a site, and put the data first.

    Without plates, the first batch dim is that of the data.

    Args:
        site: The site.
        plate: The plate over the data.
        unit: Name of the dim of the data.
        value: A value of the batch shape of the site.
        event_dim: Number of its event dims.
    """
    num_batch_dims = value.dim() - event_dim
    names = _batch_names(site, plate, unit, value.shape[:num_batch_dims])
    kept = [axis for axis, name in enumerate(names) if name]
    kept.sort(key=lambda axis: names[axis] != unit)
    events = list(range(num_batch_dims, value.dim()))
    dropped = [axis for axis, name in enumerate(names) if not name]  # of size 1
    permuted = value.permute([*kept, *events, *dropped])
    shape = permuted.shape[: len(kept) + len(events)]
    return Plated(permuted.reshape(shape), [names[axis] for axis in kept])


def _batch_names(site: Site, plate: Plate | None, unit: str, sizes: torch.Size) -> list[str]:
    """Name each batch dim of a site; a dim of size 1 without a plate has an empty name."""
    by_dim = {p.dim: p.name for p in site.plates}
    if plate is None and sizes:
        by_dim[-len(sizes)] = unit
    elif plate is not None and plate.name in by_dim.values():
        by_dim[plate.dim] = unit
    numbered = ["" if size == 1 else f"{site.name}_batch_dim_{i}" for i, size in enumerate(sizes)]
    return [by_dim.get(i - len(sizes), name) for i, name in enumerate(numbered)]


class Plated(NamedTuple):
    """A value whose first dims are plates, and their names."""

    value: Tensor
    dims: list[str]


def _latent(story: GenerativeStory, site: Site, plate: Plate | None, unit: str) -> xr.DataArray:
    """Label a latent: the coordinates of a vector have names, other dims are numbered."""
    value, dims = _plate_dims(site, plate, unit, site.value, event_dim=site.fn.event_dim)
    shape = site.fn.event_shape
    if len(shape) != 1:
        event_dims = [f"{site.name}_dim_{number}" for number in range(len(shape))]
        return _labelled(value, (*dims, *event_dims))
    dim = f"{site.name}_coordinate"
    names = list(code_names(story, site.name, shape[0]))
    return _labelled(value, (*dims, dim)).assign_coords({dim: names})


def _means(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """Return the mean of each site whose distribution states one."""
    means = {}
    for name, site in sites.items():
        with suppress(ValueError):
            means[name] = mean_of(site)
    return means


def _observation(site: Site, plate: Plate | None, unit: str, values: Tensor) -> xr.DataArray:
    """Label values of an observed site."""
    value, dims = _plate_dims(site, plate, unit, values, event_dim=site.fn.event_dim)
    return _labelled(value, (*dims, *observation_dims(value.dim() - len(dims), site.name)))


def _labelled(values: Tensor, dims: tuple[str, ...]) -> xr.DataArray:
    """Label the dims of a tensor, in single precision and on the CPU."""
    return xr.DataArray(values.detach().float().cpu().numpy(), dims=dims)


def _stack(draws: Sequence[Mapping[str, xr.DataArray]]) -> xr.Dataset:
    """Stack draws along ``draw``, in one chain."""
    variables = {}
    for name in draws[0]:
        stacked = xr.concat([draw[name] for draw in draws], "draw")
        variables[name] = stacked.expand_dims("chain")
    return xr.Dataset(variables).assign_coords(chain=[0], draw=np.arange(len(draws)))


def _summary(draws: xr.Dataset, *dims: str) -> xr.Dataset:
    """Summarise draws by mean and standard deviation over chain, draw and further dims."""
    if not draws.data_vars:
        return draws
    over = ["chain", "draw", *(dim for dim in dims if dim in draws.dims)]
    statistics = [draws.mean(over), draws.std(over)]
    labels = xr.DataArray(["mean", "sd"], dims="statistic", name="statistic")
    return xr.concat(statistics, labels)


def _with_rows(group: xr.Dataset, rows: npt.NDArray[Any]) -> xr.Dataset:
    """Label the data of a group by their rows in the user's own data."""
    return group.assign_coords(data=rows) if "data" in group.dims else group


def _values_of_classes(values: Sequence[Any], classes: Tensor) -> np.ndarray:
    """The value of each class; NaN, or an empty text, for a missing one."""
    has_texts = any(isinstance(value, str) for value in values)
    missing = "" if has_texts else math.nan
    return np.array([values[int(k)] if k >= 0 else missing for k in classes])


def _factor_values(data: FactorDataset, index: Tensor) -> xr.Dataset:
    """Read the values of the factors, or of the nodes of causal data, at an index."""
    if isinstance(data, CausalDataset):
        columns = zip(data.names, data.values[index].T.numpy(), strict=True)
        return xr.Dataset({name: ("data", column) for name, column in columns})
    variables = {}
    classes = data.factors(index)
    numbers = data.factor_numbers(index)
    for k, factor in enumerate(data.space):
        if factor.kind == "continuous":
            values = numbers[:, k].numpy()
        else:
            values = _values_of_classes(factor.values, classes[:, k])
        variables[free_name(factor.name, ["data"])] = ("data", values)
    return xr.Dataset(variables)
