"""The Pyro handler behind worlds and counterfactuals: it runs one program in several worlds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle._pyro_private import is_subsample
from ppl_disentangle.causal.actions import Changes, changed
from ppl_disentangle.causal.interventions import NATURAL
from ppl_disentangle.causal.shared_noise import draw_with_shared_noise, transport

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
        latents: Names of the latents.
        data: Treatment of observed sites. ``"stay"``: they keep their values in every world.
            ``"abduct"``: their noise in the first world, which must be factual, is used in all
            others. ``"mean"``: they become their means. The latter two also abduct the noise of
            latents with given values.
        until: Names of the sites after which the program may stop; by default it runs to its end.

    Attributes:
        values: The value of each site, with or without the axis of worlds.
        event_dims: Number of event dimensions of each site.
        intervened: Names of the sites on which some world intervenes.
        averaged: Names of the observed sites that became their means.
        returned: Name of the site whose value the program returned, if the caller has noted it.
    """

    def __init__(
        self,
        changes: Sequence[Changes],
        plates: int,
        *,
        latents: Sequence[str] = (),
        data: Literal["stay", "abduct", "mean"] = "stay",
        until: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.changes = changes
        self.plates = plates
        self.latents = latents
        self.data = data
        self.intervened = tuple(dict.fromkeys(name for change in changes for name in change))
        self.values: dict[str, Tensor] = {}
        self.event_dims: dict[str, int] = {}
        self.averaged: list[str] = []
        self.returned: str | None = None
        self._still_needed = set(until)
        self._names_of_messages: dict[int, str] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if is_subsample(msg):
            return
        # The site may be renamed before _pyro_post_sample, so its name is kept by message.
        name = str(msg["name"])
        self._names_of_messages[id(msg)] = name
        if name in self.intervened:
            msg["name"] = f"{name}{NATURAL}"
        if msg["infer"].get("_deterministic"):
            return
        if msg["is_observed"]:
            msg["value"] = self._observed_value(name, msg)
        elif msg["value"] is None:
            msg["value"] = self._draw(name, msg["fn"])

    def _pyro_post_sample(self, msg: Message) -> None:
        name = self._names_of_messages.pop(id(msg), None)
        if name is None:
            return
        # An Intervened story states <name> with all dims as event dims; its natural site knows better.
        self.event_dims[name] = self.event_dims.get(f"{name}{NATURAL}", msg["fn"].event_dim)
        if name in self.intervened:
            msg["value"] = self._branched(name, msg["value"])
        self.values[name] = msg["value"]
        self._stop_after(name)

    def _stop_after(self, name: str) -> None:
        if self._still_needed:
            self._still_needed.discard(name)
            if not self._still_needed:
                raise StopProgram

    def _draw(self, name: str, fn: TorchDistribution) -> Tensor | None:
        if len(fn.batch_shape) <= self.plates:
            return None  # the same distribution in all worlds: Pyro draws as usual
        try:
            return draw_with_shared_noise(fn)
        except NotImplementedError as error:
            raise ValueError(f"site {name!r} follows from an intervention: {error}") from error

    def _observed_value(self, name: str, msg: Message) -> Tensor:
        if self.data == "stay":
            return msg["value"]
        if name in self.latents:
            return self._latent_in_all_worlds(name, msg["fn"], msg["value"])
        value = self._datum_in_all_worlds(name, msg["fn"], msg["value"])
        mask = msg["mask"]
        if not isinstance(mask, Tensor):
            return value
        event_dims = (None,) * msg["fn"].event_dim  # (…, batch) -> (…, batch, *event)
        return value.where(mask[(..., *event_dims)], torch.nan)

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
        self.averaged.append(name)
        return fn.mean

    def _branched(self, name: str, natural: Tensor) -> Tensor:
        """The value of a site after the interventions, ``(world, *plates, *event)``."""
        batch_dims = natural.dim() - self.event_dims[name]
        if batch_dims > self.plates:
            natural_by_world = natural.unbind(0)
        else:
            # (*some plates, *event) -> (*plates, *event), the same natural value in each world
            left_padded = natural[(None,) * (self.plates - batch_dims)]
            natural_by_world = (left_padded,) * len(self.changes)
        return torch.stack(
            [
                changed(name, change[name], value) if name in change else value
                for change, value in zip(self.changes, natural_by_world, strict=True)
            ]
        )

    def name_of(self, value: Tensor) -> str | None:
        """Name of the site that has this very tensor as its value; ``None`` if no site has."""
        return next((name for name, other in self.values.items() if other is value), None)

    def broadcast(self) -> dict[str, Tensor]:
        """The value of each site in every world, ``(world, *plates, *event)``."""
        worlds_and_plates = (len(self.changes), *(1,) * self.plates)
        batch_shapes = [self._batch_shape(name) for name in self.values]
        batch_shape = torch.broadcast_shapes(worlds_and_plates, *batch_shapes)
        return {
            name: value.expand(batch_shape + value.shape[len(self._batch_shape(name)) :])
            for name, value in self.values.items()
        }

    def _batch_shape(self, name: str) -> torch.Size:
        value = self.values[name]
        return value.shape[: value.dim() - self.event_dims[name]]
