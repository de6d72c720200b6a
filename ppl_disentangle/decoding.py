"""Decoders of any program: the mean of p(x | z) at given latents, or at the posterior means of x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.conditions import (
    accepted,
    checked_conditions,
    conditions_of_guide,
    conditions_of_model,
    one_batch,
)
from ppl_disentangle.missing import for_missing
from ppl_disentangle.observed import (
    Layout,
    latent_point,
    layout_of,
    mean_of,
    without_factors,
)
from ppl_disentangle.pairs import story_of
from ppl_disentangle.sites import (
    Site,
    observed_sites,
    returned_value,
    sampled_sites,
    site_values,
)
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = [
    "check_all_drawn",
    "decode",
    "drawn_layout",
    "observed_data",
    "observed_layout",
    "reconstruct",
]


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
    model = poutine.condition(story.model, data=dict(values))
    trace = poutine.trace(model).get_trace(batch_size=size, **given)
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
    """Where the observed sites of the model hold x; ``conditions`` are for the model."""

    def at(other: Tensor) -> dict[str, Site]:
        return observed_data(story, other, conditions)

    return layout_of(story.title, x, at(x), at)


def observed_data(
    story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]
) -> dict[str, Site]:
    """The observed sites of the model at x; ``conditions`` are for the model."""
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
        means = _inferred(story, x, given)
        given = {"observed": ~x.isnan(), **given}
        if story.conditions_in_latents:
            return _drawn_mean(story, means, len(x), given).cpu()
        # The means of the model do not depend on the values that it observes.
        return _mean_at(story, torch.where(x.isnan(), 0, x), means, given).cpu()


def _inferred(
    story: GenerativeStory, x: Tensor, conditions: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The posterior means of the latents of x, which may have missing values."""
    encoding = for_missing(story, x)
    conditions_of_guide(encoding, conditions)
    return encoding.latent_means(x, **accepted(encoding.latent_means, conditions))


def _mean_at(
    story: GenerativeStory, x: Tensor, means: Mapping[str, Tensor], conditions: Mapping[str, Any]
) -> Tensor:
    """The mean of p(x | z) of a model that runs on x, in the shape of x."""

    def at(other: Tensor) -> dict[str, Site]:
        return _observed_at(story, other, means, conditions)

    sites = at(x)
    layout = layout_of(story.title, x, sites, at)
    return layout.assemble(x, {name: mean_of(site) for name, site in sites.items()})


def _observed_at(
    story: GenerativeStory, x: Tensor, means: Mapping[str, Tensor], conditions: Mapping[str, Any]
) -> dict[str, Site]:
    """The observed sites of the model at x, with all latents of the guide at their means."""
    trace = _trace_at(story, x, means, conditions)
    undrawn = list(sampled_sites(trace))
    if undrawn and story.has_bound:
        # The guide may draw latents that are not among story.latents.
        others = _other_points(story, x, undrawn, conditions)
        trace = _trace_at(story, x, {**means, **others}, conditions)
    observed = observed_sites(trace)
    return without_factors({n: s for n, s in observed.items() if n not in {*means, *undrawn}})


def _trace_at(
    story: GenerativeStory, x: Tensor, latents: Mapping[str, Tensor], conditions: Mapping[str, Any]
) -> Trace:
    """A trace of the model at x and at given values of latents."""
    model = poutine.condition(story.model, data=dict(latents))
    return poutine.trace(model).get_trace(x, **conditions_of_model(story, conditions))


def _other_points(
    story: GenerativeStory, x: Tensor, names: Sequence[str], conditions: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The posterior means of latents that are not among ``story.latents``.

    Raises:
        ValueError: The guide does not draw one of them.
    """
    guide = poutine.trace(story.guide).get_trace(x, **conditions_of_guide(story, conditions))
    drawn = sampled_sites(guide)
    check_all_drawn(story, [name for name in names if name not in drawn])
    return {name: latent_point(drawn[name].fn) for name in names}
