"""Counterfactuals of given units, by abduction, action and prediction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyro
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.causal.actions import Action
from ppl_disentangle.causal.batch_dims import (
    SideBySideError,
    check_batch_dims,
    explained,
    in_every_world,
)
from ppl_disentangle.causal.branching import Branch, StopProgram
from ppl_disentangle.causal.interventions import OBSERVED, RangeCheck
from ppl_disentangle.causal.structural import NOISE, StructuralPrior
from ppl_disentangle.causal.support import check_finite, check_support, root_of
from ppl_disentangle.causal.worlds import Worlds, worlds
from ppl_disentangle.conditions import (
    accepted,
    conditions_of_guide,
    conditions_of_model,
    one_batch,
)
from ppl_disentangle.data.named_columns import columns_by_name
from ppl_disentangle.missing import for_missing
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import code_names, observation_dims
from ppl_disentangle.sites import sampled_sites
from ppl_disentangle.story import AtMeans, GenerativeStory, evaluating

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["counterfactual"]


def counterfactual(
    story: Any,
    x: Any,
    actions: Mapping[str, Action] | Sequence[Mapping[str, Action]],
    *,
    num_samples: int | None = 20,
    seed: int = 0,
    evidence: Mapping[str, Any] | pd.DataFrame | None = None,
    noise: Literal["abduct", "mean"] = "abduct",
    data_range: RangeCheck | None = None,
    **conditions: Any,
) -> xr.Dataset:
    r"""Predict how given units would have been under interventions.

    This is the third rung of the ladder of causation. Abduction: the guide draws the latents of
    each unit; in a structural story these are the noise of its nodes. Action and prediction: the
    model runs under :func:`~ppl_disentangle.causal.worlds` with these latents, for all worlds,
    draws and units in one pass [1]. For likelihoods with location :math:`\mu` and scale
    :math:`\sigma`, the unit's own pixel noise :math:`(x - \mu) / \sigma` is abducted too, so that
    the factual world returns x itself.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``.
        x: Units, as float observations ``(batch, *event)``, or in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes.
        actions: The actions of one world, as :func:`~ppl_disentangle.causal.do` takes them, or a
            list of such mappings, one for each world; ``{}`` is the factual world. Values may
            differ by unit.
        num_samples: Number of draws of the latents of each unit; ``None`` takes their posterior
            means instead.
        seed: Seed of the random draws.
        evidence: Known values of nodes, ``(batch,)`` or ``(batch, dim)`` by name, NaN where
            unknown: a dictionary, a data frame or an xarray data set. They replace the values that
            the guide draws; the noise of these nodes and of their children is abducted from them.
            All other nodes keep the values that the guide drew. By default no value is known.
        noise: ``"abduct"`` keeps the pixel noise of each unit; ``"mean"`` returns mean images.
            Where the pixel noise cannot be known, as for Bernoulli pixels, ``"abduct"`` returns
            means too. The attribute ``noise`` of each observed variable says which it is.
        data_range: The range of the data, from :func:`~ppl_disentangle.causal.data_range`. If it is
            given, worlds that leave this range cause a warning; by default nothing is checked.
        **conditions: Conditions that the story's guide or model takes for each unit, such as
            ``labels``.

    Returns:
        Every latent, node and observed variable over the dims ``world``, ``draw``, ``data`` and its
        event dims: ``channel, row, column`` for images, ``<node>_coordinate`` for several
        coordinates, and no further dim for one.

    Raises:
        KeyError: The story has no such latent, node or coordinate.
        ValueError: An action or evidence does not fit, or the noise of a latent cannot be known.
        TypeError: The story does not take one of the conditions.

    References:
        [1] Pearl, 2009. Causality, theorem 7.1.7 (abduction, action, prediction).

    Example:
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.models import CausalVAE
        >>> from ppl_disentangle.causal.structural import StructuralPrior
        >>> prior = StructuralPrior("light -> shadow")
        >>> story = CausalVAE(prior, Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6)))
        >>> what_if = counterfactual(story, torch.rand(3, 6), [{}, {"light": 1.0}], num_samples=2)
        >>> dict(what_if["shadow"].sizes), what_if["world"].values.tolist()
        ({'world': 2, 'draw': 2, 'data': 3}, ['factual', 'light = 1'])
    """
    if noise not in ("abduct", "mean"):
        raise ValueError(f"expected noise to be 'abduct' or 'mean', got {noise!r}")
    asked = [actions] if isinstance(actions, Mapping) else list(actions)
    # Abduction takes place in the first world, which must be factual: add it if nobody asked for it.
    added: list[Mapping[str, Action]] = [] if asked and not asked[0] else [{}]
    known = None if evidence is None else columns_by_name("evidence", evidence)
    story = story_of(story)
    with evaluating(story, seed=seed) as device:
        x, conditions, rows = one_batch(story, x, device, conditions)
    kind = type(story).__name__
    story = for_missing(story, x)
    all_worlds = worlds(story, [*added, *asked], **conditions)
    with evaluating(story, seed=seed):
        latents = abduct(all_worlds, x, num_samples, conditions, known)
        branch = predict(all_worlds, latents, x, data=noise, conditions=conditions, checked=True)
    if data_range is not None:
        _check_worlds(data_range, branch, asked, first=len(added))
    result = _dataset(all_worlds, branch, rows).isel(world=slice(len(added), None))
    return result.assign_attrs(
        rung="counterfactual",
        story=kind,
        actions="; ".join(all_worlds.names[len(added) :]),
        noise="mean" if branch.averaged else "abducted",
        evidence=", ".join(known or ()),
        num_samples=num_samples or 1,
        seed=seed,
    )


def _check_worlds(
    data_range: RangeCheck, branch: Branch, actions: Sequence[Mapping[str, Action]], *, first: int
) -> None:
    values = branch.broadcast()
    for world, actions_of_world in enumerate(actions, first):
        values_of_world = {name: value[world] for name, value in values.items()}
        data_range.check(values_of_world, actions_of_world, stacklevel=4)


def abduct(
    all_worlds: Worlds,
    x: Tensor,
    num_samples: int | None,
    conditions: Mapping[str, Any],
    evidence: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Abduction: the latents of each unit given observations and evidence, by name.

    Each has the shape ``(draw, batch, *event)``.
    """
    story = all_worlds.story
    given = conditions_of_guide(story, conditions)
    if num_samples is None:
        latents = _posterior_means(all_worlds, x, conditions)
    else:
        # The plate of draws is left of the story's plates, and so right of the axis of worlds.
        with pyro.plate("draw", num_samples, dim=-1 - all_worlds.plates):
            trace = poutine.trace(story.guide).get_trace(x, **given)
        latents = {name: site.value for name, site in sampled_sites(trace).items()}
    if evidence and "interventions" in conditions:
        raise ValueError(
            "evidence on units that were recorded under interventions is ambiguous: leave out one of both"
        )
    if not evidence:
        return latents
    undrawn = _undrawn(all_worlds, x, latents, conditions)
    return _with_evidence(all_worlds, latents, evidence, undrawn)


