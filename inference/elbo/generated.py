"""Traces of data that the model generates, which adversarial objectives compare with real data."""

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

__all__ = ["generated_latents", "generated_traces", "real_and_generated"]


def generated_traces(
    model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, *, read_back: bool
) -> tuple[Trace, Trace]:
    """A trace of the model generating as many data as ``x`` holds, and a trace of the guide.

    The generated samples are the value that ``model(batch_size=…)`` returns. The model may have
    latents that the guide lacks.

    Args:
        model: The model.
        guide: The guide.
        x: The real data.
        read_back: If true, the guide is traced on the generated samples, with its latents fixed to
            the values that the model drew. If false, it is traced on ``x`` and draws its latents.

    Raises:
        ValueError: The model takes no ``batch_size``, does not return the value of a sample
            statement, or its samples have no gradient.
    """
    if not _takes(model, "batch_size"):
        raise ValueError(
            "this objective needs generated data, model(batch_size=n), but the model takes no"
            " batch_size; as_story(model, guide) makes a pair whose model does"
        )
    # The data are passed along so that they are in the trace, as its input: see data_of.
    model_trace = poutine.trace(lambda x: model(batch_size=len(x))).get_trace(x)
    generated = returned_site(model_trace)
    if not generated.fn.has_rsample:
        raise ValueError(
            f"no gradient passes through {generated.name!r}, drawn from"
            f" {type(generated.fn).__name__}: use a likelihood that is reparameterised, such as"
            " Normal, or Delta for a deterministic generator"
        )
    if read_back:
        replayed = poutine.replay(guide, trace=model_trace)
        guide_trace = poutine.trace(replayed).get_trace(generated.value)
    else:
        guide_trace = poutine.trace(guide).get_trace(x)
    return model_trace, guide_trace


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def real_and_generated(model_trace: Trace) -> tuple[Tensor, Tensor]:
    """The real data and the generated samples, of equal shape.

    Args:
        model_trace: Trace of the model from :func:`generated_traces`.

    Raises:
        ValueError: The shapes differ.
    """
    real = data_of(model_trace)
    generated = returned_value(model_trace)
    if real.shape != generated.shape:
        raise ValueError(
            f"the data have shape {tuple(real.shape)}, the samples that the model generates have"
            f" {tuple(generated.shape)}"
        )
    return real, generated


def generated_latents(model_trace: Trace, guide_trace: Trace) -> list[tuple[Site, Site]]:
    """Pairs ``(site of the guide, site of the model)`` of the guide's latents.

    Args:
        model_trace: Trace of the model from :func:`generated_traces`.
        guide_trace: Trace of the guide from :func:`generated_traces`.

    Raises:
        ValueError: The guide samples nothing, or samples a latent that the model lacks, or the
            event shapes differ.
    """
    guide = sampled_sites(guide_trace)
    model = sampled_sites(model_trace)
    if not guide.keys() or guide.keys() - model.keys():
        raise ValueError(
            f"expected a guide that samples latents of the model, {list(model)}, got {list(guide)}"
        )
    common = model_trace.copy()
    for name in model.keys() - guide.keys():
        common.remove_node(name)
    return latent_sites(common, guide_trace)
