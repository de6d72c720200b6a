"""Interventions on a story's latents and nodes, through ``pyro.do``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle.causal.actions import Action, changed, expand, read_actions, resolve
from ppl_disentangle.sites import Site, deterministic_sites, sampled_sites
from ppl_disentangle.story import (
    GenerativeStory,
    fork_randomness,
    not_training,
    parameters_stay_local,
    story_of,
)

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = [
    "do",
]

NATURAL = "_natural"


class RangeCheck(Protocol):
    """Warns of interventions that leave the range of the data, as a :class:`~ppl_disentangle.causal.DataRange` does."""

    def check(
        self, values: Mapping[str, Tensor], actions: Mapping[str, Action], *, stacklevel: int = 3
    ) -> None:
        """Warn if the values of all sites under ``actions`` leave the range of the data."""

    def check_draws(self, intervened: Intervened, actions: Mapping[str, Action]) -> None:
        """Warn if units drawn from the intervened story leave the range of the data."""


def do(
    story: GenerativeStory, actions: Mapping[str, Action], *, data_range: RangeCheck | None = None
) -> Intervened:
    """An intervened story: a story again, so that whatever takes a story takes it.

    This is the story under do(site := value), the second rung of the ladder of causation: what becomes of units drawn
    anew. For what would have become of given units see
    :func:`~ppl_disentangle.causal.counterfactual`.

    A value is set for a whole latent, or a node of a causal graph, by ``pyro.do``; by a messenger of our own where it
    is a function of the natural value (:func:`shift`), a draw from a distribution, or one coordinate of a vector
    (``"z[3]"``, or its name in ``story.coordinate_names``) while the others keep their values. It broadcasts against
    the site's shape ``(batch, *event)``, or ``(batch,)`` for a coordinate, and takes its dtype and device.

    In a trace of the result, a site's name holds the value that the program went on with, and ``<name>_natural`` the
    value that it would have gone on with; of a latent the latter is what the guide samples.

    Args:
        story: a story.
        actions: what each site is set to, by name.
        data_range: where the data are, from :func:`~ppl_disentangle.causal.data_range`; warns of values outside it.

    Raises:
        KeyError: a name is no latent, node or coordinate of the story. (``pyro.do`` alone ignores it.)
        ValueError: a value does not fit, is not finite or is none that the site can have, or a site is set twice.
        TypeError: an action is none of the above.

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> from ppl_disentangle.models import BetaVAE
        >>> story = BetaVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4)
        >>> do(story, {"z[3]": 2.0, "z[0]": shift(0.5)}).model(batch_size=5).shape
        torch.Size([5, 6])
    """
    intervened = Intervened(story_of(story), actions)
    if data_range is not None:
        data_range.check_draws(intervened, actions)
    return intervened


class Intervened(GenerativeStory):
    """A story under an intervention; see :func:`do`."""

    rung = "intervention"

    def __init__(self, story: GenerativeStory, actions: Mapping[str, Action]) -> None:
        super().__init__()
        self.story, self.has_bound = story, story.has_bound
        sites = intervenable(story)
        changes = read_actions(story, actions, sites)
        whole = {name: change.get(None) for name, change in changes.items()}
        self.whole = {name: value for name, value in whole.items() if isinstance(value, Tensor)}
        self.changes = {name: change for name, change in changes.items() if name not in self.whole}
        self.shapes = {name: site.value.shape[1:] for name, site in sites.items()}
        self.intervened = tuple(name for name in sites if name in changes)
        self.coordinate_names = {self.natural(k): v for k, v in story.coordinate_names.items()}
        set_as_a_whole = {name for name, change in changes.items() if None in change}
        self.already_set = story.already_set | {self.natural(name) for name in set_as_a_whole}

    def natural(self, name: str) -> str:
        """Name of the site that holds what ``name`` would be without the intervention."""
        return name + NATURAL if name in self.intervened else name

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.natural(name) for name in self.story.latents)

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """The representation of x, as it is without the intervention."""
        return {self.natural(name): q for name, q in self.story.representation(x).items()}

    def latent_means(self, x: Tensor, **conditions: Tensor) -> dict[str, Tensor]:
        """Values of the latents that stand for x, as they are without the intervention."""
        return {
            self.natural(name): value
            for name, value in self.story.latent_means(x, **conditions).items()
        }

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Tensor
    ) -> Tensor:
        """p(x, z) under the intervention."""
        size = batch_size if x is None else len(x)
        whole = {
            name: expand(name, value, (size, *self.shapes[name]))
            for name, value in self.whole.items()
        }
        with _Natural(self.intervened), Change(self.changes) as change, poutine.do(data=whole):
            result = self.story.model(x, batch_size=batch_size, **conditions)
        for name in self.intervened:
            value = whole.get(name, change.effective.get(name))
            pyro.deterministic(name, value, event_dim=value.dim())
        return result

    def guide(self, x: Tensor, **conditions: Tensor) -> None:
        """q(z | x) of the latents as they would be without the intervention."""
        with _Natural(self.intervened):
            self.story.guide(x, **conditions)


def intervenable(story: GenerativeStory) -> dict[str, Site]:
    """The latents of one draw from the model, and its deterministic statements; no random numbers are used up."""
    sampled, stated = all_sites(story)
    return {name: sampled[name] for name in story.latents} | stated


def all_sites(story: GenerativeStory) -> tuple[dict[str, Site], dict[str, Site]]:
    """What one draw from the model samples, and what it states; no random numbers are used up."""
    if isinstance(story, Intervened):  # what it states of its own accord has no effect
        sampled, stated = (
            {story.natural(name): site for name, site in d.items()} for d in all_sites(story.story)
        )
        return sampled, stated
    with (
        not_training(story),
        fork_randomness(),
        torch.no_grad(),
        poutine.block(),
        parameters_stay_local(),
    ):
        trace = poutine.trace(story.model).get_trace(batch_size=1)
    return sampled_sites(trace), deterministic_sites(trace)


class _Natural(Messenger):
    """Renames the draws of intervened latents to what they are: natural values."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.names:
            msg["name"] = f"{msg['name']}{NATURAL}"


class Change(Messenger):
    """Lets the program go on with another value of a site, or of some of its coordinates, than was drawn."""

    def __init__(self, changes: Mapping[str, Mapping[int | None, Action]]) -> None:
        super().__init__()
        self.changes = changes
        self.passing: dict[int, str] = {}
        self.effective: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.changes:
            self.passing[id(msg)] = str(msg["name"])  # on its way out the site may be renamed

    def _pyro_post_sample(self, msg: Message) -> None:
        name = self.passing.pop(id(msg), None)
        if name is None:
            return
        self.effective[name] = msg["value"] = changed(name, self.changes[name], msg["value"])


def takes_numbers(story: GenerativeStory, name: str) -> bool:
    """Whether a latent, node or coordinate may be set to any number; one of classes may not."""
    site, _ = resolve(story, name, intervenable(story))
    try:
        story.check_intervention(site, torch.tensor(0.5))
    except ValueError:
        return False
    return True