def _posterior_means(
    all_worlds: Worlds, x: Tensor, conditions: Mapping[str, Any]
) -> dict[str, Tensor]:
    """One value of every latent of each unit, ``(1, *plates, *event)``: the posterior means.

    A latent that the story does not list has its mean given the means of the latents before it.
    """
    story = all_worlds.story
    means = dict(story.latent_means(x, **accepted(story.latent_means, conditions)))
    with AtMeans(means), poutine.trace() as drawn:
        story.guide(x, **conditions_of_guide(story, conditions))
    sites = sampled_sites(drawn.trace)
    values = {name: site.value for name, site in sites.items()} | means
    event_dims = {name: site.fn.event_dim for name, site in sites.items()} | all_worlds.event_dims
    for name, value in values.items():
        if not torch.isfinite(value).any():
            raise ValueError(f"latent {name!r} has no posterior mean: pass num_samples for draws")
    return {
        name: value[(None,) * (1 + all_worlds.plates - value.dim() + event_dims[name])]
        for name, value in values.items()
    }


def predict(
    all_worlds: Worlds,
    latents: Mapping[str, Tensor],
    x: Tensor | None = None,
    *,
    data: Literal["abduct", "mean"] = "abduct",
    batch_size: int = 1,
    num_samples: int = 1,
    conditions: Mapping[str, Any] | None = None,
    until: Sequence[str] = (),
    checked: bool = False,
) -> Branch:
    """Prediction: all worlds with the given latents, ``(draw, batch, *event)`` each.

    With ``checked``, the program must give the values of one world alone as well. Latents that are
    not given are drawn ``num_samples`` times for each unit. The attribute
    ``returned`` of the result is the name of the site whose value the model returned, such as
    ``x``.
    """
    told = conditions_of_model(all_worlds.story, conditions or {})
    num_draws = next((len(value) for value in latents.values()), num_samples)
    size = batch_size if x is None else len(x)
    axes = (len(all_worlds), num_draws)
    everywhere = in_every_world(told, axes, size) if all_worlds.plates == 1 else None
    run = partial(
        _predicted,
        all_worlds,
        latents,
        x,
        arguments={"batch_size": batch_size, **told},
        num_draws=num_draws,
        checked=checked,
        data=data,
        until=until,
    )
    if everywhere is None:
        return run(told)
    state = torch.get_rng_state()
    try:
        return run(told)
    except SideBySideError as error:
        torch.set_rng_state(state)
        try:
            return run(everywhere, full=True)
        except ValueError:
            raise error from None


