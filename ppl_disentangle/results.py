"""A fit as labelled arrays in ArviZ's groups: plates are dims, coordinates and factors have names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.data import CausalDataset, FactorDataset
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.names import free_name
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import code_names, observation_dims
from ppl_disentangle.sites import (
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
    data: FactorDataset,
    history: xr.Dataset | None = None,
    *,
    num_data: int = 64,
    draws: int = 20,
    predictive: Predictive = "summary",
    seed: int = 0,
    **groups: xr.Dataset,
) -> xr.DataTree:
    """Draw from posterior and prior, and put draws, data and fit into ArviZ's groups.

    The groups are ``posterior`` (latents given the data), ``posterior_predictive`` (means of
    p(x | z) at these draws), ``log_likelihood`` (log p(x | z), for a story that has a bound),
    ``prior`` (latents), ``prior_predictive`` (means of p(x | z) at these draws),
    ``observed_data``, ``constant_data`` (factor values) and ``fit`` (the history). Dims are
    ``chain`` (one), ``draw``, ``data``, and the dims of a latent or an observation.

    Predictive groups are summaries by default: mean and standard deviation over the draws, along a
    dim ``statistic``. Draws of images would be a hundred times larger than all other groups. The
    draws of ``prior_predictive`` belong to no datum: its summary is over all of them.

    Latents that are local to a datum are drawn independently, not by a Markov chain: R-hat and
    effective sample size say nothing about them.

    Args:
        story: A story.
        data: Data with the conditions that the story needs. ``num_data`` of them are drawn at
            random without replacement.
        history: Result of :func:`~ppl_disentangle.inference.fit`; left out, the group ``fit`` is
            left out too.
        num_data: Number of data to keep.
        draws: Number of draws for each datum.
        predictive: ``"summary"``, or ``"draws"`` to keep every draw of the predictive groups, over
            ``chain``, ``draw`` and ``data``.
        seed: Seed of the choice of the data and of the draws.
        **groups: Further groups of the tree, such as ``metrics``.

    Raises:
        ValueError: An unknown value of ``predictive``.
    """
    if predictive not in get_args(Predictive):
        raise ValueError(f"expected predictive 'summary' or 'draws', got {predictive!r}")
    story = story_of(story)
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:num_data]
    with evaluating(story, seed=seed) as device:
        x, conditions = next(conditioned_batches(data.subset(index), max(len(index), 1), device))
        posterior = [_draw_posterior(story, x, conditions) for _ in range(draws)]
        prior = [_draw_prior(story, len(x)) for _ in range(draws)]
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
    labelled = {name: _with_data_index(group, index) for name, group in tree.items()}
    return xr.DataTree.from_dict(labelled | groups)


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
        "prior_predictive": means if predictive == "draws" else _summary(means, "data"),
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


def _draw_posterior(story: GenerativeStory, x: Tensor, conditions: dict[str, Tensor]) -> Draw:
    """Draw the latents of each datum from the guide and run the model with them."""
    model_trace, guide_trace = paired_traces(
        story.model, story.guide, (x,), conditions, reparameterised=False, matched=story.has_bound
    )
    drawn = deterministic_sites(model_trace) | sampled_sites(guide_trace)
    latents = {name: drawn[name] for name in story.latents}
    return _labelled_draw(story, latents, observed_sites(model_trace))


def _draw_prior(story: GenerativeStory, num: int) -> Draw:
    """Draw latents and observations from the model."""
    drawn = sampled_sites(poutine.trace(story.model).get_trace(batch_size=num))
    latents = {name: drawn[name] for name in story.latents}
    observed = {name: site for name, site in drawn.items() if name not in latents}
    return _labelled_draw(story, latents, observed)


def _labelled_draw(
    story: GenerativeStory, latents: Mapping[str, Site], observed: Mapping[str, Site]
) -> Draw:
    """Label the dims of one draw."""
    plate = data_plate(observed.values())
    log_likelihood = {}
    for name, site in observed.items():
        density = site.log_prob()
        per_datum = density if plate is None else site.per_datum(density, plate)
        log_likelihood[name] = _labelled(per_datum, ("data",))
    return Draw(
        latents={name: _latent(story, site) for name, site in latents.items()},
        means={name: _observation(name, mean) for name, mean in _means(observed).items()},
        log_likelihood=log_likelihood,
        observed={name: _observation(name, site.value) for name, site in observed.items()},
    )


def _latent(story: GenerativeStory, site: Site) -> xr.DataArray:
    """Label a latent: the coordinates of a vector have names, other dims are numbered."""
    shape = site.fn.event_shape
    if len(shape) != 1:
        dims = [f"{site.name}_dim_{number}" for number in range(site.value.dim() - 1)]
        return _labelled(site.value, ("data", *dims))
    dim = f"{site.name}_coordinate"
    names = list(code_names(story, site.name, shape[0]))
    return _labelled(site.value, ("data", dim)).assign_coords({dim: names})


def _means(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """Return the mean of each site whose distribution states one."""
    means = {}
    for name, site in sites.items():
        with suppress(NotImplementedError):
            means[name] = site.fn.mean
    return means


def _observation(name: str, value: Tensor) -> xr.DataArray:
    """Label observations ``(batch, *event)``."""
    return _labelled(value, ("data", *observation_dims(value.dim() - 1, name)))


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
    over = ["chain", "draw", *dims]
    statistics = [draws.mean(over), draws.std(over)]
    labels = xr.DataArray(["mean", "sd"], dims="statistic", name="statistic")
    return xr.concat(statistics, labels)


def _with_data_index(group: xr.Dataset, index: Tensor) -> xr.Dataset:
    """Label the data of a group by their index in the data set."""
    return group.assign_coords(data=index.numpy()) if "data" in group.dims else group


def _factor_values(data: FactorDataset, index: Tensor) -> xr.Dataset:
    """Read the values of the factors, or of the nodes of causal data, at an index."""
    if isinstance(data, CausalDataset):
        columns = dict(zip(data.names, data.values[index].T, strict=True))
        return xr.Dataset({name: ("data", column.numpy()) for name, column in columns.items()})
    variables = {}
    for factor, column in zip(data.space, data.factors(index).T, strict=True):
        values = [factor.values[int(place)] for place in column]
        variables[free_name(factor.name, ["data"])] = ("data", np.array(values))
    return xr.Dataset(variables)
