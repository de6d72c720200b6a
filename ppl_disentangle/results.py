"""A fit as labelled arrays in ArviZ's groups: plates are dims, coordinates of latents and factors have names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.data import CausalDataset, FactorDataset
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.representation import code_names, observation_dims
from ppl_disentangle.sites import (
    Site,
    data_plate,
    deterministic_sites,
    observed_sites,
    paired_traces,
    sampled_sites,
)
from ppl_disentangle.story import GenerativeStory, evaluating, story_of

__all__ = ["to_arviz", "to_datatree"]


def to_datatree(
    story: GenerativeStory,
    data: FactorDataset,
    history: xr.Dataset | None = None,
    *,
    num_data: int = 64,
    draws: int = 20,
    seed: int = 0,
    **groups: xr.Dataset,
) -> xr.DataTree:
    """Draws from posterior and prior, data and factors in ArviZ's groups, and the fit beside them.

    Groups: ``posterior`` (latents given the data), ``posterior_predictive`` (mean of p(x | z) at these draws),
    ``log_likelihood`` (log p(x | z), of a story that has a bound), ``prior`` (latents), ``prior_predictive`` (mean
    of p(x | z)), ``observed_data``, ``constant_data`` (factor values), ``fit`` (the history) and whatever is passed
    as ``groups``, such as ``metrics``. Dims are ``chain`` (one), ``draw``, ``data``, and those of a latent or an
    observation.

    Draws of latents that are local to a datum are no Markov chain: R-hat and effective sample size say nothing
    about them.

    Args:
        story: a story.
        data: the data; ``num_data`` of them, drawn at random without replacement, are kept.
        history: what :func:`~ppl_disentangle.inference.fit` returned.
        num_data: number of data to keep.
        draws: draws per datum.
        seed: of the choice of the data and of the draws.
        **groups: further groups of the tree.
    """
    story = story_of(story)
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:num_data]
    with evaluating(story, seed=seed) as device:
        ((x, told),) = conditioned_batches(data.subset(index), max(len(index), 1), device)
        posterior = [_draw(story, x, told) for _ in range(draws)]
        prior = [_draw(story, None, {}, len(x)) for _ in range(draws)]
    tree = {
        "posterior": _dataset([d["latents"] for d in posterior]),
        "posterior_predictive": _dataset([d["means"] for d in posterior]),
        "log_likelihood": _dataset([d["log_likelihood"] for d in posterior]),
        "prior": _dataset([d["latents"] for d in prior]),
        "prior_predictive": _dataset([d["means"] for d in prior]),
        "observed_data": xr.Dataset(posterior[0]["observed"]),
        "constant_data": _factors(data, index),
    }
    if not story.has_bound:
        del tree["log_likelihood"]
    if history is not None:
        tree["fit"] = history
    tree = {
        name: group.assign_coords(data=index.numpy()) if "data" in group.dims else group
        for name, group in tree.items()
    }
    return xr.DataTree.from_dict(tree | groups)


def to_arviz(tree: xr.DataTree) -> Any:
    """``tree`` as the installed ArviZ takes it: ``InferenceData`` before version 1, the tree itself from then on."""
    import arviz

    if int(arviz.__version__.split(".")[0]) >= 1:
        return tree
    return arviz.InferenceData.from_datatree(tree)


def _draw(
    story: GenerativeStory, x: Tensor | None, told: dict[str, Tensor], num: int = 0
) -> dict[str, dict[str, xr.DataArray]]:
    """One draw of the latents of each datum, with mean and log density of its observations."""
    if x is None:
        model_trace = poutine.trace(story.model).get_trace(batch_size=num)
        drawn = sampled_sites(model_trace)
        latents = {name: drawn[name] for name in story.latents}
        observed = {name: site for name, site in drawn.items() if name not in latents}
    else:
        model_trace, guide_trace = paired_traces(
            story.model, story.guide, (x,), told, reparameterised=False, matched=story.has_bound
        )
        drawn = deterministic_sites(model_trace) | sampled_sites(guide_trace)
        latents, observed = (
            {name: drawn[name] for name in story.latents},
            observed_sites(model_trace),
        )
    plate = data_plate(observed.values())
    return {
        "latents": {name: _latent(story, site) for name, site in latents.items()},
        "observed": {name: _observation(name, site.value) for name, site in observed.items()},
        "means": {name: _observation(name, mean) for name, mean in _means(observed).items()},
        "log_likelihood": {
            name: _labelled(
                site.per_datum(site.log_prob(), plate) if plate else site.log_prob(), ("data",)
            )
            for name, site in observed.items()
        },
    }


def _latent(story: GenerativeStory, site: Site) -> xr.DataArray:
    shape = site.fn.event_shape
    if len(shape) != 1:
        return _labelled(
            site.value, ("data", *(f"{site.name}_dim_{i}" for i in range(site.value.dim() - 1)))
        )
    dim = f"{site.name}_coordinate"
    return _labelled(site.value, ("data", dim)).assign_coords(
        {dim: list(code_names(story, site.name, shape[0]))}
    )


def _means(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """The mean of each site whose distribution states one."""
    means = {}
    for name, site in sites.items():
        with suppress(NotImplementedError):
            means[name] = site.fn.mean
    return means


def _observation(name: str, value: Tensor) -> xr.DataArray:
    return _labelled(value, ("data", *observation_dims(value.dim() - 1, name)))


def _labelled(values: Tensor, dims: tuple[str, ...]) -> xr.DataArray:
    return xr.DataArray(values.detach().float().cpu().numpy(), dims=dims)


def _dataset(draws: list[Mapping[str, xr.DataArray]]) -> xr.Dataset:
    """Draws stacked along ``draw``, in one chain."""
    return xr.Dataset(
        {k: xr.concat([d[k] for d in draws], "draw").expand_dims("chain") for k in draws[0]}
    ).assign_coords(chain=[0], draw=np.arange(len(draws)))


def _factors(data: FactorDataset, index: Tensor) -> xr.Dataset:
    if isinstance(data, CausalDataset):
        return xr.Dataset(
            {n: ("data", v.numpy()) for n, v in zip(data.names, data.values[index].T, strict=True)}
        )
    classes = data.factors(index)
    return xr.Dataset(
        {
            factor.name: ("data", np.array([factor.values[int(c)] for c in column]))
            for factor, column in zip(data.space, classes.T, strict=True)
        }
    )
