"""Units with their noise, which stays while worlds change: those whose effects are meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.actions import Action, resolve
from ppl_disentangle.causal.branching import Branch
from ppl_disentangle.causal.counterfactuals import abduct, event_dims_of, predict
from ppl_disentangle.causal.interventions import intervenable
from ppl_disentangle.causal.worlds import Worlds, worlds
from ppl_disentangle.representation import code_names
from ppl_disentangle.story import evaluating, story_of

__all__ = ["Population", "Units", "interval_of"]

Effect: TypeAlias = "str | Callable[[Tensor], Tensor]"
Values: TypeAlias = "tuple[float | Tensor, float | Tensor]"


@dataclasses.dataclass(frozen=True)
class Units:
    """Whose effects are meant, and how their spread is told: the settings that all effects share.

    Attributes:
        x: units as observations ``(batch, *event)``, whose latents the guide draws; ``None``: the model draws units.
        num_samples: draws of the latents of each unit; without ``x`` repetitions of the whole draw of units.
        num_units: number of units of each repetition, without ``x``.
        prob: probability of the intervals. They are over the draws: with ``x`` of what is not known of its latents,
            without of what is not known because no more units were drawn.
        interval: of highest density, or of equal tails.
        seed: of the draws.
        conditions: what the story is given with each unit of ``x``, such as ``labels``.
    """

    x: Tensor | None = None
    num_samples: int = 20
    num_units: int = 1000
    prob: float = 0.94
    interval: Literal["hdi", "eti"] = "hdi"
    seed: int = 0
    conditions: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.prob < 1 or self.interval not in ("hdi", "eti"):
            raise ValueError(
                f"expected 0 < prob < 1 and 'hdi' or 'eti', got {self.prob} and {self.interval!r}"
            )


@dataclasses.dataclass(frozen=True)
class FixedValue:
    """The action that holds a node at given values ``(draw, batch, *event)``, whatever it would have been."""

    values: Tensor

    def __call__(self, natural: Tensor) -> Tensor:
        """These values."""
        return self.values

    def of(self, draw: int) -> FixedValue:
        """The same for one of the draws."""
        return FixedValue(self.values[[draw]])


class Population:
    """Units of a story with their noise, and what becomes of them in several worlds."""

    def __init__(self, story: Any, units: Units) -> None:
        self.story, self.units = story_of(story), units
        self.sites = intervenable(self.story)
        tensor = next(self.story.parameters(), torch.empty(0))
        self.x = None if units.x is None else units.x.to(tensor.device)
        self.conditions = {
            name: value.to(tensor.device) for name, value in units.conditions.items()
        }
        self.latents: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}

    def simulate(self, actions: Sequence[Mapping[str, Action]], *, until: Sequence[str]) -> None:
        """The factual world and those of ``actions``, up to the nodes ``until``, with the same noise at each call."""
        run = worlds(self.story, [{}, *actions])
        with evaluating(self.story, seed=self.units.seed):
            latents = self._latents_of(run)
            self.values = self._predict(
                run, latents, until=[self._where(name)[0] for name in until]
            ).broadcast()

    def value(self, name: str) -> Tensor:
        """A node in all worlds of the last run, ``(world, draw, data, *event)``; the first world is factual."""
        site, index = self._where(name)
        return self.values[site] if index is None else self.values[site][..., index]

    def factual(self, name: str) -> np.ndarray:
        """A node of one coordinate in the factual world, ``(draw, data)``."""
        value = self.value(name)[0]
        if value.dim() > 2 and value.shape[2:] != (1,):
            raise ValueError(
                f"expected a node of one coordinate, got {name!r} of shape {tuple(value.shape[2:])}"
            )
        return value.reshape(value.shape[:2]).cpu().numpy()

    def settings(self, cause: str, values: Values) -> list[dict[str, Action]]:
        """The worlds in which the cause has either value.

        Raises:
            ValueError: not two values.
        """
        if not isinstance(values, Sequence) or len(values) != 2:
            raise ValueError(
                f"expected two values of {cause!r}, from which and to which it is set, got {values!r}"
            )
        return [{cause: value} for value in values]

    def outcomes(
        self, actions: Sequence[Mapping[str, Action]], effect: Effect, *, also: Sequence[str] = ()
    ) -> xr.DataArray:
        """The effect in the world of each of ``actions``, over ``world``, ``draw``, ``data`` and its own dims."""
        if not callable(effect):
            self.simulate(actions, until=(effect, *also))
            return self._labelled(effect, self.value(effect)[1:])
        with evaluating(self.story, seed=self.units.seed):
            latents = self._latents_of(worlds(self.story, [{}, *actions]))
            draws = []
            for draw in range(self.units.num_samples):  # images of all draws at once would not fit
                run = worlds(self.story, [{}, *(_of_draw(world, draw) for world in actions)])
                branch = self._predict(
                    run, {name: value[[draw]] for name, value in latents.items()}
                )
                draws.append(self._read(effect, branch))
        if also:
            self.simulate(actions, until=also)
        result = torch.stack(draws, 1)
        dims = tuple(f"effect_dim_{i}" for i in range(result.dim() - 3))
        return xr.DataArray(result.cpu().numpy(), dims=("world", "draw", "data", *dims))

    def summarise(
        self, draws: xr.DataArray, cause: str, effect: Effect, values: Values
    ) -> xr.Dataset:
        """Mean and interval over ``draw``, with the settings as attributes."""
        lower, upper = interval_of(draws, self.units.prob, self.units.interval)
        result = xr.Dataset(
            {"mean": draws.mean("draw"), "lower": lower, "upper": upper, "draws": draws}
        )
        return result.assign_attrs(
            rung="intervention" if self.units.x is None else "counterfactual",
            cause=cause,
            effect=getattr(effect, "__name__", type(effect).__name__)
            if callable(effect)
            else effect,
            values=f"{values[0]} to {values[1]}",
            interval=f"{self.units.prob:.0%} {self.units.interval}",
            seed=self.units.seed,
        )

    def _latents_of(self, run: Worlds) -> dict[str, Tensor]:
        """The latents of all units, ``(draw, batch, *event)``, drawn at the first call."""
        if not self.latents and self.x is not None:
            number, conditions = self.units.num_samples, self.conditions
            self.latents = abduct(
                run, self.x, num_samples=number, evidence={}, conditions=conditions
            )
        if not self.latents:
            drawn = self._predict(run, {}, until=self.story.latents).broadcast()
            self.latents = {name: drawn[name][0] for name in self.story.latents}
        return self.latents

    def _predict(
        self, run: Worlds, latents: Mapping[str, Tensor], until: Sequence[str] = ()
    ) -> Branch:
        return predict(
            run,
            latents,
            self.x,
            batch_size=self.units.num_units,
            num_samples=self.units.num_samples,
            conditions=self.conditions,
            until=until,
        )

    def _read(self, effect: Callable[[Tensor], Tensor], branch: Branch) -> Tensor:
        """The effect on data in all worlds but the factual one, ``(world, batch, …)``."""
        if branch.returned is None:
            raise ValueError(
                "an effect that is a function of data needs a model that returns its data"
            )
        data = branch.broadcast()[branch.returned][1:, 0]
        result = effect(data.flatten(0, 1))
        return result.reshape(data.shape[:2] + result.shape[1:])

    def _where(self, name: str) -> tuple[str, int | None]:
        stated = self.story.intervened
        return (name, None) if name in stated else resolve(self.story, name, self.sites)

    def _labelled(self, name: str, value: Tensor) -> xr.DataArray:
        site, index = self._where(name)
        if index is None and value.shape[3:] == (1,):
            value = value.squeeze(-1)
        dims = event_dims_of(site, value.dim() - 3, data=False)
        names = (
            {dims[0]: list(code_names(self.story, site, value.shape[3]))} if len(dims) == 1 else {}
        )
        return xr.DataArray(
            value.cpu().numpy(), dims=("world", "draw", "data", *dims), coords=names
        )


def _of_draw(actions: Mapping[str, Action], draw: int) -> dict[str, Action]:
    return {
        name: action.of(draw) if isinstance(action, FixedValue) else action
        for name, action in actions.items()
    }


def interval_of(draws: xr.DataArray, prob: float, kind: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Lower and upper end of the interval over ``draw``, draws that are NaN left out."""
    if kind == "eti":
        ends = draws.quantile([(1 - prob) / 2, (1 + prob) / 2], "draw").drop_vars("quantile")
        return ends.isel(quantile=0), ends.isel(quantile=1)
    import arviz

    setting = "prob" if int(arviz.__version__.split(".")[0]) >= 1 else "hdi_prob"
    ends = arviz.hdi(
        draws.to_dataset(name="draws").expand_dims("chain"), **{setting: prob}, skipna=True
    )["draws"]
    (end,) = set(ends.dims) - set(draws.dims)
    return ends.isel({end: 0}, drop=True), ends.isel({end: 1}, drop=True)
