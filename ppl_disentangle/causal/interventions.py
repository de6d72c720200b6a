"""The operator ``do``: a story under an intervention on its latents and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle.causal.actions import Action, changed, expand, read_actions, resolve
from ppl_disentangle.conditions import (
    Arguments,
    accepted,
    conditions_of_guide,
    conditions_of_model,
)
from ppl_disentangle.pairs import story_of
from ppl_disentangle.sites import Site, deterministic_sites, sampled_sites
from ppl_disentangle.story import (
    GenerativeStory,
    fork_randomness,
    not_training,
    parameters_stay_local,
)

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["do"]

T = TypeVar("T")

NATURAL = "_natural"
"""Suffix of the site with the natural value, which a site would have had without intervention."""


class RangeCheck(Protocol):
    """Warns of interventions that leave the range of the data, like ``DataRange``."""

    def check(
        self, values: Mapping[str, Tensor], actions: Mapping[str, Action], *, stacklevel: int = 3
    ) -> None:
        """Warn if the values of all sites under ``actions`` leave the range of the data."""

    def check_draws(self, intervened: Intervened, actions: Mapping[str, Action]) -> None:
        """Warn if units drawn from the intervened story leave the range of the data."""


def do(
    story: Any, actions: Mapping[str, Action], *, data_range: RangeCheck | None = None
) -> Intervened:
    """Intervene on a story; the result is a story again, accepted wherever a story is.

    This is the story under do(site := value), the second rung of the ladder of causation: it
    describes units that are drawn anew. The third rung, of given units, is
    :func:`~ppl_disentangle.causal.counterfactual`.

    ``pyro.do`` sets a whole latent, or a node of a causal graph, to a value. A messenger of this
    package applies the other actions: a function of the natural value
    (:func:`~ppl_disentangle.causal.shift`), a draw from a distribution, and an action on one
    coordinate of a vector (``"z[3]"``, or its name in ``story.coordinate_names``), which leaves the
    other coordinates as they are. A value broadcasts against the site's shape ``(batch, *event)``,
    or ``(batch,)`` for a coordinate, and takes its dtype and device.

    In a trace of the result, ``<name>`` is the value after the intervention and ``<name>_natural``
    the value that the site would otherwise have had. The guide samples the natural values of
    latents.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``.
        actions: The action on each site or coordinate, by name.
        data_range: The range of the data, from :func:`~ppl_disentangle.causal.data_range`. If it is
            given, actions that leave this range cause a warning; by default nothing is checked.

    Raises:
        KeyError: A name is not a latent, node or coordinate of the story. (``pyro.do`` silently
            ignores an unknown name.)
        ValueError: A value does not fit its site, is not finite or is impossible, or a site is set
            twice.
        TypeError: A value is not an action.

    Example:
        >>> from ppl_disentangle.causal import shift
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
    """A story under an intervention; see :func:`do`.

    Attributes:
        story: The story without the intervention.
        whole: Values of the sites that are set as a whole to given values, which ``pyro.do`` sets.
        changes: All other actions, by site and coordinate.
        shapes: Event shapes of all latents and nodes.
    """

    rung = "intervention"

    def __init__(self, story: GenerativeStory, actions: Mapping[str, Action]) -> None:
        super().__init__()
        self.story = story
        self.has_bound = story.has_bound
        self.conditions_in_latents = story.conditions_in_latents
        sites = intervenable(story)
        changes = read_actions(story, actions, sites)
        self.whole = _values_of_whole_sites(changes)
        self.changes = {name: change for name, change in changes.items() if name not in self.whole}
        self.shapes = {name: site.value.shape[1:] for name, site in sites.items()}
        self.intervened = tuple(name for name in sites if name in changes)
        self.coordinate_names = _with_natural_names(self, story.coordinate_names)
        set_as_a_whole = [self.natural(name) for name, change in changes.items() if None in change]
        self.already_set = story.already_set.union(set_as_a_whole)

    def natural(self, name: str) -> str:
        """Name of the site with the natural value: ``name`` itself without intervention on it."""
        return name + NATURAL if name in self.intervened else name

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.natural(name) for name in self.story.latents)

    @property
    def title(self) -> str:
        """What messages call the story without the intervention."""
        return self.story.title

    def model_arguments(self) -> Arguments:
        """The conditions that the model takes beside the observations."""
        return self.story.model_arguments()

    def guide_arguments(self) -> Arguments:
        """The conditions that the guide takes beside the observations."""
        return self.story.guide_arguments()

    @property
    def has_own_representation(self) -> bool:
        """Whether the representation is not the guide's."""
        return self.story.has_own_representation

    def posterior_sites(self, x: Tensor, **conditions: Any) -> dict[str, Site]:
        """The sites of the guide that draw the latents, without the intervention."""
        return _with_natural_names(self, self.story.posterior_sites(x, **conditions))

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """The representation of x without the intervention."""
        given = accepted(self.story.representation, conditions)
        return _with_natural_names(self, self.story.representation(x, **given))

    def latent_means(self, x: Tensor, **conditions: Any) -> dict[str, Tensor]:
        """The posterior means of the latents of x without the intervention."""
        given = accepted(self.story.latent_means, conditions)
        return _with_natural_names(self, self.story.latent_means(x, **given))

    def model(self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Any) -> Tensor:
        """p(x, z) under the intervention."""
        given = conditions_of_model(self, conditions)
        size = batch_size if x is None else len(x)
        whole = {
            name: expand(name, value, (size, *self.shapes[name]))
            for name, value in self.whole.items()
        }
        with _NaturalNames(self.intervened), Change(self.changes) as change, poutine.do(data=whole):
            result = self.story.model(x, batch_size=batch_size, **given)
        # The sites of the program are now called <name>_natural: state the new values under their names.
        for name in self.intervened:
            value = whole.get(name, change.new_values.get(name))
            pyro.deterministic(name, value, event_dim=value.dim())
        return result

    def guide(self, x: Tensor, **conditions: Any) -> None:
        """q(z | x) for the natural values of the latents."""
        given = conditions_of_guide(self, conditions)
        with _NaturalNames(self.intervened):
            self.story.guide(x, **given)


