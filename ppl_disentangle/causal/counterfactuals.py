"""Counterfactuals: what given units would have been, by abduction, action and prediction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import pyro
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.causal.actions import Action
from ppl_disentangle.causal.branching import Branch, StopProgram
from ppl_disentangle.causal.interventions import RangeCheck
from ppl_disentangle.causal.structural import NOISE, StructuralPrior
from ppl_disentangle.causal.worlds import Worlds, worlds
from ppl_disentangle.representation import code_names, observation_dims
from ppl_disentangle.sites import sampled_sites
from ppl_disentangle.story import GenerativeStory, evaluating, story_of

__all__ = ["counterfactual"]


def counterfactual(
    story: Any,
    x: Tensor,
    actions: Mapping[str, Action] | Sequence[Mapping[str, Action]],
    *,
    num_samples: int | None = 20,
    seed: int = 0,
    evidence: Mapping[str, Tensor] | None = None,
    noise: Literal["abduct", "mean"] = "abduct",
    data_range: RangeCheck | None = None,
    **conditions: Tensor,
) -> xr.Dataset:
    r"""What the units ``x`` would have been under each of ``actions``, the third rung of the ladder of causation.

    Abduction: the guide draws the latents of each unit, for a structural story the noise of its nodes. Action and
    prediction: the model runs under :func:`~ppl_disentangle.causal.worlds` with these latents, all worlds, draws and
    units in one pass [1]. Of a likelihood with location and scale, the unit's own pixel noise
    :math:`(x - \mu) / \sigma` is abducted too, so that the factual world returns x itself.

    Args:
        story: a story.
        x: units as float observations ``(batch, *event)``.
        actions: what :func:`~ppl_disentangle.causal.do` takes, for one world or for each of several; ``{}`` is
            the factual world. Values may differ by unit.
        num_samples: draws of the latents of each unit; ``None``: one, the latents that stand for x.
        seed: of the draws.
        evidence: known values of nodes, ``(batch,)`` or ``(batch, dim)``, NaN where unknown. They take the place of the
            guide's, and the noise of a node and of its children is what gives their values. The other nodes keep the
            values that the guide drew.
        noise: ``"mean"`` returns mean images; so does ``"abduct"`` where the noise is not known, as of Bernoulli
            pixels. The attribute ``noise`` of each variable of data says which.
        data_range: where the data are, from :func:`~ppl_disentangle.causal.data_range`; warns of worlds outside it.
        **conditions: what the story is given with each unit, such as ``labels``, for guide and model as they take it.

    Returns:
        Every latent, node and observed variable over dims ``world``, ``draw``, ``data`` and its own: none for one
        coordinate, ``<node>_coordinate`` for several, ``channel, row, column`` for images.

    Raises:
        KeyError: no such latent, node or coordinate.
        ValueError: an action or evidence that does not fit, or a latent whose noise is not known.
        TypeError: a condition that the story does not take.

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
    story, several = story_of(story), [actions] if isinstance(actions, Mapping) else list(actions)
    asked = slice(None) if several and not several[0] else slice(1, None)
    run = worlds(story, several if asked.start is None else [{}, *several])
    with evaluating(story, seed=seed) as device:
        x, conditions = x.to(device), {name: value.to(device) for name, value in conditions.items()}
        latents = abduct(
            run, x, num_samples=num_samples, evidence=evidence or {}, conditions=conditions
        )
        branch = predict(run, latents, x, data=noise, conditions=conditions)
    if data_range is not None:
        everywhere = branch.broadcast()
        for world, action in enumerate(several, asked.start or 0):
            data_range.check({name: value[world] for name, value in everywhere.items()}, action)
    result = _dataset(run, branch).isel(world=asked)
    return result.assign_attrs(
        rung="counterfactual",
        story=type(story).__name__,
        actions="; ".join(run.names[asked]),
        noise="mean" if branch.averaged else "abducted",
        evidence=", ".join(evidence or ()),
        num_samples=num_samples or 1,
        seed=seed,
    )


