"""From gradients to parameters: clipping, the optimiser, and the schedule of its learning rate."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.optim import PyroLRScheduler, PyroOptim
from pyro.optim.multi import MultiOptimizer
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ppl_disentangle.inference.training.update import Update

__all__ = ["LEARNING_RATE", "Optimisation", "OptimiserSettings", "fused_adam"]

LEARNING_RATE = 1e-3
CLIPPING: Mapping[str, Callable[[list[Tensor], float], Any]] = {
    "clip_norm": clip_grad_norm_,
    "clip_value": clip_grad_value_,
}
"""Functions that clip the gradients of parameters, by the name of their bound."""

Groups = list[dict[str, Any]]
MakeOptimizer = Callable[..., Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


def fused_adam(parameters: Groups, lr: float) -> Optimizer:
    """Adam that updates all parameters by one kernel."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


@dataclass(frozen=True)
class OptimiserSettings:
    """How a run updates its parameters; see ``fit`` for each.

    Raises:
        TypeError: Expected an optimiser, or it was made for other parameters.
        ValueError: Two arguments say the same, or a bound is not positive.
    """

    optimizer: MakeOptimizer | PyroOptim | None = None
    lr: float | None = None
    scheduler: MakeScheduler | None = None
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        _check_optimizer(self.optimizer)
        of_pyro = isinstance(self.optimizer, PyroOptim)
        if of_pyro and self.lr is not None:
            raise ValueError("Pyro's optimiser has a learning rate of its own: leave lr away")
        if isinstance(self.optimizer, PyroLRScheduler) and self.scheduler is not None:
            raise ValueError("the optimiser has a scheduler of its own: leave scheduler away")
        bounds = {name: bound for name, bound in self.bounds.items() if bound is not None}
        if len(bounds) > 1:
            raise ValueError("pass clip_norm or clip_value, not both")
        if bounds and of_pyro and self.optimizer.pt_clip_args:  # type: ignore[union-attr]
            raise ValueError(f"Pyro's optimiser clips gradients itself: leave {[*bounds][0]} away")
        for name, bound in bounds.items():
            if not bound > 0:
                raise ValueError(f"expected {name} > 0, got {bound}")

    @property
    def bounds(self) -> dict[str, float | None]:
        """The bound of each way of clipping."""
        return {"clip_norm": self.clip_norm, "clip_value": self.clip_value}

    @property
    def learning_rate(self) -> float | None:
        """The learning rate; ``None`` where Pyro's optimiser has its own."""
        if isinstance(self.optimizer, PyroOptim):
            return None
        return LEARNING_RATE if self.lr is None else self.lr


def _check_optimizer(optimizer: Any) -> None:
    name = type(optimizer).__name__
    if isinstance(optimizer, Optimizer):
        raise TypeError(
            f"the optimiser was made for other parameters: pass the class, torch.optim.{name}, or a"
            " function of parameters and lr"
        )
    if isinstance(optimizer, LRScheduler):
        raise TypeError(
            f"{name} was made for another optimiser: pass scheduler=lambda optimizer: {name}(optimizer, …)"
        )
    if isinstance(optimizer, MultiOptimizer) or name == "HorovodOptimizer":
        raise TypeError(f"{name} is not taken; pass an optimiser of torch.optim or pyro.optim")
    if not (optimizer is None or callable(optimizer)):
        raise TypeError(f"expected a function that makes an optimiser, got {name}")