def _predicted(
    all_worlds: Worlds,
    latents: Mapping[str, Tensor],
    x: Tensor | None,
    told: Mapping[str, Any],
    *,
    arguments: Mapping[str, Any],
    num_draws: int,
    checked: bool,
    until: Sequence[str],
    **options: Any,
) -> Branch:
    """One run of :func:`predict`, with further options of the handler of the worlds."""
    story = all_worlds.story
    # The draws are one more plate, between the axis of worlds and the plates of the story.
    draws = pyro.plate("draw", num_draws, dim=-1 - all_worlds.plates)
    given = poutine.condition(data=dict(latents))
    branch = all_worlds.branch(
        all_worlds.plates + 1,
        latents={*story.latents, *latents},
        until=until,
        num_guided=None if x is None else len(x),
        **options,
    )
    with explained(story), suppress(StopProgram), branch, draws, given:
        result = story.model(x, **{**arguments, **told})
        # A program that returns the mean of its data, or nothing, is asked for its observed site.
        branch.returned = branch.name_of(result) or next(iter(branch.observed), None)
    if checked:
        check_batch_dims(story, branch, x, arguments, until)
    return branch


def _with_evidence(
    all_worlds: Worlds,
    latents: Mapping[str, Tensor],
    evidence: Mapping[str, Tensor],
    undrawn: Collection[str],
) -> dict[str, Tensor]:
    """The latents, with known values in place of draws, and the noise that known nodes imply.

    Args:
        all_worlds: The worlds.
        latents: The latents that the guide drew, ``(draw, *plates, *event)`` each.
        evidence: Known values.
        undrawn: Names of the latents of the model that the guide did not draw.
    """
    prior = _prior_of_latents(all_worlds.story, latents)
    nodes = prior.names if prior is not None else ()
    known_names = [*nodes, *latents]
    for name, value in evidence.items():
        if name not in {*known_names, *undrawn}:
            raise KeyError(f"no evidence can be given of {name!r}; there are {known_names}")
        _check_evidence(all_worlds, name, value)
    replaced = dict(latents)
    for name, value in evidence.items():
        if name in latents:
            replaced[name] = _known_where_given(name, value, latents[name])
        elif name in undrawn:
            replaced[name] = _known_everywhere(all_worlds, name, value)
    known_nodes = {name: value for name, value in evidence.items() if name in nodes}
    if prior is None or not known_nodes:
        return replaced
    return replaced | _noise_given_nodes(prior, replaced, known_nodes)


def _check_evidence(all_worlds: Worlds, name: str, evidence: Tensor) -> None:
    """Refuse known values that a latent or node cannot have; units with NaN are left out."""
    values = torch.as_tensor(evidence)
    event_dim = all_worlds.event_dims[name]
    if values.dim() < event_dim:
        return
    event_dims = tuple(range(values.dim() - event_dim, values.dim()))
    known = values[~(values.isnan().any(event_dims) if event_dims else values.isnan())]
    action = f"evidence of {name!r}"
    check_finite(action, known)
    fn = all_worlds.priors.get(name, root_of(all_worlds.story, name))
    if fn is not None and len(known):
        check_support(action, name, fn, known)
    if len(known):
        all_worlds.story.check_intervention(name, known)


def _undrawn(
    all_worlds: Worlds, x: Tensor, latents: Mapping[str, Tensor], conditions: Mapping[str, Any]
) -> tuple[str, ...]:
    """Names of the latents of the model that the guide did not draw."""
    model = all_worlds.story.model
    trace = poutine.trace(model).get_trace(x, **conditions_of_model(all_worlds.story, conditions))
    return tuple(name for name in sampled_sites(trace) if name not in latents)


def _known_everywhere(all_worlds: Worlds, name: str, evidence: Tensor) -> Tensor:
    """Evidence of a latent that the guide does not draw, ``(1, *plates, *event)``."""
    value = torch.as_tensor(evidence)
    if value.is_floating_point() and value.isnan().any():
        raise ValueError(f"evidence of {name!r}: expected a value for each unit, got NaN")
    missing_dims = 1 + all_worlds.plates - value.dim() + all_worlds.event_dims[name]
    return value[(None,) * missing_dims]


