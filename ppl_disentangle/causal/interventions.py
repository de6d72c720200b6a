"""The operator ``do``: a story under an intervention on its latents and nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle.causal.actions import (
    Action,
    Changes,
    changed,
    check_changed,
    is_checked_beforehand,
    read_actions,
    resolve,
)
from ppl_disentangle.causal.support import OutsideSupportError
from ppl_disentangle.conditions import (
    Arguments,
    accepted,
    by_name,
    check_conditions,
    checked_conditions,
    conditions_of_guide,
    conditions_of_model,
    is_per_datum,
    rows_of,
)
from ppl_disentangle.pairs import Pair, story_of
from ppl_disentangle.sites import (
    Site,
    deterministic_sites,
    is_deterministic,
    plate_shape,
    sampled_sites,
    with_event_dim,
)
from ppl_disentangle.story import (
    GenerativeStory,
    fork_randomness,
    not_training,
    parameters_stay_local,
)

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["do"]

Check: TypeAlias = (
    "Callable[[str, Mapping[int | None, Action], TorchDistribution | None, Tensor], None]"
)
"""Refuses a new value of a site, given its name, the actions on it and its distribution."""

NUM_PROBES = 64
"""Number of drawn units on which actions are checked before the program runs."""

T = TypeVar("T")

NO_CONDITIONS: Mapping[str, Any] = MappingProxyType({})

OBSERVED = "_observed"
UNOBSERVED = "_unobserved"
"""Suffixes of the two sites of which Pyro makes a site with ``obs_mask``."""

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
    story: Any,
    actions: Mapping[str, Action],
    *,
    data_range: RangeCheck | None = None,
    **conditions: Any,
) -> Intervened:
    """Intervene on a story; the result is a story again, accepted wherever a story is.

    This is the story under do(site := value), the second rung of the ladder of causation: it
    describes units that are drawn anew. The third rung, of given units, is
    :func:`~ppl_disentangle.causal.counterfactual`.

    An action is a value, as in ``pyro.do``, a function of the natural value
    (:func:`~ppl_disentangle.causal.shift`), or a distribution to draw from. It acts on a whole
    latent or node, or on one coordinate of a vector (``"z[3]"``, or its name in
    ``story.coordinate_names``), which leaves the other coordinates as they are. A value broadcasts
    against the site's shape ``(batch, *event)``, or ``(batch,)`` for a coordinate, and takes its
    dtype and device. After every action the site must have a value in the support of its prior.

    In a trace of the result, ``<name>`` is the value after the intervention and ``<name>_natural``
    the value that the site would otherwise have had. The guide samples the natural values of
    latents.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``.
        actions: The action on each site or coordinate, by name.
        data_range: The range of the data, from :func:`~ppl_disentangle.causal.data_range`. If it is
            given, actions that leave this range cause a warning; by default nothing is checked.
        **conditions: Conditions of the units, ``(batch, …)`` each, such as ``labels``. Model and
            guide of the result take them for as many units, unless others are passed.

    Raises:
        KeyError: A name is not a latent, node or coordinate of the story. (``pyro.do`` silently
            ignores an unknown name.)
        ValueError: A value does not fit its site, is not finite or is outside of the support of the
            site, or a site is set twice.
        TypeError: A value is not an action.

    Example:
        >>> from ppl_disentangle.causal import shift
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> from ppl_disentangle.models import BetaVAE
        >>> story = BetaVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4)
        >>> do(story, {"z[3]": 2.0, "z[0]": shift(0.5)}).model(batch_size=5).shape
        torch.Size([5, 6])
    """
    intervened = Intervened(story_of(story), actions, conditions)
    if data_range is not None:
        data_range.check_draws(intervened, actions)
    return intervened


class Intervened(GenerativeStory):
    """A story under an intervention; see :func:`do`.

    Attributes:
        story: The story without the intervention.
        conditions: Conditions of units, which model and guide take unless others are passed.
        changes: The checked actions, by site and coordinate.
        event_dims: Number of event dims of all latents and nodes.
    """

    rung = "intervention"

    def __init__(
        self,
        story: GenerativeStory,
        actions: Mapping[str, Action],
        conditions: Mapping[str, Any] = NO_CONDITIONS,
    ) -> None:
        super().__init__()
        self.story = story
        self.conditions = by_name(story, conditions)
        self.has_bound = story.has_bound
        self.fixed_size = story.fixed_size
        self.columns = story.columns
        self.conditions_in_latents = story.conditions_in_latents
        sites = intervenable(story, self.conditions)
        self.changes = checked_actions(story, actions, sites, self.conditions)
        self.event_dims = {name: site.fn.event_dim for name, site in sites.items()}
        self.intervened = tuple(name for name in sites if name in self.changes)
        self.coordinate_names = _with_natural_names(self, story.coordinate_names)
        set_as_a_whole = [
            self.natural(name) for name, change in self.changes.items() if None in change
        ]
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

    def read_first_batch(self, x: Tensor, conditions: Mapping[str, Any]) -> None:
        """Read from a batch what cannot be known before."""
        self.story.read_first_batch(x, conditions)

    def example_conditions(self) -> dict[str, Any]:
        """Conditions of one datum, from which the sites of a draw can be read."""
        return self.story.example_conditions() | rows_of(self.conditions, slice(1))

    @property
    def num_told(self) -> int:
        """Number of units that :func:`do` had conditions of; 0 without."""
        rows = [len(v) for v in rows_of(self.conditions, slice(None)).values() if is_per_datum(v)]
        return max(rows, default=0)

    def told(self, size: int) -> dict[str, Any]:
        """The conditions of :func:`do`, checked, for ``size`` units."""
        return self._with_own(size, {})

    def _with_own(self, size: int, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """The conditions, with further ones that :func:`do` was given."""
        own = {n: value for n, value in self.conditions.items() if n not in conditions}
        return checked_conditions(self, one_datum(self).expand(size), own) | dict(conditions)

    @property
    def has_own_representation(self) -> bool:
        """Whether the representation is not the guide's."""
        return self.story.has_own_representation

    def posterior_sites(self, x: Tensor, **conditions: Any) -> dict[str, Site]:
        """The sites of the guide that draw the latents, without the intervention."""
        given = self._with_own(len(x), conditions)
        sites = _with_natural_names(self, self.story.posterior_sites(x, **given))
        return {name: dataclasses.replace(site, name=name) for name, site in sites.items()}

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """The representation of x without the intervention."""
        given = accepted(self.story.representation, self._with_own(len(x), conditions))
        return _with_natural_names(self, self.story.representation(x, **given))

    def latent_means(self, x: Tensor, **conditions: Any) -> dict[str, Tensor]:
        """The posterior means of the latents of x without the intervention."""
        given = accepted(self.story.latent_means, self._with_own(len(x), conditions))
        return _with_natural_names(self, self.story.latent_means(x, **given))

    def model(self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Any) -> Tensor:
        """p(x, z) under the intervention."""
        size = batch_size if x is None else len(x)
        given = conditions_of_model(self, self._with_own(size, conditions))
        check = partial(check_changed, self.story)
        changing = Change(self.changes, event_dims=self.event_dims, check=check)
        with _NaturalNames(self.intervened), changing as change:
            result = self.story.model(x, batch_size=batch_size, **given)
        # The sites of the program are now called <name>_natural: state the new values under their names.
        for name, value in change.new_values.items():
            pyro.deterministic(name, value, event_dim=value.dim())  # outside of the plates
        return result

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError if the story without the intervention cannot take ``value``."""
        natural_names = {self.natural(site): site for site in self.intervened}
        self.story.check_intervention(natural_names.get(name, name), value)

    def guide(self, x: Tensor, **conditions: Any) -> None:
        """q(z | x) for the natural values of the latents."""
        given = conditions_of_guide(self, self._with_own(len(x), conditions))
        with _NaturalNames(self.intervened):
            self.story.guide(x, **given)


def intervenable(
    story: GenerativeStory, conditions: Mapping[str, Any] = NO_CONDITIONS
) -> dict[str, Site]:
    """The sites that can be intervened on, from one draw: latents and deterministic nodes.

    The state of the random number generators is left as it was.

    Args:
        story: A story.
        conditions: Conditions of some units, for a model that draws nothing without.
    """
    sampled, deterministic = all_sites(story, conditions)
    return {name: sampled[name] for name in story.latents} | deterministic


def all_sites(
    story: GenerativeStory, conditions: Mapping[str, Any] = NO_CONDITIONS
) -> tuple[dict[str, Site], dict[str, Site]]:
    """The sampled and the deterministic sites of one draw from the model.

    The state of the random number generators is left as it was.

    Args:
        story: A story.
        conditions: Conditions of some units, of which the first are taken.
    """
    check_conditions(story, conditions)
    if isinstance(story, Intervened):
        # Only the natural sites: the statements that an intervention adds affect nothing.
        sampled, deterministic = all_sites(story.story, story.conditions | dict(conditions))
        return _with_natural_names(story, sampled), _with_natural_names(story, deterministic)
    trace = _drawn(story, 1, conditions)
    stated = deterministic_sites(trace)
    return sampled_sites(trace), stated | _stated_outside_of_plates(story, stated, conditions)


def _drawn(story: GenerativeStory, batch_size: int, conditions: Mapping[str, Any]) -> Trace:
    """A draw of units that all have the conditions of the first unit."""
    told = story.example_conditions() | dict(conditions)
    told = {n: value for n, value in told.items() if n not in story.conditions_in_latents}
    of_first = rows_of(told, slice(1))

    def draw(size: int) -> Trace:
        given = {
            n: v.expand(size, *v.shape[1:]) if is_per_datum(v) else v for n, v in of_first.items()
        }
        checked = checked_conditions(story, one_datum(story).expand(size), given)
        model_conditions = conditions_of_model(story, checked)
        return poutine.trace(story.model).get_trace(batch_size=size, **model_conditions)

    with (
        not_training(story),
        fork_randomness(),
        torch.no_grad(),
        poutine.block(),
        parameters_stay_local(),
    ):
        try:
            return draw(batch_size)
        except (RuntimeError, ValueError):
            # A program with masks, say, for the units of its example only.
            size = story.example_size if isinstance(story, Pair) else None
            if size in (None, batch_size):
                raise
            return draw(size)


def one_datum(story: GenerativeStory) -> Tensor:
    """A number on the device of the story, and of its data type, in place of a datum."""
    return next(story.parameters(), torch.empty(1)).detach().flatten()[:1]


def _stated_outside_of_plates(
    story: GenerativeStory, stated: Mapping[str, Site], conditions: Mapping[str, Any]
) -> dict[str, Site]:
    """The nodes that the program states after it has left its plates, with their batch dims.

    Nothing around such a statement says which dims are batch dims: a second draw, of two units,
    shows where the data are.
    """
    unknown = [
        name
        for name, site in stated.items()
        if not site.plates and 0 < site.value.dim() == site.fn.event_dim
    ]
    if not unknown:
        return {}
    trace = _drawn(story, 2, conditions)
    plates = [plate for site in sampled_sites(trace).values() for plate in site.plates]
    data_dim = next((plate.dim for plate in plates if plate.size == 2), -1)
    of_two = deterministic_sites(trace)
    result = {}
    for name in unknown:
        sizes = zip(stated[name].value.shape, of_two[name].value.shape, strict=True)
        data_place = next((place for place, (n, m) in enumerate(sizes) if n != m), None)
        if data_place is not None:
            event_dim = max(0, stated[name].value.dim() - data_place + data_dim)
            result[name] = with_event_dim(stated[name], event_dim)
    return result


def checked_actions(
    story: GenerativeStory,
    actions: Mapping[str, Action],
    sites: Mapping[str, Site],
    conditions: Mapping[str, Any] = NO_CONDITIONS,
) -> Changes:
    """The result of :func:`~ppl_disentangle.causal.actions.read_actions`, checked on draws.

    The values that the actions give to drawn units must be possible ones.

    Raises:
        ValueError: A value is outside of the support of its site.
    """
    changes = read_actions(story, actions, sites)
    with fork_randomness(), torch.no_grad():
        for name, change in changes.items():
            value = _value_in_draws(name, change, sites[name])
            if value is not None:
                _check_in_draws(story, name, change, value, prior_of(name, sites), conditions)
    return changes


def _check_in_draws(
    story: GenerativeStory,
    name: str,
    change: Mapping[int | None, Action],
    value: Tensor,
    fn: TorchDistribution | None,
    conditions: Mapping[str, Any],
) -> None:
    try:
        check_changed(story, name, change, fn, value)
    except OutsideSupportError:
        if fn is None:
            raise
        # The bounds may follow from the parents, and so be wider in other units.
        many = sampled_sites(_drawn(story, NUM_PROBES, conditions))
        check_changed(story, name, change, many[name].fn if name in many else fn, value)


def prior_of(name: str, sites: Mapping[str, Site]) -> TorchDistribution | None:
    """The distribution whose support a site has; ``None`` for a node that takes any number.

    A site with ``obs_mask`` is a node, made of an observed and an unobserved site.
    """
    drawn = sites.get(f"{name}{UNOBSERVED}", sites[name])
    return None if drawn.is_stated else drawn.fn


def _value_in_draws(name: str, change: Mapping[int | None, Action], site: Site) -> Tensor | None:
    """The value that actions give to a site in drawn units.

    ``None`` if the actions are for given units, whose number the drawn units do not have.
    """
    natural = site.value
    for index, action in change.items():
        if isinstance(action, Tensor):
            shape = action.shape if index is None else (*action.shape, 1)
            natural = natural.expand(torch.broadcast_shapes(natural.shape, shape))
        else:
            shape = (NUM_PROBES, *site.value.shape)
            natural = site.value.expand(shape) if site.is_stated else site.fn.sample((NUM_PROBES,))
    try:
        return changed(name, change, natural)
    except OutsideSupportError:
        raise
    except Exception:
        return None


def _with_natural_names(story: Intervened, by_name: Mapping[str, T]) -> dict[str, T]:
    return {story.natural(name): value for name, value in by_name.items()}


def takes_numbers(
    story: GenerativeStory, name: str, conditions: Mapping[str, Any] = NO_CONDITIONS
) -> bool:
    """Whether a latent, node or coordinate can be set to any number; a node with classes cannot."""
    site, _ = resolve(story, name, intervenable(story, conditions))
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

    Args:
        changes: The checked actions, by site and coordinate.
        event_dims: Number of event dims of the sites, where known.
        check: Refuses new values that a site cannot have; see
            :class:`~ppl_disentangle.causal.branching.Branch`.

    Attributes:
        new_values: The values after the intervention, by the name that the program gives the site.
    """

    def __init__(
        self,
        changes: Mapping[str, Mapping[int | None, Action]],
        *,
        event_dims: Mapping[str, int] | None = None,
        check: Check | None = None,
    ) -> None:
        super().__init__()
        self.changes = changes
        self.event_dims = event_dims or {}
        self.check = check
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
        change = self.changes[name]
        event_dim = self.event_dims.get(name, msg["fn"].event_dim)
        value = changed(name, change, over_plates(msg, msg["value"], event_dim))
        fn = None if is_deterministic(msg) else msg["fn"]
        if self.check is not None and not is_checked_beforehand(change, fn):
            self.check(name, change, fn, value)
        self.new_values[name] = value
        msg["value"] = value


def over_plates(msg: Message, value: Tensor, event_dim: int) -> Tensor:
    """The value of a site expanded over the plates around it, as a constant node may lack them."""
    batch_dims = value.dim() - event_dim
    batch_shape = torch.broadcast_shapes(value.shape[:batch_dims], plate_shape(msg))
    return value.expand(batch_shape + value.shape[batch_dims:])