class Optimisation:
    """An optimiser, with the clipping of gradients before each step and a schedule after it.

    Args:
        settings: The optimiser, its schedule and the clipping.
        groups: Groups of parameters with their options.
        names: The name of each parameter by its ``id``, for Pyro's optimisers.

    Attributes:
        optimizer: The optimiser.
        scheduler: The schedule of its learning rate, if any.
        clips: Whether gradients are clipped.
        takes_sums: Whether the gradients are of the loss of all data, as in ``SVI``, and not of the
            loss per datum.
    """

    def __init__(
        self, settings: OptimiserSettings, groups: Groups, names: Mapping[int, str]
    ) -> None:
        learned = [group["params"] for group in groups]
        make_scheduler = settings.scheduler
        if isinstance(settings.optimizer, PyroOptim):
            self.optimizer = _optimizer_of_pyro(settings.optimizer, groups, names)
            self._clippings = _clippings_of_pyro(settings.optimizer, learned, names)
            if isinstance(settings.optimizer, PyroLRScheduler):
                make_scheduler = functools.partial(
                    settings.optimizer.pt_scheduler_constructor, **settings.optimizer.kwargs
                )
        else:
            make: MakeOptimizer = settings.optimizer or fused_adam
            self.optimizer = make(groups, lr=settings.learning_rate)
            self._clippings = _clippings(settings.bounds, learned)
        _check_made(self.optimizer)
        self.clips = bool(self._clippings)
        self.takes_sums = isinstance(settings.optimizer, PyroOptim)
        self._update = Update(self.optimizer)
        self.scheduler = None if make_scheduler is None else make_scheduler(self.optimizer)
        if not (self.scheduler is None or isinstance(self.scheduler, LRScheduler)):
            kind = type(self.scheduler).__name__
            raise TypeError(f"expected scheduler(optimizer) to be a torch LRScheduler, got {kind}")

    @property
    def follows_held_out(self) -> bool:
        """Whether the schedule follows the held-out bound, and not the number of steps."""
        return isinstance(self.scheduler, ReduceLROnPlateau)

    def step(self) -> None:
        """Clip the gradients, update the parameters, and advance the schedule."""
        for clip in self._clippings:
            clip()
        self._update()
        if self.scheduler is not None and not self.follows_held_out:
            self.scheduler.step()

    def follow(self, bound: float) -> None:
        """Pass the held-out bound to a schedule that follows it."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(bound if self.scheduler.mode == "max" else -bound)


def _check_made(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise TypeError(
            f"expected optimizer(parameters, lr=lr) to be a torch optimiser, got {kind}"
        )
    if isinstance(optimizer, LBFGS):
        raise TypeError("LBFGS evaluates the loss several times in a step; use another optimiser")


def _clippings(
    bounds: Mapping[str, float | None], groups: Sequence[list[Tensor]]
) -> list[Callable[[], Any]]:
    """Functions that clip the gradients of each group by itself."""
    return [
        functools.partial(CLIPPING[name], group, bound)
        for name, bound in bounds.items()
        if bound is not None
        for group in groups
    ]


def _optimizer_of_pyro(optimizer: PyroOptim, groups: Groups, names: Mapping[int, str]) -> Optimizer:
    """One optimiser of torch with the options that Pyro's gives to each parameter."""
    make: Any = optimizer.pt_optim_constructor
    options = optimizer.pt_optim_args
    if not callable(options):
        return make(groups, **options)
    takes_one = len(inspect.signature(options).parameters) == 1
    by_parameter: Groups = []
    for group in groups:
        others = {name: value for name, value in group.items() if name != "params"}
        for parameter in group["params"]:
            name = names.get(id(parameter), "")
            own = options(name) if takes_one else options(*_split(name))
            by_parameter.append({"params": [parameter], **own, **others})
    return make(by_parameter)


def _clippings_of_pyro(
    optimizer: PyroOptim, groups: Sequence[list[Tensor]], names: Mapping[int, str]
) -> list[Callable[[], Any]]:
    """Functions that clip the gradient of each parameter by itself, as Pyro's optimisers do."""
    clippings: list[Callable[[], Any]] = []
    bounds = optimizer.pt_clip_args
    for parameter in itertools.chain.from_iterable(groups):
        own = bounds(*_split(names.get(id(parameter), ""))) if callable(bounds) else bounds
        clippings += _clippings(own, [[parameter]])
    return clippings


def _split(name: str) -> tuple[str, str]:
    """The name of a module, and the name of a parameter within it."""
    module, _, parameter = name.partition(".")
    return module, parameter or module