def _values_of_whole_sites(changes: Mapping[str, Mapping[int | None, Action]]) -> dict[str, Tensor]:
    actions = {name: change.get(None) for name, change in changes.items()}
    return {name: action for name, action in actions.items() if isinstance(action, Tensor)}


def intervenable(story: GenerativeStory) -> dict[str, Site]:
    """The sites that can be intervened on, from one draw: latents and deterministic nodes.

    The state of the random number generators is left as it was.
    """
    sampled, deterministic = all_sites(story)
    return {name: sampled[name] for name in story.latents} | deterministic


def all_sites(story: GenerativeStory) -> tuple[dict[str, Site], dict[str, Site]]:
    """The sampled and the deterministic sites of one draw from the model.

    The state of the random number generators is left as it was.
    """
    if isinstance(story, Intervened):
        # Only the natural sites: the statements that an intervention adds affect nothing.
        sampled, deterministic = all_sites(story.story)
        return _with_natural_names(story, sampled), _with_natural_names(story, deterministic)
    with (
        not_training(story),
        fork_randomness(),
        torch.no_grad(),
        poutine.block(),
        parameters_stay_local(),
    ):
        trace = poutine.trace(story.model).get_trace(batch_size=1)
    return sampled_sites(trace), deterministic_sites(trace)


def _with_natural_names(story: Intervened, by_name: Mapping[str, T]) -> dict[str, T]:
    return {story.natural(name): value for name, value in by_name.items()}


def takes_numbers(story: GenerativeStory, name: str) -> bool:
    """Whether a latent, node or coordinate can be set to any number; a node with classes cannot."""
    site, _ = resolve(story, name, intervenable(story))
    try:
        story.check_intervention(site, torch.tensor(0.5))
    except ValueError:
        return False
    return True


class _NaturalNames(Messenger):
    """Adds the suffix of natural values to the names of intervened sites."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.names:
            msg["name"] = f"{msg['name']}{NATURAL}"


class Change(Messenger):
    """Replaces the value of a site, or of some of its coordinates, for the rest of the program.

    Attributes:
        new_values: The values after the intervention, by the name that the program gives the site.
    """

    def __init__(self, changes: Mapping[str, Mapping[int | None, Action]]) -> None:
        super().__init__()
        self.changes = changes
        self.new_values: dict[str, Tensor] = {}
        self._names_of_messages: dict[int, str] = {}

    def _pyro_sample(self, msg: Message) -> None:
        # An outer handler may rename the site before _pyro_post_sample, so the name is kept by message.
        if msg["name"] in self.changes:
            self._names_of_messages[id(msg)] = str(msg["name"])

    def _pyro_post_sample(self, msg: Message) -> None:
        name = self._names_of_messages.pop(id(msg), None)
        if name is None:
            return
        value = changed(name, self.changes[name], msg["value"])
        self.new_values[name] = value
        msg["value"] = value
