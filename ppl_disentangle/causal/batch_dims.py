"""A check that a program computes worlds and draws side by side as it computes one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from pyro.distributions import TorchDistribution, Unit
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle._pyro_private import is_subsample
from ppl_disentangle.causal.branching import Branch, StopProgram
from ppl_disentangle.causal.interventions import Intervened
from ppl_disentangle.observed import point_of
from ppl_disentangle.story import GenerativeStory

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["SideBySideError", "check_batch_dims", "explained", "in_every_world"]

WAY_OUT = (
    "worlds and draws are further dims left of the data, so count dims from the right:"
    " z[..., 0] for z[:, 0], torch.cat(…, -1), and networks that take any batch dims"
)
RELATIVE_TOLERANCE = 1e-3


class SideBySideError(ValueError):
    """A program does not compute several worlds side by side as it computes one of them."""


@contextmanager
def explained(story: GenerativeStory) -> Iterator[None]:
    """A context that explains why a program fails for worlds and draws side by side.

    Raises:
        SideBySideError: A tensor of the program had a shape that did not fit.
    """
    try:
        yield
    except (torch.OutOfMemoryError, NotImplementedError):
        raise
    except (RuntimeError, IndexError) as error:
        raise SideBySideError(_message(story, error)) from error
    except ValueError as error:
        if "Shape mismatch inside plate" not in str(error):
            raise
        raise SideBySideError(_message(story, error)) from error


def _message(story: GenerativeStory, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    return f"the model of {story.title} does not run in several worlds: {reason}; {WAY_OUT}"


def in_every_world(
    conditions: Mapping[str, Any], axes: Sequence[int], num_data: int
) -> dict[str, Any] | None:
    """The conditions with further axes left of the data, for programs that put both together.

    A model may write ``torch.cat([z, c], -1)``, where z has an axis of worlds and an axis of draws.

    Args:
        conditions: Conditions of each datum.
        axes: Sizes of the further axes.
        num_data: Number of data.

    Returns:
        The conditions of each datum with shape ``(*axes, batch, …)``; all others as they are.
        ``None`` if no condition belongs to a datum.
    """
    by_datum = {
        name: value
        for name, value in conditions.items()
        if isinstance(value, Tensor) and value.dim() > 0 and len(value) == num_data
    }
    if not by_datum:
        return None
    expanded = {name: value.expand(*axes, *value.shape) for name, value in by_datum.items()}
    return {**conditions, **expanded}


def check_batch_dims(
    story: GenerativeStory,
    branch: Branch,
    x: Tensor | None,
    arguments: Mapping[str, Any],
    until: Sequence[str] = (),
) -> None:
    """Refuse a program that gives other values side by side than alone.

    The program runs once more, in the last world and with the first draw alone. All values that are
    not computed are given. The values that it computes must equal the values in ``branch``.

    Args:
        story: The story.
        branch: All worlds and draws side by side.
        x: The units, or ``None`` if they were drawn.
        arguments: Further arguments of the model.
        until: Names of the sites after which the program may stop.

    Raises:
        SideBySideError: A value or a mean differs.
    """
    if isinstance(story, Intervened):
        return  # its own actions may draw, and would draw anew
    given = {
        name: _of_one(branch, name)
        for name in branch.values
        if name in branch.intervened or name not in branch.stated
    }
    alone = _Alone(given, until)
    # Draws that the program makes for itself, as of noise, must not change the caller's.
    with torch.random.fork_rng(devices=[]), suppress(StopProgram), alone:
        story.model(x, **arguments)
    _compare_computed(story, branch, alone)


def _compare_computed(story: GenerativeStory, branch: Branch, alone: _Alone) -> None:
    """Compare all values and means that the program computes alone and side by side."""
    for name, value in alone.values.items():
        is_computed = name not in alone.given and name not in branch.of_first_world
        if name in branch.values and is_computed:
            _compare(story, name, _of_one(branch, name), value)
    for name, fn in alone.fns.items():
        if name in branch.fns:
            _compare_means(story, name, branch, fn)


def _of_one(branch: Branch, name: str) -> Tensor:
    """The value of a site in the last world and the first draw, ``(*own plates, *event)``."""
    value = branch.in_worlds(name)[-1, 0]
    depth = max(
        (-dim for dim, plate in branch.plates_of[name].items() if plate != "draw"), default=0
    )
    while value.dim() - branch.event_dims[name] > depth and len(value) == 1:
        value = value[0]
    return value


def _compare_means(
    story: GenerativeStory, name: str, branch: Branch, fn: TorchDistribution
) -> None:
    try:
        together = point_of(name, branch.fns[name])
        alone = point_of(name, fn)
    except ValueError:
        return  # a distribution that states no mean
    batch_dims = len(branch.fns[name].batch_shape)
    together = together[(None,) * (1 + branch.plates - batch_dims)]
    _compare(story, name, together[-1, 0], alone)


def _compare(story: GenerativeStory, name: str, together: Tensor, alone: Tensor) -> None:
    try:
        together, alone = torch.broadcast_tensors(together.double(), alone.double())
        tolerance = RELATIVE_TOLERANCE * float(alone.nan_to_num(0.0, 0.0, 0.0).abs().max())
        same = torch.allclose(together, alone, rtol=0, atol=tolerance + 1e-6, equal_nan=True)
    except RuntimeError:
        same = False
    if not same:
        raise SideBySideError(
            f"the model of {story.title} gives {name!r} other values in several worlds at once than"
            f" in one: {WAY_OUT}"
        )


class _Alone(Messenger):
    """Gives sites their values, and records all values, and the distributions of the sites."""

    def __init__(self, given: Mapping[str, Tensor], until: Sequence[str]) -> None:
        super().__init__()
        self.given = given
        self.values: dict[str, Tensor] = {}
        self.fns: dict[str, TorchDistribution] = {}
        self._still_needed = set(until)

    def _pyro_sample(self, msg: Message) -> None:
        if not is_subsample(msg) and msg["name"] in self.given:
            msg["value"] = self.given[str(msg["name"])]
            msg["is_observed"] = True

    def _pyro_post_sample(self, msg: Message) -> None:
        if is_subsample(msg) or isinstance(msg["fn"], Unit):
            return
        name = str(msg["name"])
        self.values[name] = msg["value"]
        self.fns[name] = msg["fn"]
        if self._still_needed:
            self._still_needed.discard(name)
            if not self._still_needed:
                raise StopProgram
