"""Interventions on a story's latents, through ``pyro.do``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from ppl_disentangle.sites import Site, sampled_sites
from ppl_disentangle.story import GenerativeStory, fork_randomness, parameters_stay_local, story_of

__all__ = ["do"]

NATURAL = "_natural"


def do(story: GenerativeStory, values: Mapping[str, float | Tensor | np.ndarray]) -> Intervened:
    """An intervened story: a story again, so that whatever takes a story takes it.

    This is the story under do(site := value).

    A value is set for a whole latent by ``pyro.do``, and for one coordinate of a vector latent (``"z[3]"``, or its
    name in ``story.coordinate_names``) while the others keep their draws. It broadcasts against the latent's shape
    ``(batch, *event)``, or ``(batch,)`` for a coordinate, and takes its dtype and device.

    In a trace of the result, a latent's name holds the value that the program went on with, and ``<name>_natural``
    the draw that it would have gone on with; the latter is what its guide samples.

    Args:
        story: a story.
        values: numbers, tensors or arrays by name.

    Raises:
        KeyError: a name is no latent and no coordinate of the story. (``pyro.do`` alone ignores it.)
        ValueError: a value does not fit or is not finite, or a latent is set twice.

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> from ppl_disentangle.models import BetaVAE
        >>> story = BetaVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4)
        >>> do(story, {"z[3]": 2.0}).model(batch_size=5).shape
        torch.Size([5, 6])
    """
    return Intervened(story_of(story), values)


class Intervened(GenerativeStory):
    """A story under an intervention; see :func:`do`."""

    def __init__(self, story: GenerativeStory, values: Mapping[str, float | Tensor | np.ndarray]) -> None:
        super().__init__()
        self.story = story
        self.whole: dict[str, Tensor] = {}
        self.coordinates: dict[str, dict[int, Tensor]] = {}
        sites = _latents(story)
        self.shapes = {name: site.value.shape[1:] for name, site in sites.items()}
        for name, value in values.items():
            self._set(name, value, sites)
        both = sorted(self.whole.keys() & self.coordinates.keys())
        if both:
            raise ValueError(f"latent {both[0]!r} is set as a whole and in a coordinate")
        self.intervened = tuple(name for name in story.latents if name in self.whole or name in self.coordinates)
        self.coordinate_names = {self._natural(k): v for k, v in story.coordinate_names.items()}

    def _set(self, name: str, value: float | Tensor | np.ndarray, sites: Mapping[str, Site]) -> None:
        latent, index = _resolve(self.story, name, sites)
        like = sites[latent].value
        if not isinstance(value, Tensor | np.ndarray | np.generic | float | int):
            raise TypeError(f"do({name!r}): expected a number, a tensor or an array, got {type(value).__name__}")
        tensor = torch.as_tensor(value).to(like)
        shape = like.shape[1:] if index is None else ()
        if not torch.isfinite(tensor).all():
            raise ValueError(f"do({name!r}): the value is not finite")
        try:
            torch.broadcast_shapes(tensor.shape, (len(tensor) if tensor.dim() > len(shape) else 1, *shape))
        except RuntimeError:
            raise ValueError(
                f"do({name!r}): expected a value that broadcasts to (batch, *{tuple(shape)}), got shape"
                f" {tuple(tensor.shape)}"
            ) from None
        if index is None:
            self.whole[latent] = tensor
        elif index in self.coordinates.setdefault(latent, {}):
            raise ValueError(f"do({name!r}): coordinate {index} of {latent!r} is set twice")
        else:
            self.coordinates[latent][index] = tensor

    def _natural(self, name: str) -> str:
        return name + NATURAL if name in self.intervened else name

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self._natural(name) for name in self.story.latents)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z) under the intervention."""
        size = batch_size if x is None else len(x)
        whole = {name: _expand(name, value, (size, *self.shapes[name])) for name, value in self.whole.items()}
        with _Natural(self.intervened), _SetCoordinates(self.coordinates) as setter:
            result = pyro.do(self.story.model, data=whole)(x, batch_size=batch_size)
        for name in self.intervened:
            value = whole.get(name, setter.effective.get(name))
            pyro.deterministic(name, value, event_dim=value.dim())
        return result

    def guide(self, x: Tensor) -> None:
        """q(z | x) of the latents as they would be without the intervention."""
        with _Natural(self.intervened):
            self.story.guide(x)


def _latents(story: GenerativeStory) -> dict[str, Site]:
    """The latents of one draw from the model; no random numbers are used up."""
    with fork_randomness(), torch.no_grad(), poutine.block(), parameters_stay_local():
        sites = sampled_sites(poutine.trace(story.model).get_trace(batch_size=1))
    return {name: sites[name] for name in story.latents}


def _resolve(story: GenerativeStory, name: str, sites: Mapping[str, Site]) -> tuple[str, int | None]:
    """The latent that ``name`` means, and which coordinate of it."""
    if name in sites:
        return name, None
    for latent, names in story.coordinate_names.items():
        if name in names:
            return latent, list(names).index(name)
    if (match := re.fullmatch(r"(.+)\[(\d+)\]", name)) and match[1] in sites:
        latent, index = match[1], int(match[2])
        size = sites[latent].fn.event_shape[-1] if sites[latent].fn.event_shape else 0
        if index >= size:
            raise KeyError(f"no coordinate {name!r}: latent {latent!r} has {size or 'no'} coordinates")
        return latent, index
    known = [*sites, *(n for names in story.coordinate_names.values() for n in names)]
    close = get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise KeyError(f"no latent named {name!r}; the story has {known}{hint}")


def _expand(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"do({name!r}): expected a value that broadcasts to {shape}, got {tuple(value.shape)}"
        ) from None


class _Natural(Messenger):
    """Renames the draws of intervened latents to what they are: natural values."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.names:
            msg["name"] = f"{msg['name']}{NATURAL}"


class _SetCoordinates(Messenger):
    """Lets the program go on with a draw in which some coordinates have other values."""

    def __init__(self, coordinates: Mapping[str, Mapping[int, Tensor]]) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.passing: dict[int, str] = {}
        self.effective: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.coordinates:
            self.passing[id(msg)] = str(msg["name"])  # on its way out the site may be renamed

    def _pyro_post_sample(self, msg: Message) -> None:
        name = self.passing.pop(id(msg), None)
        if name is None:
            return
        columns = list(msg["value"].unbind(-1))
        for index, value in self.coordinates[name].items():
            columns[index] = _expand(f"{name}[{index}]", value, tuple(columns[index].shape))
        self.effective[name] = torch.stack(columns, -1)
        msg["value"] = self.effective[name]
