"""Evidence lower bounds as weighted sums of named terms."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import pyro
import torch
from pyro.infer import ELBO, is_validation_enabled
from pyro.infer.elbo import ELBOModule
from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.distributed.joined_traces import joined_traces
from ppl_disentangle.inference.distributed.processes import num_processes, separate_streams
from ppl_disentangle.inference.elbo.schedules import Weight, at_step, spelled
from ppl_disentangle.inference.elbo.terms import added
from ppl_disentangle.sites import observed_sites, paired_traces

__all__ = [
    "DecomposedELBO",
]

_numbers = itertools.count()


class DecomposedELBO(nn.Module, ELBO):
    r"""An objective that is a weighted sum of named terms.

    .. math:: \mathcal L = \sum_k w_k t_k, \quad \text{loss} = -\mathcal L

    With every weight 1, those of :attr:`penalties` apart, it is the evidence lower bound. It goes to
    ``pyro.infer.SVI(model, guide, optim, elbo)``, and to any torch optimiser as ``elbo(model, guide)``, a module whose
    call returns the loss. It is a module itself: its step counter, and what it may learn, move with ``.to(device)`` and
    are in its ``state_dict``.

    Implementing an objective: pass the weights to ``__init__`` and define :meth:`terms`. A term without a weight has
    weight 1. If it adds to the bound, name what it adds in :attr:`penalties`; if it has an opponent, name the term that
    trains it in :attr:`critics`; if it adapts between steps, define :meth:`advance`.

    What the guide states by ``pyro.factor``, such as the distance of two codes, is subtracted from every objective, as
    Pyro's own bounds do: a term by the name of the statement, which is no part of the bound.

    In several processes of ``torch.distributed``, each with a part of the batch, every process computes the terms of
    the whole batch, from what all of them drew: wrapped in ``DistributedDataParallel``, the pair gets the gradients
    that one process would give it. Seed all processes alike; each draws latents of its own.

    Args:
        weights: for each weighted term a number, or a schedule of the number of steps taken.
        factors: weights of what the guide states by ``pyro.factor``, by name; not named, it has weight 1.
        warm_up: if positive, every weight in ``weights`` is multiplied by ``min(1, step / warm_up)``.
        num_data: number of data behind a batch, where the pair's plate does not tell.
        num_particles: number of draws from the guide to average over.
        vectorize_particles: make these draws at once, in an outermost plate.
        max_plate_nesting: as in Pyro; found out if not given.

    Attributes:
        penalties: names of the terms that are no part of the bound: at weight 0 what is left is the bound.
        critics: names of the terms that train an opponent: their gradient is part of the loss's, their value is not.
        reads_data: whether :meth:`terms` reads the data themselves, beside what the pair draws, states and scores.
        parts: number of data of each process, where they share a batch; asked of each other if not known.
        optimizer_options: options for what the objective itself learns, such as ``{"lr": 1e-4}``. ``fit`` uses them;
            SVI does through :meth:`svi_options`.
        last_terms: the terms of the last call, detached, unweighted, in nats and on Pyro's scale (summed over the
            plate).
    """

    penalties: ClassVar[tuple[str, ...]] = ()
    critics: ClassVar[tuple[str, ...]] = ()
    reads_data: ClassVar[bool] = False
    parts: tuple[int, ...] | None = None
    step: Tensor
    weights: dict[str, Weight]
    warm_up: int
    num_data: int | None
    num_particles: int
    max_plate_nesting: float
    _get_traces: Callable[..., Iterator[tuple[Trace, Trace]]]

    def __init__(
        self,
        weights: Mapping[str, Weight],
        *,
        factors: Mapping[str, Weight] | None = None,
        warm_up: int = 0,
        num_data: int | None = None,
        num_particles: int = 1,
        vectorize_particles: bool = False,
        max_plate_nesting: float = float("inf"),
    ) -> None:
        nn.Module.__init__(self)
        ELBO.__init__(
            self,
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
        )
        if warm_up < 0:
            raise ValueError(f"expected warm_up >= 0, got {warm_up}")
        for name, number in (("num_particles", num_particles), ("num_data", num_data)):
            if number is not None and number < 1:
                raise ValueError(f"expected {name} >= 1, got {number}")
        weights = dict(weights) | dict(factors or {})
        for name, weight in weights.items():
            if not callable(weight) and not weight >= 0:
                raise ValueError(
                    f"expected a weight of {name!r} that is not negative, got {weight}"
                )
        self.weights, self.warm_up, self.num_data = weights, warm_up, num_data
        self.register_buffer("step", torch.zeros(()))
        self.optimizer_options: dict[str, Any] = {}
        self.last_terms: dict[str, Tensor] = {}
        self._pyro_name = f"{type(self).__name__}_{next(_numbers)}"

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._pyro_name = f"{type(self).__name__}_{next(_numbers)}"  # a copy's critic trains apart from its original

    def extra_repr(self) -> str:
        """The weights, for checkpoints and tables."""
        weights = [f"{k}={spelled(w)}" for k, w in self.weights.items()]
        return ", ".join([*weights, f"warm_up={self.warm_up}"])

    @abstractmethod
    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Scalars in nats on Pyro's scale (summed over the plate), signed so that unit weights give the bound."""

    def __call__(self, model: Callable[..., Any], guide: Callable[..., Any]) -> ELBOModule:
        """The loss of one pair as a module, which counts its steps while it trains."""
        return _Bound(model, guide, self)

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step."""
        if name not in self.weights:
            return 1.0
        value = at_step(self.weights[name], self.step)
        return value * (self.step / self.warm_up).clamp(max=1.0) if self.warm_up else value

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """The loss as a scalar on the device of the data; reading it is left to the caller."""
        totals: dict[str, Tensor] = {}
        traces = self._get_traces(model, guide, args, kwargs)
        if (
            torch.is_grad_enabled()
        ):  # graphs are kept anyway; what terms draw comes after all of the guide's draws
            traces = iter(self._whole(traces))
        for model_trace, guide_trace in traces:
            stated = {
                n: -site.total(site.log_prob()) for n, site in observed_sites(guide_trace).items()
            }
            for name, term in (stated | self.terms(model_trace, guide_trace)).items():
                totals[name] = totals[name] + term if name in totals else term
        if self.num_particles > 1:
            totals = {name: total / self.num_particles for name, total in totals.items()}
        self.last_terms = {name: total.detach() for name, total in totals.items()}
        losses = {n: t - t.detach() if n in self.critics else t for n, t in totals.items()}
        return -added([_weighed(self.weight(n), loss) for n, loss in losses.items()])

    def _whole(self, traces: Iterator[tuple[Trace, Trace]]) -> list[tuple[Trace, Trace]]:
        """The traces, of the whole batch where this process has a part of it."""
        several = num_processes() > 1
        with separate_streams() if several else nullcontext():
            drawn = list(traces)
        if is_validation_enabled():
            for model_trace, guide_trace in drawn:
                self.check(model_trace, guide_trace)
        if several:
            drawn = [joined_traces(m, g, self.parts, data=self.reads_data) for m, g in drawn]
        return drawn

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Raise a ValueError for a pair of which the terms would be wrong; called while training under validation."""

    def advance(self) -> None:
        """Take note of a step of training; :attr:`last_terms` are its terms."""
        self.step.add_(1)

    def svi_options(self, **options: Any) -> Callable[[str], dict[str, Any]]:
        """Options for ``PyroOptim``: ``options`` for the pair's parameters, :attr:`optimizer_options` for our own.

        Example:
            >>> from ppl_disentangle.inference.objectives.factor_vae import FactorELBO
            >>> elbo = FactorELBO(10)
            >>> optim = pyro.optim.PyroOptim(torch.optim.Adam, elbo.svi_options(lr=1e-3))
        """
        own = f"{self._pyro_name}."
        return lambda name: options | self.optimizer_options if name.startswith(own) else options

    def loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> float:
        """The loss as a number, without gradients."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Back-propagate the loss and count a step; what ``SVI.step`` calls."""
        if next(self.parameters(), None) is not None:
            pyro.module(self._pyro_name, self)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        self.advance()
        return loss.detach()

    def _get_trace(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        return paired_traces(model, guide, args, kwargs, max_plate_nesting=self.max_plate_nesting)


def _weighed(weight: float | Tensor, term: Tensor) -> Tensor:
    """Their product; a weight of one takes no operation."""
    return term if isinstance(weight, float) and weight == 1 else weight * term


class _Bound(ELBOModule):
    """A pair under an objective; the modules whose methods the pair is are part of it."""

    def __init__(
        self, model: Callable[..., Any], guide: Callable[..., Any], elbo: DecomposedELBO
    ) -> None:
        super().__init__(model, guide, elbo)
        owners = {
            id(o): o
            for f in (model, guide)
            if isinstance(o := getattr(f, "__self__", None), nn.Module)
        }
        self.owners = nn.ModuleList(owners.values())

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().forward(*args, **kwargs)
        if self.training and torch.is_grad_enabled():
            self.elbo.advance()
        return loss
