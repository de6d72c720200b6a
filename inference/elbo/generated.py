"""Traces of data that a model generates, beside the traces of real data: what adversarial objectives compare."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.sites import (
    Site,
    data_of,
    latent_sites,
    returned_site,
    returned_value,
    sampled_sites,
)


def generated_traces(
    model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, *, read_back: bool
) -> tuple[Trace, Trace]:
    """A trace of the model dreaming as many data as ``x`` has, and of the guide.

    What is dreamt is what ``model(batch_size=…)`` returns. With ``read_back`` the guide reads the dream, its latents
    at the values that the model drew; without, it reads ``x`` and draws its own. The model may have latents that the
    guide lacks.

    Raises:
        ValueError: the model cannot be asked for data, does not return what it draws, or no gradient passes through it.
    """
    if not _takes(model, "batch_size"):
        raise ValueError(
            "this objective needs data that the model draws, as model(batch_size=n), but the model takes no batch_size;"
            " as_story(model, guide) makes a pair whose model does"
        )
    model_trace = poutine.trace(lambda x: model(batch_size=len(x))).get_trace(x)
    dreamt = returned_site(model_trace)
    if not dreamt.fn.has_rsample:
        raise ValueError(
            f"no gradient passes through {dreamt.name!r}, drawn from {type(dreamt.fn).__name__}: use a likelihood that"
            " is reparameterised, such as Normal, or Delta for a deterministic generator"
        )
    if read_back:
        return model_trace, poutine.trace(poutine.replay(guide, trace=model_trace)).get_trace(
            dreamt.value
        )
    return model_trace, poutine.trace(guide).get_trace(x)


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def real_and_generated(model_trace: Trace) -> tuple[Tensor, Tensor]:
    """The data, and what was dreamt in their place, of one shape, from the model's trace of :func:`generated_traces`.

    Raises:
        ValueError: their shapes differ.
    """
    real, dreamt = data_of(model_trace), returned_value(model_trace)
    if real.shape != dreamt.shape:
        raise ValueError(
            f"the data have shape {tuple(real.shape)}, what the model dreams has {tuple(dreamt.shape)}"
        )
    return real, dreamt


def generated_latents(model_trace: Trace, guide_trace: Trace) -> list[tuple[Site, Site]]:
    """Pairs ``(site of the guide, site of the model)`` of the guide's latents, from :func:`generated_traces`.

    Raises:
        ValueError: the guide samples nothing, or a latent that the model lacks, or their event shapes differ.
    """
    guide, model = sampled_sites(guide_trace), sampled_sites(model_trace)
    if not guide.keys() or guide.keys() - model.keys():
        raise ValueError(
            f"expected a guide that samples latents of the model, {list(model)}, got {list(guide)}"
        )
    common = model_trace.copy()
    for name in model.keys() - guide.keys():
        common.remove_node(name)
    return latent_sites(common, guide_trace)
