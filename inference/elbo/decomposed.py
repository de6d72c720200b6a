"""Evidence lower bounds as weighted sums of named terms."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from ppl_disentangle.inference.elbo.schedules import Weight, as_text, at_step
from ppl_disentangle.inference.elbo.terms import sum_tensors
from ppl_disentangle.pairs import owning_modules
from ppl_disentangle.sites import observed_sites, paired_traces

__all__ = [
    "DecomposedELBO",
]

_numbers = itertools.count()


class DecomposedELBO(nn.Module, ELBO):
    r"""An objective that is a weighted sum of named terms. Abstract.

    .. math:: \mathcal L = \sum_k w_k t_k, \quad \text{loss} = -\mathcal L

    With weight 1 for every term, and 0 for :attr:`penalties`, it is the evidence lower bound. Use it
    with ``pyro.infer.SVI(model, guide, optim, elbo)``, or with any torch optimiser as
    ``elbo(model, guide)``, a module whose call returns the loss. The objective is a module itself:
    its step counter and its own parameters move with ``.to(device)`` and are part of its
    ``state_dict``.

    Implementing an objective: pass the weights to ``__init__`` and define :meth:`terms`. Terms
    without a weight have weight 1. Name the terms that do not belong to the bound in
    :attr:`penalties`, and the term that trains an opponent in :attr:`critics`. Define
    :meth:`advance` if the objective adapts between steps.

    Statements of the guide by ``pyro.factor``, such as the distance of two codes, are subtracted
    from every objective, as by Pyro's own bounds. Each is a term with the name of the statement,
    and does not belong to the bound.

    In several processes of ``torch.distributed``, each with a part of the batch, every process
    computes the terms of the whole batch from the draws of all processes. A pair wrapped in
    ``DistributedDataParallel`` then has the gradients of a single process. Seed all processes
    alike; each still draws different latents.

    Args:
        weights: Weight of each weighted term: a number, or a schedule of the number of steps taken.
        factors: Weights of the guide's ``pyro.factor`` statements, by name. Statements that are not
            listed have weight 1.
        warm_up: Number of steps over which all ``weights`` rise linearly from 0. Zero switches it
            off.
        num_data: Number of data in the data set. By default the size of the plate over the data.
        num_particles: Number of draws from the guide to average over.
        vectorize_particles: Whether these draws are made at once, in an outermost plate.
        max_plate_nesting: Largest number of nested plates, as for Pyro's ELBOs. By default Pyro
            finds it out.

    Attributes:
        penalties: Names of the terms that do not belong to the bound.
        critics: Names of the terms that train an opponent: their gradient is part of the gradient
            of the loss, their value is not part of its value.
        reads_data: Whether :meth:`terms` reads the data themselves, not only the sites of the pair.
        part_sizes: Number of data in each process, where several share a batch. By default the
            processes exchange them.
        optimizer_options: Optimiser options for the objective's own parameters, such as
            ``{"lr": 1e-4}``. ``fit`` uses them; SVI uses them through :meth:`svi_options`.
        last_terms: Terms of the last call, detached and unweighted, in nats and on Pyro's scale
            (summed over the plate).

    Example:
        >>> from ppl_disentangle.inference.elbo.terms import elbo_terms
        >>> class HalfKL(DecomposedELBO):
        ...     def __init__(self, **options):
        ...         super().__init__({"kl": 0.5}, **options)
        ...
        ...     def terms(self, model_trace, guide_trace):
        ...         return elbo_terms(model_trace, guide_trace)  # "log_likelihood" and "kl"
        >>> HalfKL(warm_up=100)
        HalfKL(kl=0.5, warm_up=100)
    """

    penalties: ClassVar[tuple[str, ...]] = ()
    critics: ClassVar[tuple[str, ...]] = ()
    reads_data: ClassVar[bool] = False
    part_sizes: tuple[int, ...] | None = None
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
        _check_number("warm_up", warm_up, 0)
        _check_number("num_particles", num_particles, 1)
        _check_number("num_data", num_data, 1)
        self.weights = dict(weights) | dict(factors or {})
        for name, weight in self.weights.items():
            _check_weight(name, weight)
        self.warm_up = warm_up
        self.num_data = num_data
        self.register_buffer("step", torch.zeros(()))
        self.optimizer_options: dict[str, Any] = {}
        self.last_terms: dict[str, Tensor] = {}
        self._pyro_name = _fresh_pyro_name(type(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # A copy's critic must not share parameters with its original.
        self._pyro_name = _fresh_pyro_name(type(self))

    def extra_repr(self) -> str:
        """The weights, for checkpoints and tables."""
        weights = [f"{k}={as_text(w)}" for k, w in self.weights.items()]
        return ", ".join([*weights, f"warm_up={self.warm_up}"])

    @abstractmethod
    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The terms of the objective for one draw.

        Each term is a scalar in nats, on Pyro's scale (summed over the plate), and signed as a part
        of the bound: divergences and penalties are negative.

        Args:
            model_trace: Trace of the model, replayed against the guide.
            guide_trace: Trace of the guide.
        """

    def __call__(self, model: Callable[..., Any], guide: Callable[..., Any]) -> ELBOModule:
        """The loss of a pair as a module, which counts steps while it is in training mode."""
        return _PairLoss(model, guide, self)

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step."""
        if name not in self.weights:
            return 1.0
        value = at_step(self.weights[name], self.step)
        if self.warm_up:
            return value * (self.step / self.warm_up).clamp(max=1.0)
        return value

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """The loss as a scalar on the device of the data; it never waits for the device."""
        totals: dict[str, Tensor] = {}
        for model_trace, guide_trace in self._traces(model, guide, args, kwargs):
            # An objective may return its own term for a statement, as EnumeratedELBO does.
            terms = _factor_terms(guide_trace) | self.terms(model_trace, guide_trace)
            for name, term in terms.items():
                totals[name] = totals[name] + term if name in totals else term
        if self.num_particles > 1:
            totals = {name: total / self.num_particles for name, total in totals.items()}
        self.last_terms = {name: total.detach() for name, total in totals.items()}
        return -sum_tensors([self._weighted(name, total) for name, total in totals.items()])

    def _traces(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Iterable[tuple[Trace, Trace]]:
        """Pairs of traces of model and guide, one for each particle."""
        traces = self._get_traces(model, guide, args, kwargs)
        if not torch.is_grad_enabled():
            return traces  # one at a time, so that only one is in memory
        # Training keeps all graphs anyway. All draws of the guide come before any random numbers
        # of the terms, in one process as in several.
        return self._traces_of_whole_batch(traces)

    def _traces_of_whole_batch(
        self, traces: Iterator[tuple[Trace, Trace]]
    ) -> list[tuple[Trace, Trace]]:
        """The traces, joined with the traces of other processes that have parts of the batch."""
        shares_batch = num_processes() > 1
        with separate_streams() if shares_batch else nullcontext():
            drawn = list(traces)
        if is_validation_enabled():
            for model_trace, guide_trace in drawn:
                self.check(model_trace, guide_trace)
        if shares_batch:
            drawn = [joined_traces(m, g, self.part_sizes, data=self.reads_data) for m, g in drawn]
        return drawn

    def _weighted(self, name: str, term: Tensor) -> Tensor:
        """A term times its weight; the term of a critic passes its gradient, but not its value."""
        if name in self.critics:
            term = term - term.detach()
        weight = self.weight(name)
        if isinstance(weight, float) and weight == 1:
            return term  # saves an operation
        return weight * term

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Raise a ValueError if the terms would be wrong for this pair.

        Called in training while Pyro's validation is on.
        """

    def advance(self) -> None:
        """Count a training step; :attr:`last_terms` are its terms."""
        self.step.add_(1)

    def svi_options(self, **options: Any) -> Callable[[str], dict[str, Any]]:
        """Options for ``PyroOptim``: these for the pair, :attr:`optimizer_options` for the critic.

        Args:
            **options: Optimiser options for the parameters of the pair.

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
        """Back-propagate the loss and count a step; called by ``SVI.step``."""
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


def _check_number(name: str, number: int | None, least: int) -> None:
    if number is not None and number < least:
        raise ValueError(f"expected {name} >= {least}, got {number}")


def _check_weight(name: str, weight: Weight) -> None:
    if not callable(weight) and not weight >= 0:
        raise ValueError(f"expected a weight of {name!r} that is not negative, got {weight}")


def _fresh_pyro_name(cls: type) -> str:
    """A name for Pyro's parameter store that no other objective has."""
    return f"{cls.__name__}_{next(_numbers)}"


def _factor_terms(guide_trace: Trace) -> dict[str, Tensor]:
    """Terms for the guide's ``pyro.factor`` statements, by name."""
    sites = observed_sites(guide_trace)
    return {name: -site.total(site.log_prob()) for name, site in sites.items()}


class _PairLoss(ELBOModule):
    """The loss of a pair; modules whose methods are the model and the guide are submodules."""

    def __init__(
        self, model: Callable[..., Any], guide: Callable[..., Any], elbo: DecomposedELBO
    ) -> None:
        super().__init__(model, guide, elbo)
        self.owners = nn.ModuleList(owning_modules(model, guide))

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().forward(*args, **kwargs)
        if self.training and torch.is_grad_enabled():
            self.elbo.advance()
        return loss
