"""A population of units with fixed noise, simulated in several worlds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.causal.actions import Action, LateValue, resolve
from ppl_disentangle.causal.branching import Branch
from ppl_disentangle.causal.counterfactuals import abduct, event_dims_of, predict
from ppl_disentangle.causal.interventions import all_sites, intervenable
from ppl_disentangle.causal.worlds import Worlds, worlds
from ppl_disentangle.conditions import (
    by_name,
    checked_conditions,
    conditions_of_model,
    one_batch,
)
from ppl_disentangle.decoding import drawn_layout, observed_layout
from ppl_disentangle.observed import Layout
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import code_names
from ppl_disentangle.story import evaluating

__all__ = ["Population", "Units", "data_of_worlds", "interval_of"]

Effect: TypeAlias = "str | Callable[[Tensor], Tensor]"
"""A node, or a function from data ``(num, *event)`` to ``(num, …)``, such as a classifier."""

Values: TypeAlias = "tuple[float | Tensor, float | Tensor]"
"""The value from which and the value to which a cause is changed."""


@dataclasses.dataclass(frozen=True)
class Units:
    """Settings of effects: the units over which they are computed, and the intervals.

    Attributes:
        x: Units as observations ``(batch, *event)``, or in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes; the guide draws their latents. By
            default, ``None``, the model draws new units.
        num_samples: Number of draws of the latents of each unit. Without ``x``, number of
            repetitions of the whole draw of units.
        num_units: Number of units in each repetition, without ``x``.
        prob: Probability of the intervals over the draws. With ``x`` they express uncertainty about
            the latents of the units, without ``x`` the sampling error of a finite number of units.
        interval: ``"hdi"``, the interval of highest density, or ``"eti"``, the interval with equal
            tails.
        seed: Seed of the random draws.
        conditions: Conditions that the story takes for each unit, such as ``labels``; without ``x``
            they have ``num_units`` rows.
    """

    x: Any = None
    num_samples: int = 20
    num_units: int = 1000
    prob: float = 0.94
    interval: Literal["hdi", "eti"] = "hdi"
    seed: int = 0
    conditions: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.prob < 1 or self.interval not in ("hdi", "eti"):
            raise ValueError(
                f"expected 0 < prob < 1 and 'hdi' or 'eti', got {self.prob} and {self.interval!r}"
            )


@dataclasses.dataclass(frozen=True)
class FixedValue(LateValue):
    """Sets a node to values ``(draw, batch, *event)``, one for each draw of each unit."""

    values: Tensor

    def __call__(self, natural: Tensor) -> Tensor:
        """The given values."""
        return self.values

    def of_draw(self, draw: int) -> FixedValue:
        """The action for one of the draws alone."""
        return FixedValue(self.values[[draw]])


class Population:
    """Units of a story with their noise, which stays the same in all worlds that are simulated.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``.
        units: The units.
    """

    def __init__(self, story: Any, units: Units) -> None:
        self.story = story_of(story)
        self.units = units
        self.x: Tensor | None = None
        self.rows: npt.NDArray[Any] | None = None
        self.conditions = self._read_units()
        self.sites = intervenable(self.story, self.conditions)
        self.latents: dict[str, Tensor] = {}
        self.noise: dict[str, str] = {}
        self._branch: Branch | None = None
        self._is_checked = False

    def _read_units(self) -> dict[str, Any]:
        """Read the units, if there are any; returns their conditions."""
        with evaluating(self.story) as device:
            if self.units.x is None:
                new = torch.empty(self.units.num_units, device=device)
                return checked_conditions(
                    self.story, new, by_name(self.story, self.units.conditions)
                )
            batch = one_batch(self.story, self.units.x, device, self.units.conditions)
        self.x = batch.x
        self.rows = None if isinstance(self.units.x, Tensor) else batch.rows
        return batch.conditions

    def simulate(self, actions: Sequence[Mapping[str, Action]], *, until: Sequence[str]) -> None:
        """Simulate the factual world and the worlds of ``actions``, up to the nodes ``until``.

        All calls use the same noise. The results are read with :meth:`value`.
        """
        all_worlds = worlds(self.story, [{}, *actions], **self.conditions)
        last_sites = [self._site_of(name)[0] for name in until]
        with evaluating(self.story, seed=self.units.seed):
            latents = self._latents_of_units(all_worlds)
            self._branch = self._predict(all_worlds, latents, until=last_sites)

    @property
    def branch(self) -> Branch:
        """The last simulation."""
        if self._branch is None:
            raise RuntimeError("no world has been simulated")
        return self._branch

    @property
    def values(self) -> dict[str, Tensor]:
        """All sites of the last simulation, ``(world, draw, *plates, *event)``."""
        return self.branch.broadcast()

    def value(self, name: str) -> Tensor:
        """A node in all simulated worlds, of which the first is factual.

        Its shape is ``(world, draw, *plates, *event)``, with 1 for plates that the node lacks.
        """
        site, index = self._site_of(name)
        value = self.branch.in_worlds(site)
        return value if index is None else value[..., index]

    def factual(self, name: str) -> np.ndarray:
        """A node with one coordinate in the factual world, ``(draw, data)``.

        Raises:
            ValueError: The node has several coordinates.
        """
        values = self._labelled(name).isel(world=0)
        if values.dims != ("draw", "data"):
            shape = tuple(values.sizes[dim] for dim in values.dims if dim not in ("draw", "data"))
            raise ValueError(f"expected a node of one coordinate, got {name!r} of shape {shape}")
        return values.values

    def settings(self, cause: str, values: Values) -> list[dict[str, Action]]:
        """The actions of two worlds, which set the cause to either value.

        Raises:
            ValueError: ``values`` are not two values.
        """
        if not isinstance(values, Sequence) or len(values) != 2:
            raise ValueError(
                f"expected two values of {cause!r}, from which and to which it is set, got {values!r}"
            )
        return [{cause: value} for value in values]

    def outcomes(
        self, actions: Sequence[Mapping[str, Action]], effect: Effect, *, also: Sequence[str] = ()
    ) -> xr.DataArray:
        """The effect in the world of each of ``actions``, without the factual world.

        Its dims are ``world``, ``draw``, ``data`` and event dims. The values of the nodes ``also``
        are simulated too, and can then be read with :meth:`value`.
        """
        data = self._data_of(effect)
        if data is None:
            assert not callable(effect)
            self.simulate(actions, until=(effect, *also))
            return self._labelled(effect).isel(world=slice(1, None))
        result = self._effects_on_data(actions, data, effect if callable(effect) else _identity)
        if also:
            self.simulate(actions, until=also)
        effect_dims = tuple(f"effect_dim_{i}" for i in range(result.dim() - 3))
        return xr.DataArray(result.cpu().numpy(), dims=("world", "draw", "data", *effect_dims))

    def _data_of(self, effect: Effect) -> str | None:
        """The observed site that an effect is computed from, "" if the model returns it.

        ``None`` if the effect is a node.
        """
        if callable(effect):
            return ""
        try:
            self._site_of(effect)
        except KeyError:
            if effect not in all_sites(self.story, self.conditions)[0]:
                raise
            return effect
        return None

    def summarise(
        self, draws: xr.DataArray, cause: str, effect: Effect, values: Values
    ) -> xr.Dataset:
        """Mean and interval over ``draw``, with the settings as attributes."""
        lower, upper = interval_of(draws, self.units.prob, self.units.interval)
        result = xr.Dataset(
            {"mean": draws.mean("draw"), "lower": lower, "upper": upper, "draws": draws}
        )
        if self.rows is not None and "data" in result.dims:
            result = result.assign_coords(data=self.rows)
        return result.assign_attrs(
            rung="intervention" if self.units.x is None else "counterfactual",
            cause=cause,
            effect=_name_of(effect),
            values=f"{values[0]} to {values[1]}",
            interval=f"{self.units.prob:.0%} {self.units.interval}",
            seed=self.units.seed,
            **self.noise,
        )

    def _latents_of_units(self, all_worlds: Worlds) -> dict[str, Tensor]:
        """The latents of all units, ``(draw, batch, *event)``, drawn at the first call."""
        if not self.latents and self.x is not None:
            self.latents = abduct(all_worlds, self.x, self.units.num_samples, self.conditions)
        if not self.latents:
            drawn = self._predict(all_worlds, {}, until=self.story.latents)
            self.latents = {name: drawn.in_worlds(name)[0] for name in self.story.latents}
        return self.latents

    def _predict(
        self, all_worlds: Worlds, latents: Mapping[str, Tensor], until: Sequence[str] = ()
    ) -> Branch:
        branch = predict(
            all_worlds,
            latents,
            self.x,
            batch_size=self.units.num_units,
            num_samples=self.units.num_samples,
            conditions=self.conditions,
            until=until,
            checked=bool(latents) and not self._is_checked,
        )
        self._is_checked = self._is_checked or bool(latents)
        return branch

    def _effects_on_data(
        self,
        actions: Sequence[Mapping[str, Action]],
        data: str,
        effect: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The effect in the world of each of ``actions``, ``(world, draw, data, …)``."""
        with evaluating(self.story, seed=self.units.seed):
            latents = self._latents_of_units(worlds(self.story, [{}, *actions], **self.conditions))
            effects = []
            # One draw at a time: the images of all draws would not fit into memory.
            for draw in range(self.units.num_samples):
                actions_of_draw = [_of_draw(actions_of_world, draw) for actions_of_world in actions]
                latents_of_draw = {name: value[[draw]] for name, value in latents.items()}
                all_worlds = worlds(self.story, [{}, *actions_of_draw], **self.conditions)
                branch = self._predict(all_worlds, latents_of_draw)
                names = (data,) if data else self._layout[1].names
                # Without noise that the worlds could share, the effect is that on the mean.
                is_mean = not set(names).isdisjoint(branch.averaged)
                self.noise = {"noise": "mean" if is_mean else "shared"}
                values = _site_of_worlds(branch, data) if data else self._data_in(branch)
                effects.append(_effect_on(effect, values))
        return torch.stack(effects, 1)

    def _data_in(self, branch: Branch) -> Tensor:
        """Observations of all worlds but the factual one, ``(world, batch, *event)``, of one draw."""
        template, layout = self._layout
        return data_of_worlds(template, layout, branch.broadcast())[1:, 0]

    @cached_property
    def _layout(self) -> tuple[Tensor, Layout]:
        """Observations of as many units, and where the sites of the model hold them."""
        given = conditions_of_model(self.story, self.conditions)
        if self.x is not None:
            return self.x, observed_layout(self.story, self.x, given)
        trace = poutine.trace(self.story.model).get_trace(batch_size=self.units.num_units, **given)
        return drawn_layout(self.story, trace, given)

    def _site_of(self, name: str) -> tuple[str, int | None]:
        # Sites that an Intervened story states are in its trace, but cannot be intervened on again.
        if name in self.story.intervened:
            return name, None
        return resolve(self.story, name, self.sites)

    def _labelled(self, name: str) -> xr.DataArray:
        """A node in all simulated worlds, as an array with labelled dims."""
        site, index = self._site_of(name)
        value, batch_dims = self.branch.labelled(site)
        if index is not None:
            value = value[..., index]
        elif value.shape[len(batch_dims) :] == (1,):
            value = value.squeeze(-1)
        event_dims = event_dims_of(site, value.dim() - len(batch_dims), data=False)
        coordinates = {}
        if len(event_dims) == 1:
            coordinates[event_dims[0]] = list(code_names(self.story, site, value.shape[-1]))
        return xr.DataArray(
            value.numpy(force=True), dims=(*batch_dims, *event_dims), coords=coordinates
        )