def abduct(
    run: Worlds,
    x: Tensor,
    *,
    num_samples: int | None,
    evidence: Mapping[str, Tensor],
    conditions: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The latents of each unit, ``(draw, batch, *event)``."""
    story = run.story
    for name in conditions:
        if not (accepted(story.guide, {name: x}) or accepted(story.model, {name: x})):
            raise TypeError(
                f"{type(story).__name__} takes no {name!r}, neither in its guide nor in its model"
            )
    if num_samples is None:
        means = story.latent_means(x, **accepted(story.latent_means, conditions))
        latents = {name: value[None] for name, value in means.items()}
    else:
        with pyro.plate("draw", num_samples, dim=-1 - run.plates):
            trace = poutine.trace(story.guide).get_trace(x, **accepted(story.guide, conditions))
        latents = {name: site.value for name, site in sampled_sites(trace).items()}
    if evidence and "interventions" in conditions:
        raise ValueError(
            "evidence of units that were recorded under interventions is ambiguous: leave one of both out"
        )
    return _with_evidence(story, latents, evidence) if evidence else latents


def predict(
    run: Worlds,
    latents: Mapping[str, Tensor],
    x: Tensor | None = None,
    *,
    data: Literal["abduct", "mean"] = "abduct",
    batch_size: int = 1,
    num_samples: int = 1,
    conditions: Mapping[str, Tensor] | None = None,
    until: Sequence[str] = (),
) -> Branch:
    """All worlds for given latents; those that are not given are drawn, ``num_samples`` times for each unit.

    The attribute ``returned`` of the result is the name of the site whose value the model returned, such as ``x``.
    """
    draws = next((len(value) for value in latents.values()), num_samples)
    given = poutine.condition(data=dict(latents))
    branch = Branch(run.changes, run.plates + 1, latents=run.story.latents, data=data, until=until)
    with suppress(StopProgram), branch, pyro.plate("draw", draws, dim=-1 - run.plates), given:
        x = run.story.model(x, batch_size=batch_size, **accepted(run.story.model, conditions or {}))
        branch.returned = next((name for name, value in branch.values.items() if value is x), None)
    return branch


def accepted(function: Callable[..., Any], conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of ``conditions`` that ``function`` takes."""
    parameters = inspect.signature(function).parameters
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {name: value for name, value in conditions.items() if everything or name in parameters}


def _with_evidence(
    story: GenerativeStory, latents: Mapping[str, Tensor], evidence: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The latents, with known values of nodes or of latents in the place of drawn ones."""
    latents = dict(latents)
    priors = [module for module in story.modules() if isinstance(module, StructuralPrior)]
    nodes = (
        priors[0].names
        if len(priors) == 1 and {f"{n}{NOISE}" for n in priors[0].names} <= latents.keys()
        else ()
    )
    for name in evidence:
        if name not in nodes and name not in latents:
            raise KeyError(f"no evidence can be given of {name!r}; there are {[*nodes, *latents]}")
        if name in latents:
            latents[name] = _known(name, evidence[name], latents[name])
    if not any(name in nodes for name in evidence):
        return latents
    noise = {n: latents[f"{n}{NOISE}"] for n in nodes}
    values = priors[0].values_of(noise)
    for node in nodes:
        if node in evidence:
            values[node] = _known(node, evidence[node], values[node])
        if node in evidence or any(parent in evidence for parent in priors[0].parents[node]):
            above = priors[0].parents_of(node, values)
            mechanism: Any = priors[0].mechanisms[node]
            latents[f"{node}{NOISE}"] = mechanism.abduct(values[node], above)
    return latents


def _known(name: str, evidence: Tensor, drawn: Tensor) -> Tensor:
    value = torch.as_tensor(evidence).to(drawn)
    value = value[:, None] if value.dim() == 1 and drawn.shape[-1] == 1 else value
    try:
        value = value.expand_as(drawn)
    except RuntimeError:
        shape = tuple(drawn.shape[1:])
        raise ValueError(
            f"evidence of {name!r}: expected shape {shape}, got {tuple(evidence.shape)}"
        ) from None
    return torch.where(value.isnan(), drawn, value)


def _dataset(run: Worlds, branch: Branch) -> xr.Dataset:
    """Everything that a program went through, on labelled dims."""
    variables, coordinates = {}, {"world": list(run.names)}
    for name, value in branch.broadcast().items():
        event = tuple(value.shape[value.dim() - branch.event_dims[name] :])
        data = name not in run.sites
        if event == (1,) and not data:
            value, event = value.squeeze(-1), ()
        dims = event_dims_of(name, len(event), data=data)
        if len(event) == 1 and not data:
            coordinates[dims[0]] = list(code_names(run.story, name, event[0]))
        attributes = {"noise": "mean" if name in branch.averaged else "abducted"} if data else {}
        array = value.detach().cpu().numpy()
        plates = tuple(f"plate_dim_{i}" for i in range(run.plates - 1))
        variables[name] = xr.Variable(("world", "draw", *plates, "data", *dims), array, attributes)
    sizes = {dim: size for variable in variables.values() for dim, size in variable.sizes.items()}
    return xr.Dataset(
        variables, {**coordinates, **{dim: np.arange(sizes[dim]) for dim in ("draw", "data")}}
    )


def event_dims_of(name: str, number: int, *, data: bool) -> tuple[str, ...]:
    """Names of the dims of one value of a site."""
    if data:
        return observation_dims(number, name)
    return (
        (f"{name}_coordinate",) if number == 1 else tuple(f"{name}_dim_{i}" for i in range(number))
    )