def _prior_of_latents(
    story: GenerativeStory, latents: Mapping[str, Tensor]
) -> StructuralPrior | None:
    """The structural prior whose noise is among the latents; ``None`` unless there is one."""
    priors = [module for module in story.modules() if isinstance(module, StructuralPrior)]
    if len(priors) != 1:
        return None
    noise_names = {f"{node}{NOISE}" for node in priors[0].names}
    return priors[0] if noise_names <= latents.keys() else None


def _noise_given_nodes(
    prior: StructuralPrior, latents: Mapping[str, Tensor], evidence: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """New noise of the nodes with evidence and of their children, by latent.

    All other nodes keep their drawn values, so a child of a known node needs other noise to have
    the same value.
    """
    values = prior.values_of({node: latents[f"{node}{NOISE}"] for node in prior.names})
    noise = {}
    for node, mechanism in prior.named_mechanisms():  # parents first
        if node in evidence:
            values[node] = _known_where_given(node, evidence[node], values[node])
        has_known_parent = any(parent in evidence for parent in prior.parents[node])
        if node in evidence or has_known_parent:
            noise[f"{node}{NOISE}"] = mechanism.abduct(values[node], prior.parents_of(node, values))
    return noise


def _known_where_given(name: str, evidence: Tensor, drawn: Tensor) -> Tensor:
    """The evidence, and the drawn value, ``(draw, batch, dim)``, where the evidence is NaN."""
    value = torch.as_tensor(evidence).to(drawn.device)
    if value.dim() == 1 and drawn.shape[-1] == 1:
        value = value[:, None]  # (batch,) -> (batch, 1)
    try:
        value = value.expand_as(drawn)
    except RuntimeError:
        shape = tuple(drawn.shape[1:])
        raise ValueError(
            f"evidence of {name!r}: expected shape {shape}, got {tuple(evidence.shape)}"
        ) from None
    return torch.where(value.isnan(), drawn, value.nan_to_num().to(drawn))


def _dataset(all_worlds: Worlds, branch: Branch, rows: npt.NDArray[Any]) -> xr.Dataset:
    """The values of all sites as arrays with labelled dims, of the data with these names."""
    variables = {name: _labelled(all_worlds, branch, name) for name in branch.values}
    coordinates: dict[str, Any] = {"world": list(all_worlds.names)}
    for name, variable in variables.items():
        dim = f"{name}_coordinate"
        if dim in variable.sizes:
            coordinates[dim] = list(code_names(all_worlds.story, name, variable.sizes[dim]))
    return _with_positions(xr.Dataset(variables, coordinates), rows)


def _with_positions(result: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
    """A result with numbers of the draws, and rows of the units."""
    coordinates: dict[str, Any] = {}
    if "draw" in result.sizes:
        coordinates["draw"] = np.arange(result.sizes["draw"])
    if "data" in result.sizes:
        # A program may have its data in another dim than the first one of x.
        num_data = result.sizes["data"]
        coordinates["data"] = rows if len(rows) == num_data else np.arange(num_data)
    return result.assign_coords(coordinates)


def _labelled(all_worlds: Worlds, branch: Branch, name: str) -> xr.Variable:
    is_site_of_data = name in branch.observed and name not in all_worlds.sites
    is_data = is_site_of_data or f"{name}{OBSERVED}" in branch.observed
    values, batch_dims = branch.labelled(name)
    event_shape = tuple(values.shape[len(batch_dims) :])
    if event_shape == (1,) and not is_data:
        values = values.squeeze(-1)
        event_shape = event_shape[1:]
    dims = (*batch_dims, *event_dims_of(name, len(event_shape), data=is_data))
    array = values.detach().cpu().numpy()
    if not is_data:
        return xr.Variable(dims, array)
    return xr.Variable(dims, array, {"noise": "mean" if name in branch.averaged else "abducted"})


def event_dims_of(name: str, number: int, *, data: bool) -> tuple[str, ...]:
    """Names of the event dims of a site.

    Args:
        name: Name of the site.
        number: Number of event dims.
        data: Whether the site is an observation rather than a latent or node.
    """
    if data:
        return observation_dims(number, name)
    if number == 1:
        return (f"{name}_coordinate",)
    return tuple(f"{name}_dim_{i}" for i in range(number))