def _name_of(effect: Effect) -> str:
    return getattr(effect, "__name__", type(effect).__name__) if callable(effect) else effect


def _identity(data: Tensor) -> Tensor:
    return data


def data_of_worlds(x: Tensor, layout: Layout, values: Mapping[str, Tensor]) -> Tensor:
    """Observations in all worlds and draws, ``(world, draw, batch, *event)``.

    Args:
        x: Observations, of shape ``(batch, *event)``.
        layout: Where the sites of the model hold them.
        values: Values of the sites, ``(world, draw, *plates, *event)``.
    """
    held = {name: values[name] for name in layout.names}
    worlds_and_draws = next(iter(held.values())).shape[:2]
    flat = {name: value.flatten(0, 1) for name, value in held.items()}
    by_world_and_draw = zip(*(value.unbind(0) for value in flat.values()), strict=True)
    rows = [layout.assemble(x, dict(zip(flat, parts, strict=True))) for parts in by_world_and_draw]
    return torch.stack(rows).unflatten(0, worlds_and_draws)


def _site_of_worlds(branch: Branch, name: str) -> Tensor:
    """An observed site in all worlds but the factual one, of a single draw, ``(world, batch, …)``."""
    values, dims = branch.labelled(name)  # (world, draw, *plates, *event)
    return values.movedim(dims.index("data"), 2)[1:, 0]


