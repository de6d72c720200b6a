"""The Pyro handler behind worlds and counterfactuals: it runs one program in several worlds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from pyro.distributions import TorchDistribution, Unit
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle._pyro_private import is_subsample
from ppl_disentangle.causal.actions import Changes, changed, is_checked_beforehand
from ppl_disentangle.causal.interventions import NATURAL, OBSERVED, UNOBSERVED, Check, over_plates
from ppl_disentangle.causal.shared_noise import (
    draw_with_shared_noise,
    mean_of,
    missing_where_masked,
    transport,
)
from ppl_disentangle.causal.structural import NOISE
from ppl_disentangle.sites import event_dim_of, is_deterministic, plates_by_dim

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["Branch", "StopProgram"]


class StopProgram(Exception):
    """Leaves a program early, when its remaining sites, such as images, are not needed."""


class Branch(Messenger):
    """Runs a program in several worlds at once, with the same noise in all worlds.

    The worlds are an axis left of the plates. It appears at the first site on which some world
    intervenes, and at the sites that follow from it; all other sites are computed once, without
    this axis.

    Args:
        changes: The checked actions of each world.
        plates: Number of batch dimensions of the program.
        check: Refuses new values that a site cannot have. It is called with the name of the site,
            the actions on it, its distribution, ``None`` for a node, and the value.
        event_dims: Number of event dimensions of the sites, where known.
        latents: Names of the latents.
        data: Treatment of observed sites. ``"stay"``: they keep their values in every world.
            ``"abduct"``: their noise in the first world, which must be factual, is used in all
            others. ``"mean"``: they become their means. The latter two also abduct the noise of
            latents with given values.
        until: Names of the sites after which the program may stop; by default it runs to its end.
        num_guided: Number of units whose latents a guide has drawn, so that the model must draw
            none; ``None`` without a guide.
        full: Whether each value has the axis of worlds and all plates from its first site on, so
            that a program can put it beside a condition with these axes.

    Attributes:
        values: The value of each site, with or without the axis of worlds.
        event_dims: Number of event dimensions of each site.
        plates_of: The plates around each site, by batch dim, counted from the right.
        fns: The distribution of each observed site, or site that is drawn as data.
        stated: Names of the deterministic nodes.
        of_first_world: Names of the nodes that have their factual values in all worlds.
        intervened: Names of the sites on which some world intervenes.
        observed: Names of the observed sites, in order; without data, of the sites that are drawn
            and no latents.
        averaged: Names of the observed sites that became their means.
        returned: Name of the site whose value the program returned, if the caller has noted it.
    """

    def __init__(
        self,
        changes: Sequence[Changes],
        plates: int,
        *,
        check: Check | None = None,
        event_dims: Mapping[str, int] | None = None,
        latents: Collection[str] = (),
        data: Literal["stay", "abduct", "mean"] = "stay",
        until: Sequence[str] = (),
        num_guided: int | None = None,
        full: bool = False,
    ) -> None:
        super().__init__()
        self.changes = changes
        self.plates = plates
        self.latents = latents
        self.data = data
        self.num_guided = num_guided
        self.full = full
        self.intervened = tuple(dict.fromkeys(name for change in changes for name in change))
        self.values: dict[str, Tensor] = {}
        self.event_dims = dict(event_dims or {})
        self.plates_of: dict[str, dict[int, str]] = {}
        self.fns: dict[str, TorchDistribution] = {}
        self.stated: set[str] = set()
        self.of_first_world: set[str] = set()
        self.observed: list[str] = []
        self.averaged: list[str] = []
        self.returned: str | None = None
        self._check = check
        self._still_needed = set(until)
        self._names_of_messages: dict[int, str] = {}
        self._plates_that_draw: set[str] = set()
        self._masked_later: dict[str, Callable[[Tensor], Tensor]] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if is_subsample(msg) and msg["value"] is None:
            self._plates_that_draw.add(str(msg["name"]))
        if is_subsample(msg) or isinstance(msg["fn"], Unit):  # Unit: a pyro.factor has no value
            return
        # The site may be renamed before _pyro_post_sample, so its name is kept by message.
        name = str(msg["name"])
        self._names_of_messages[id(msg)] = name
        if name in self.intervened:
            msg["name"] = f"{name}{NATURAL}"
        if is_deterministic(msg):
            self.stated.add(name)
            return
        if msg["is_observed"]:
            msg["value"] = self._observed_value(name, msg)
        elif msg["value"] is None:
            msg["value"] = self._draw(name, msg)

    def _pyro_post_sample(self, msg: Message) -> None:
        if self.num_guided is not None and msg["name"] in self._plates_that_draw:
            self._check_all_units(msg, self.num_guided)
        name = self._names_of_messages.pop(id(msg), None)
        if name is None:
            return
        if name not in self.event_dims:
            # An Intervened story states <name> as well; its natural site knows better.
            self.event_dims[name] = self.event_dims.get(f"{name}{NATURAL}", event_dim_of(msg))
        self.plates_of[name] = plates_by_dim(msg)
        if self._is_noise_of_observed(name, msg):
            msg["value"] = self._of_first_world(name, msg["value"])
        if name in self.intervened:
            msg["value"] = self._branched(name, msg)
        if self.full and not (msg["is_observed"] and name not in self.latents):
            msg["value"] = self._in_every_world(name, msg)
        self.values[name] = msg["value"]
        self._stop_after(name)

    def _in_every_world(self, name: str, msg: Message) -> Tensor:
        """The value with the axis of worlds and all plates, ``(world, *plates, *event)``."""
        value = over_plates(msg, msg["value"], self.event_dims[name])
        missing_dims = 1 + self.plates - (value.dim() - self.event_dims[name])
        value = value[(None,) * missing_dims]
        return value.expand(len(self.changes), *value.shape[1:])

    def _check_all_units(self, msg: Message, num_guided: int) -> None:
        """Refuse a plate that draws some of its units, as the guide has drawn others.

        A plate that draws as many units as there are is a plate over a batch: its size is the
        number of data for which the batch stands.
        """
        drawn = len(msg["value"])
        if drawn not in (msg["fn"].size, num_guided):
            raise ValueError(
                f"plate {msg['name']!r} draws {drawn} of {msg['fn'].size} units, model and guide each"
                " others: pass a batch of data, and write pyro.plate(…, len(x)) without subsample_size"
            )

    def _is_noise_of_observed(self, name: str, msg: Message) -> bool:
        """Whether a program states the noise that the value of an observed node implies."""
        node = name.removesuffix(NOISE)
        return self.data != "stay" and is_deterministic(msg) and node in self.observed

    def _of_first_world(self, name: str, value: Tensor) -> Tensor:
        """The value in the factual world, as the noise of a unit is the same in all worlds."""
        self.of_first_world.add(name)
        batch_dims = value.dim() - self.event_dims[name]
        return value[0] if batch_dims > self.plates else value

    def _stop_after(self, name: str) -> None:
        if self._still_needed:
            self._still_needed.discard(name)
            if not self._still_needed:
                raise StopProgram

    def _draw(self, name: str, msg: Message) -> Tensor | None:
        fn = msg["fn"]
        if name not in self.latents:
            if self.num_guided is not None:
                return self._not_drawn_by_guide(name, fn)
            self.observed.append(name)
            self.fns[name] = fn
        # In a single world, or with the same distribution in all worlds, Pyro draws as usual.
        if len(self.changes) == 1 or len(fn.batch_shape) <= self.plates:
            return None
        try:
            return draw_with_shared_noise(fn)
        except NotImplementedError as error:
            if self.data != "stay" and name not in self.latents:
                return self._mean(name, fn)
            raise ValueError(f"site {name!r} follows from an intervention: {error}") from error

    def _not_drawn_by_guide(self, name: str, fn: TorchDistribution) -> Tensor:
        of_masked = name.removesuffix(UNOBSERVED)
        if of_masked != name and f"{of_masked}{OBSERVED}" in self.observed:
            value = fn.sample()
            if value.is_floating_point():
                return torch.full_like(value, torch.nan)  # a part of the data that is missing
        raise ValueError(
            f"the guide draws no {name!r}, which the model has: its value in the units is not"
            " known; draw it in the guide, or pass evidence of it for each unit"
        )

    def _observed_value(self, name: str, msg: Message) -> Tensor:
        fn = msg["fn"]
        if name not in self.latents:
            self.observed.append(name)
            self.fns[name] = fn
        if self.data == "stay":
            return msg["value"]
        if name in self.latents:
            return self._latent_in_all_worlds(name, fn, msg["value"])
        value = self._datum_in_all_worlds(name, fn, msg["value"])
        if name.endswith(OBSERVED):
            # Pyro's obs_mask: the program goes on with the other site where this one is masked.
            self._masked_later[name] = partial(missing_where_masked, fn=fn, mask=msg["mask"])
            return value
        return missing_where_masked(value, fn, msg["mask"])

    def _latent_in_all_worlds(self, name: str, fn: TorchDistribution, value: Tensor) -> Tensor:
        try:
            return transport(fn, value, self.plates)
        except NotImplementedError as error:
            raise ValueError(
                f"latent {name!r} has no counterfactual: {error}; give it noise"
            ) from error

    def _datum_in_all_worlds(self, name: str, fn: TorchDistribution, value: Tensor) -> Tensor:
        if self.data == "abduct":
            try:
                return transport(fn, value, self.plates)
            except NotImplementedError:
                pass  # no noise can be abducted, as from Bernoulli pixels: return the mean
        return self._mean(name, fn)

    def _mean(self, name: str, fn: TorchDistribution) -> Tensor:
        if name not in self.averaged:
            self.averaged.append(name)
        return mean_of(name, fn)

    def _branched(self, name: str, msg: Message) -> Tensor:
        """The value of a site after the interventions, ``(world, *plates, *event)``."""
        natural = over_plates(msg, msg["value"], self.event_dims[name])
        fn = None if is_deterministic(msg) else msg["fn"]
        values = []
        for change, value in zip(self.changes, self._by_world(name, natural), strict=True):
            if name in change:
                value = changed(name, change[name], value)
                if self._check is not None and not is_checked_beforehand(change[name], fn):
                    self._check(name, change[name], fn, value)
            values.append(value)
        return torch.stack(values)

    def _by_world(self, name: str, natural: Tensor) -> Sequence[Tensor]:
        """The natural value of a site in each world, ``(*plates, *event)``."""
        batch_dims = natural.dim() - self.event_dims[name]
        if batch_dims > self.plates:
            return natural.unbind(0)
        # (*some plates, *event) -> (*plates, *event), the same natural value in each world
        left_padded = natural[(None,) * (self.plates - batch_dims)]
        return (left_padded,) * len(self.changes)

    def name_of(self, value: Tensor) -> str | None:
        """Name of the site that has this very tensor as its value; ``None`` if no site has."""
        return next((name for name, other in self.values.items() if other is value), None)

    def in_worlds(self, name: str) -> Tensor:
        """The value of a site in every world, ``(world, *plates, *event)``; 1 for plates it lacks."""
        value = self._padded(name)
        return value.expand(len(self.changes), *value.shape[1:])

    def labelled(self, name: str) -> tuple[Tensor, tuple[str, ...]]:
        """The value of a site over worlds and the plates around it, and the names of these dims.

        The plate over the data is called ``data``, the plate of draws ``draw``, others
        ``plate_dim_0``, ``plate_dim_1``, …, from the left. Event dims follow.
        """
        full = self._full_batch_shape()
        value = self._padded(name)
        value = value.expand(full + value.shape[len(full) :])
        if name in self._masked_later:
            value = self._masked_later[name](value)
        names = self._names_of_plates()
        own = self._own_plates(name)
        lacking = [place for place in range(self.plates) if place not in own]
        for place in reversed(lacking):
            value = value.select(1 + place, 0)
        return value, ("world", *(names[place] for place in own))

    def _own_plates(self, name: str) -> list[int]:
        """The plates that a site has, as places from the left; the plate of draws always is one."""
        around = {self.plates + dim for dim in self.plates_of[name]}
        sizes = self._padded(name).shape[1 : 1 + self.plates]
        return [n for n, size in enumerate(sizes) if n == 0 or n in around or size > 1]

    def _names_of_plates(self) -> list[str]:
        names = ["draw"] + [""] * (self.plates - 1)
        names[self._place_of_data()] = "data"
        others = [place for place, name in enumerate(names) if not name]
        for number, place in enumerate(others):
            names[place] = f"plate_dim_{number}"
        return names

    def _place_of_data(self) -> int:
        """The place of the plate over the data: that called ``data``, else the rightmost one."""
        plates = {name: dim for around in self.plates_of.values() for dim, name in around.items()}
        return self.plates + plates.get("data", -1)

    def _padded(self, name: str) -> Tensor:
        """The value of a site with all batch dims, of size 1 where it lacks one."""
        value = self.values[name]
        batch_dims = len(self._batch_shape(name))
        return value[(None,) * (1 + self.plates - batch_dims)]

    def broadcast(self) -> dict[str, Tensor]:
        """The value of each site in every world, ``(world, *plates, *event)``."""
        full = self._full_batch_shape()
        return {
            name: value.expand(full + value.shape[len(self._batch_shape(name)) :])
            for name, value in self.values.items()
        }

    def _full_batch_shape(self) -> torch.Size:
        worlds_and_plates = (len(self.changes), *(1,) * self.plates)
        batch_shapes = [self._batch_shape(name) for name in self.values]
        return torch.broadcast_shapes(worlds_and_plates, *batch_shapes)

    def _batch_shape(self, name: str) -> torch.Size:
        value = self.values[name]
        return value.shape[: value.dim() - self.event_dims[name]]
