"""Many interventions at once: every world of a story on one axis, in one pass, with one noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
from pyro.infer import is_validation_enabled
from torch import Tensor

from ppl_disentangle.causal.actions import Action, read_actions, to_text
from ppl_disentangle.causal.branching import Branch
from ppl_disentangle.causal.interventions import all_sites
from ppl_disentangle.story import story_of

__all__ = ["Worlds", "worlds"]


def worlds(story: Any, actions: Sequence[Mapping[str, Action]]) -> Worlds:
    """A story under several interventions at once, which may differ in the sites that they set.

    This is equivalent to one :func:`~ppl_disentangle.causal.do` for each world, all with the same noise, and
    their results stacked. The worlds are one batch axis left of the story's plates. What no world touches, and what
    follows from nothing that one touches, is computed once. The networks of the story must take inputs with any number
    of batch dimensions, as those in :mod:`~ppl_disentangle.conditionals` with ``input_dims`` do.

    Args:
        story: a story.
        actions: for each world what :func:`~ppl_disentangle.causal.do` takes; ``{}`` is the factual world.

    Raises:
        KeyError: as in ``do``.
        ValueError: as in ``do``, or there is no world.
        TypeError: as in ``do``, or one mapping came instead of a sequence of them.

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> from ppl_disentangle.causal.actions import shift
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
    return Worlds(story, actions)


class Worlds:
    """A story in several worlds; see :func:`worlds`.

    Attributes:
        names: what is done in each world, as text.
        sites: names of all latents and statements of the story.
        plates: number of batch dimensions of the story's own, to the left of which the worlds are.
    """

    rung = "intervention"

    def __init__(self, story: Any, actions: Sequence[Mapping[str, Action]]) -> None:
        if not actions:
            raise ValueError("expected at least one world; {} is the factual one")
        self.story = story_of(story)
        sampled, stated = all_sites(self.story)
        sites = {name: sampled[name] for name in self.story.latents} | stated
        self.names = tuple(to_text(world) for world in actions)
        self.changes = [read_actions(self.story, world, sites) for world in actions]
        self.sites = (*sites, *self.story.intervened)
        self._passed = False
        self.plates = max(
            site.value.dim() - site.fn.event_dim for site in (sampled | stated).values()
        )

    def __len__(self) -> int:
        return len(self.changes)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Tensor
    ) -> Tensor:
        """p(x, z) in every world; x is ``(world, batch, *event)``.

        In a trace, a site that some world sets holds the values that the program went on with, and ``<name>_natural``
        those that it would have gone on with.
        """
        with self._branch() as branch:
            result = self.story.model(x, batch_size=batch_size, **conditions)
        for name in branch.touched:
            pyro.deterministic(name, branch.values[name], event_dim=branch.event_dims[name])
        everywhere = branch.broadcast()
        return next(
            (everywhere[name] for name, value in branch.values.items() if value is result), result
        )

    __call__ = model

    def values(
        self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Tensor
    ) -> dict[str, Tensor]:
        """One draw of every site, ``(world, batch, *event)`` each."""
        with self._branch() as branch:
            self.story.model(x, batch_size=batch_size, **conditions)
        return branch.broadcast()

    @contextmanager
    def _branch(self) -> Iterator[Branch]:
        """The handler; parameters of distributions are checked in the first pass only: that takes half of the time."""
        check = is_validation_enabled() and not self._passed
        with dist.validation_enabled(check), Branch(self.changes, self.plates) as branch:
            yield branch
        self._passed = True