def _effect_on(effect: Callable[[Tensor], Tensor], data: Tensor) -> Tensor:
    """The effect ``(world, batch, …)`` on data ``(world, batch, *event)``."""
    result = effect(data.flatten(0, 1))
    return result.reshape(data.shape[:2] + result.shape[1:])


def _of_draw(actions: Mapping[str, Action], draw: int) -> dict[str, Action]:
    return {
        name: action.of_draw(draw) if isinstance(action, FixedValue) else action
        for name, action in actions.items()
    }


def interval_of(draws: xr.DataArray, prob: float, kind: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Lower and upper end of the interval over ``draw``, without draws that are NaN.

    Args:
        draws: Draws, over ``draw`` and other dims.
        prob: Probability of the interval.
        kind: ``"hdi"`` or ``"eti"``, see :class:`Units`.
    """
    if kind == "hdi":
        return _highest_density_interval(draws, prob)
    tail = (1 - prob) / 2
    ends = draws.quantile([tail, (1 + prob) / 2], "draw").drop_vars("quantile")
    return ends.isel(quantile=0), ends.isel(quantile=1)


def _highest_density_interval(
    draws: xr.DataArray, prob: float
) -> tuple[xr.DataArray, xr.DataArray]:
    import arviz

    # ArviZ renamed the argument and the dim of the two ends in version 1.
    argument = "prob" if int(arviz.__version__.split(".")[0]) >= 1 else "hdi_prob"
    dataset = draws.to_dataset(name="draws").expand_dims("chain")
    ends = arviz.hdi(dataset, **{argument: prob}, skipna=True)["draws"]
    (end,) = set(ends.dims) - set(draws.dims)
    return ends.isel({end: 0}, drop=True), ends.isel({end: 1}, drop=True)
