"""Worlds: a story under many interventions at once, in one pass with one noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from ppl_disentangle.causal.action_text import to_text
from ppl_disentangle.causal.actions import Action, check_changed
from ppl_disentangle.causal.batch_dims import SideBySideError, explained, in_every_world
from ppl_disentangle.causal.branching import Branch
from ppl_disentangle.causal.interventions import (
    NO_CONDITIONS,
    all_sites,
    checked_actions,
    one_datum,
)
from ppl_disentangle.conditions import by_name, checked_conditions, conditions_of_model
from ppl_disentangle.pairs import story_of
from ppl_disentangle.story import GenerativeStory

__all__ = ["Worlds", "worlds"]


def worlds(story: Any, actions: Sequence[Mapping[str, Action]], **conditions: Any) -> Worlds:
    """Run a story under several interventions at once; each world may set other sites.

    This is equivalent to one :func:`~ppl_disentangle.causal.do` for each world, all with the same
    noise, and to stacking their results. The worlds are one batch axis left of the story's plates.
    Sites that no world intervenes on, and that are not descendants of such a site, are computed
    once. The networks of the story must accept inputs with any number of batch dimensions, as those
    in :mod:`~ppl_disentangle.conditionals` with ``input_dims`` do.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``.
        actions: The actions of each world, as :func:`~ppl_disentangle.causal.do` takes them; ``{}``
            is the factual world.
        **conditions: Conditions of units, for a model that draws nothing without. They serve to
            read its sites; each run takes its own.

    Raises:
        KeyError: A name is not a latent, node or coordinate of the story.
        ValueError: The list of worlds is empty, or an action does not fit the story or leaves the
            support of a site.
        TypeError: A value is not an action, or ``actions`` is one mapping instead of a sequence of
            mappings.

    Example:
        >>> from ppl_disentangle.causal import shift
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> from ppl_disentangle.models import BetaVAE
        >>> story = BetaVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4)
        >>> three = worlds(story, [{}, {"z[0]": 1.0}, {"z[0]": shift(0.5), "z[3]": dist.Normal(0.0, 1.0)}])
        >>> {name: tuple(value.shape) for name, value in three.values(batch_size=5).items()}
        {'z': (3, 5, 4), 'x': (3, 5, 6)}
        >>> three.names
        ('factual', 'z[0] = 1', 'z[0] += 0.5, z[3] ~ Normal')
    """
    if isinstance(actions, Mapping):
        raise TypeError(
            "expected a list of worlds, one mapping of names to actions each, got one mapping"
        )
    story = story_of(story)
    return Worlds(story, actions, by_name(story, conditions))


class Worlds:
    """A story in several worlds; see :func:`worlds`.

    Attributes:
        story: The story.
        names: The actions of each world as text, see :func:`~ppl_disentangle.causal.to_text`.
        changes: The checked actions of each world.
        sites: Names of all latents and deterministic nodes of the story.
        priors: Distribution of each sampled site, in one draw.
        event_dims: Number of event dimensions of all sites.
        plates: Number of batch dimensions of the story; the axis of worlds is left of them.
    """

    rung = "intervention"

    def __init__(
        self,
        story: GenerativeStory,
        actions: Sequence[Mapping[str, Action]],
        conditions: Mapping[str, Any] = NO_CONDITIONS,
    ) -> None:
        if not actions:
            raise ValueError("expected at least one world; {} is the factual one")
        self.story = story
        sampled, deterministic = all_sites(story, conditions)
        intervenable = {name: sampled[name] for name in story.latents} | deterministic
        self.names = tuple(to_text(world) for world in actions)
        self.changes = [
            checked_actions(story, world, intervenable, conditions) for world in actions
        ]
        self.sites = (*intervenable, *story.intervened)
        drawn = sampled | deterministic
        self.priors = {name: site.fn for name, site in sampled.items()}
        self.event_dims = {name: site.fn.event_dim for name, site in drawn.items()}
        self.plates = max(site.value.dim() - site.fn.event_dim for site in drawn.values())
        self._was_validated = False

    def __len__(self) -> int:
        return len(self.changes)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Any) -> Tensor:
        """p(x, z) in every world; returns x, of shape ``(world, batch, *event)``.

        In a trace, a site that some world sets has the value after the intervention, and
        ``<name>_natural`` the value that it would otherwise have had.
        """
        branch, result = self._run(x, batch_size, self._given(x, batch_size, conditions))
        for name in branch.intervened:
            pyro.deterministic(name, branch.values[name], event_dim=branch.event_dims[name])
        returned = branch.name_of(result)
        return result if returned is None else branch.broadcast()[returned]

    __call__ = model

    def values(
        self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Any
    ) -> dict[str, Tensor]:
        """One draw of every site, each of shape ``(world, batch, *event)``."""
        branch, _ = self._run(x, batch_size, self._given(x, batch_size, conditions))
        return branch.broadcast()

    def _run(
        self, x: Tensor | None, batch_size: int, given: Mapping[str, Any]
    ) -> tuple[Branch, Any]:
        """All worlds, and the result of the model.

        A model that cannot put its latents beside a condition gets both with the axis of worlds.

        Raises:
            ValueError: The model does not run in several worlds.
        """
        size = batch_size if x is None else len(x)
        everywhere = in_every_world(given, (len(self),), size) if self.plates == 1 else None
        state = torch.get_rng_state()
        try:
            with self._branch() as branch, explained(self.story):
                return branch, self.story.model(x, batch_size=batch_size, **given)
        except SideBySideError as error:
            if everywhere is None:
                raise
            torch.set_rng_state(state)
            try:
                with self._branch(full=True) as branch, explained(self.story):
                    return branch, self.story.model(x, batch_size=batch_size, **everywhere)
            except ValueError:
                raise error from None

    def _given(
        self, x: Tensor | None, batch_size: int, conditions: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The conditions that the model takes, checked."""
        units = one_datum(self.story).expand(batch_size) if x is None else x
        return conditions_of_model(self.story, checked_conditions(self.story, units, conditions))

    def branch(self, plates: int, **options: Any) -> Branch:
        """A handler that runs the story in all worlds.

        Args:
            plates: Number of batch dimensions of the program with those around it.
            **options: Further arguments of :class:`~ppl_disentangle.causal.branching.Branch`.
        """
        check = partial(check_changed, self.story)
        return Branch(self.changes, plates, check=check, event_dims=self.event_dims, **options)

    @contextmanager
    def _branch(self, *, full: bool = False) -> Iterator[Branch]:
        """The handler of the worlds.

        Pyro validates the parameters of distributions in the first pass only: validation takes half
        of the time.
        """
        validate = is_validation_enabled() and not self._was_validated
        with dist.validation_enabled(validate), self.branch(self.plates, full=full) as branch:
            yield branch
        self._was_validated = True
