"""A program that goes on in several worlds: the handler behind worlds and counterfactuals."""

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
    """Leaves a program whose remaining sites nobody asked for, such as images."""


class Branch(Messenger):
    """Lets a program go on in several worlds at once, on an axis left of its plates, with one noise for all.

    Args:
        changes: what is done in each world.
        plates: number of batch dimensions of the program.
        latents: names of the latents.
        data: what becomes of sites that are observed: they ``"stay"`` as they are in every world; their noise is
            abducted in the first world, which is factual, and goes on to the others; or they become their ``"mean"``.
            In the latter two cases, latents whose values are given are abducted.
        until: sites after which the program need not go on; none: it goes on to its end.

    Attributes:
        values: the value of each site, some without the axis of worlds.
        event_dims: number of event dimensions of each site.
        averaged: names of the observed sites that became their means.
        returned: name of the site whose value the program returned, if anybody noted it.
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
        self.changes, self.plates, self.latents, self.data = changes, plates, latents, data
        self.missing = set(until)
        self.touched = tuple(dict.fromkeys(name for change in changes for name in change))
        self.values: dict[str, Tensor] = {}
        self.event_dims: dict[str, int] = {}
        self.averaged: list[str] = []
        self.returned: str | None = None
        self.passing: dict[int, str] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if is_subsample(msg):
            return
        name = str(msg["name"])
        self.passing[id(msg)] = name
        if name in self.touched:
            msg["name"] = f"{name}{NATURAL}"
        if msg["infer"].get("_deterministic"):
            return
        if msg["is_observed"]:
            msg["value"] = self._abduct(name, msg)
        elif msg["value"] is None:
            msg["value"] = self._draw(name, msg["fn"])

    def _pyro_post_sample(self, msg: Message) -> None:
        name = self.passing.pop(id(msg), None)
        if name is None:
            return
        self.event_dims[name] = self.event_dims.get(f"{name}{NATURAL}", msg["fn"].event_dim)
        if name in self.touched:
            msg["value"] = self._branch(name, msg["value"])
        self.values[name] = msg["value"]
        if self.missing:
            self.missing.discard(name)
            if not self.missing:
                raise StopProgram

    def _draw(self, name: str, fn: TorchDistribution) -> Tensor | None:
        if len(fn.batch_shape) <= self.plates:
            return None
        try:
            return draw_with_shared_noise(fn)
        except NotImplementedError as error:
            raise ValueError(f"site {name!r} follows from an intervention: {error}") from error

    def _abduct(self, name: str, msg: Message) -> Tensor:
        fn, value, mask = msg["fn"], msg["value"], msg["mask"]
        if self.data == "stay":
            return value
        if name in self.latents:
            try:
                return transport(fn, value, self.plates)
            except NotImplementedError as error:
                raise ValueError(
                    f"latent {name!r} has no counterfactual: {error}; give it noise"
                ) from error
        try:
            value = (
                self._mean(name, fn) if self.data == "mean" else transport(fn, value, self.plates)
            )
        except NotImplementedError:
            value = self._mean(name, fn)
        return (
            value.where(mask[(..., *(None,) * fn.event_dim)], torch.nan)
            if isinstance(mask, Tensor)
            else value
        )

    def _mean(self, name: str, fn: TorchDistribution) -> Tensor:
        self.averaged.append(name)
        return fn.mean

    def _branch(self, name: str, natural: Tensor) -> Tensor:
        batch_dims = natural.dim() - self.event_dims[name]
        if batch_dims > self.plates:
            rows = natural.unbind(0)
        else:
            rows = (natural[(None,) * (self.plates - batch_dims)],) * len(self.changes)
        pairs = zip(self.changes, rows, strict=True)
        return torch.stack(
            [changed(name, change[name], row) if name in change else row for change, row in pairs]
        )

    def broadcast(self) -> dict[str, Tensor]:
        """The value of each site in every world, ``(world, *plates, *event)``."""
        batch_shapes = [
            value.shape[: value.dim() - self.event_dims[name]]
            for name, value in self.values.items()
        ]
        shape = torch.broadcast_shapes((len(self.changes), *(1,) * self.plates), *batch_shapes)
        return {
            n: v.expand(shape + v.shape[v.dim() - self.event_dims[n] :])
            for n, v in self.values.items()
        }
