"""The generative story: a model of the data, and the guide that infers its latents."""

from __future__ import annotations

import abc
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import networkx as nx
import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppl_disentangle._pyro_private import is_subsample
from ppl_disentangle.conditions import (
    Arguments,
    accepted,
    arguments_of,
    check_conditions,
    conditions_of_guide,
)
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.names import check_names
from ppl_disentangle.observed import latent_point
from ppl_disentangle.parameter_store import unchanged_store
from ppl_disentangle.sites import Site, sampled_sites

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["GenerativeStory"]

_registering: ContextVar[bool] = ContextVar("registering", default=True)
_evaluations: ContextVar[tuple[dict[nn.Module, bool], ...]] = ContextVar("evaluations", default=())
"""The modes of modules before each evaluation that is in progress, outermost first."""
_numbers = itertools.count()


@contextmanager
def parameters_stay_local() -> Iterator[None]:
    """A context in which stories do not register their parameters in Pyro's parameter store."""
    token = _registering.set(False)
    try:
        yield
    finally:
        _registering.reset(token)


@contextmanager
def parameters_are_registered() -> Iterator[None]:
    """A context in which stories register their parameters in Pyro's parameter store."""
    token = _registering.set(True)
    try:
        yield
    finally:
        _registering.reset(token)


def fork_randomness() -> AbstractContextManager[None]:
    """A context whose random draws do not change the caller's random state.

    This covers the CPU and the current CUDA device.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    return torch.random.fork_rng(devices=devices)


class GenerativeStory(nn.Module, abc.ABC):
    """A model of observations ``x`` and their latents, with a guide that infers the latents.

    A story is a ``torch.nn.Module`` with two programs. The *model* says how the data come about: it
    draws the latents z from the prior p(z) and the observations from the likelihood p(x | z). The
    *guide* is the encoder: it draws the latents from the approximate posterior q(z | x). Both are
    written in Pyro, where ``pyro.sample(name, distribution)`` draws a named variable, and
    ``obs=x`` fixes it to the data. Training needs no more than these two programs, see
    :func:`~ppl_disentangle.inference.fit`.

    Implementing a story: set :attr:`latents`, and define :meth:`model` and :meth:`guide`. Both open
    :meth:`data_plate` around their sample statements, which declares that the data of a batch are
    independent. See the example below.

    ``story.model`` and ``story.guide`` work unchanged with stock ``pyro.infer.SVI`` and with any
    ELBO. Two stories in one process never share parameters: each has a different name in Pyro's
    parameter store.

    Attributes:
        latents: Names of the latents, in their order in the representation. They are not among
            :data:`ppl_disentangle.names.RESERVED`.
        coordinate_names: For a vector latent, names of its coordinates. By default ``z[0]``,
            ``z[1]``, ….
        dag: Causal graph of the nodes; ``None`` if the story has no graph, or has yet to learn it.
        columns: Names of the columns of ``labels`` and ``interventions``, for a story that takes
            them.
        needs_labels: Whether every datum must have ``labels``, including held-out data.
        has_bound: Whether model and guide bound log p(x). Generators without a likelihood do not.
        intervened: Names of the sites that an intervention changes; empty for a story without
            interventions.
        conditions_in_latents: Names of the conditions that decoding does not take, because the
            latents hold all that matters of them.
        fixed_size: Number of data for each of which the guide has separate parameters; ``None``
            for a guide that computes the posterior of any data.
        already_set: Names of the sites that an intervention has set as a whole. They cannot be set
            again.
        called_modules: Modules that the story calls and that are no parts of it; they are in evaluation
            mode when it is.
        num_data: Number of data in the data set, for which a batch stands;
            :func:`~ppl_disentangle.inference.fit` sets it. ``None``: a batch stands for itself.

    Example:
        >>> class LinearVAE(GenerativeStory):
        ...     latents = ("z",)
        ...
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.encoder, self.decoder = nn.Linear(5, 2), nn.Linear(2, 5)
        ...
        ...     def model(self, x=None, *, batch_size=1):
        ...         with self.data_plate(x, batch_size):
        ...             z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...             return pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)
        ...
        ...     def guide(self, x):
        ...         with self.data_plate(x):
        ...             pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))
        >>> story = LinearVAE()
        >>> story.model(batch_size=3).shape  # three observations drawn from the model
        torch.Size([3, 5])
        >>> story.latent_means(torch.zeros(3, 5))["z"].shape  # codes of three observations
        torch.Size([3, 2])
    """

    latents: tuple[str, ...]
    dag: nx.DiGraph | None = None
    columns: tuple[str, ...] = ()
    needs_labels: bool = False
    has_bound: bool = True
    intervened: tuple[str, ...] = ()
    conditions_in_latents: tuple[str, ...] = ()
    already_set: frozenset[str] = frozenset()
    called_modules: tuple[nn.Module, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.num_data: int | None = None
        self.fixed_size: int | None = None
        self.coordinate_names: Mapping[str, Sequence[str]] = {}
        self._pyro_name = f"{type(self).__name__}_{next(_numbers)}"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if isinstance(vars(cls).get("latents"), tuple):
            check_names(cls.latents, f"{cls.__name__}: latent")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # A copy must not share parameters with its original.
        self._pyro_name = f"{type(self).__name__}_{next(_numbers)}"

    @abc.abstractmethod
    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """Draw the latents from the prior, and observations from the likelihood: p(x, z).

        Args:
            x: Observations to score, of shape ``(batch, *event)``. ``None`` draws them.
            batch_size: Number of observations to draw, without ``x``.

        Returns:
            The observations, of shape ``(batch, *event)``.
        """

    @abc.abstractmethod
    def guide(self, x: Tensor) -> None:
        """Draw the latents from the approximate posterior q(z | x).

        Args:
            x: Observations of shape ``(batch, *event)``.
        """

    def objective(self) -> ELBO | None:
        """The published objective with its weights; ``None`` for the evidence lower bound."""
        return None

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data set to train on, made from ``data``.

        By default ``data`` itself. Stories that learn from pairs, groups or labels make them here.

        Args:
            data: A data set of single observations.

        Raises:
            ValueError: The data lack factors or labels that the story needs.
        """
        return data

    def held_out_data(self, data: FactorDataset) -> FactorDataset:
        """The held-out data to compute the bound of, made from ``data``.

        By default ``data`` itself. Stories that need conditions for every datum add them here.

        Args:
            data: A data set of single observations.
        """
        return data

    @property
    def title(self) -> str:
        """Name of the story in messages."""
        return type(self).__name__

    def model_arguments(self) -> Arguments:
        """The conditions that the model takes beside the observations."""
        return arguments_of(self.model, f"the model of {self.title}")

    def guide_arguments(self) -> Arguments:
        """The conditions that the guide takes beside the observations."""
        return arguments_of(self.guide, f"the guide of {self.title}")

    def read_first_batch(self, x: Tensor, conditions: Mapping[str, Any]) -> None:
        """Read from a batch what cannot be known before; a story that knows all of it does nothing.

        Args:
            x: Observations of shape ``(batch, *event)``.
            conditions: Conditions of the observations.
        """

    def told(self, size: int) -> dict[str, Any]:
        """Conditions of ``size`` units that the story holds itself; none by default."""
        return {}

    def example_conditions(self) -> dict[str, Any]:
        """Conditions of one datum, from which the sites of a draw can be read; empty by default."""
        return {}

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """The representation of x: by default the posterior q(latent | x) of each latent, by name.

        A story whose representation is computed from its latents overrides this method and
        :meth:`latent_means`.

        Args:
            x: Observations of shape ``(batch, *event)``.
            **conditions: Conditions of each observation, under the names that model and guide
                give them, such as ``labels``, of shape ``(batch, …)``.

        Returns:
            Distributions of batch shape ``(batch,)``.

        Raises:
            TypeError: Neither the model nor the guide takes a condition.
            ValueError: The guide needs a condition that is not given.
        """
        return {name: site.fn for name, site in self.posterior_sites(x, **conditions).items()}

    def posterior_sites(self, x: Tensor, **conditions: Any) -> dict[str, Site]:
        """The sites of the guide that draw the latents, with the plates around each.

        Where the distribution of a latent depends on other draws of the guide, these are at their
        means.

        Raises:
            TypeError: Neither the model nor the guide takes a condition.
            ValueError: The guide needs a condition that is not given, or does not draw a latent.
        """
        check_conditions(self, conditions)
        given = conditions_of_guide(self, conditions)
        with poutine.trace() as guide, AtMeans():
            self.guide(x, **given)
        sites = sampled_sites(guide.trace)
        for name in self.latents:
            if name not in sites:
                raise ValueError(
                    f"the guide of {self.title} does not draw the latent {name!r}; it draws"
                    f" {list(sites)}"
                )
        return {name: sites[name] for name in self.latents}

    @property
    def has_own_representation(self) -> bool:
        """Whether the story overrides :meth:`representation`, so that it is not the guide's."""
        return type(self).representation is not GenerativeStory.representation

    def latent_means(self, x: Tensor, **conditions: Any) -> dict[str, Tensor]:
        """One value of every latent for each x: by default the posterior mean.

        For a latent of integer classes it is the most probable class.

        Args:
            x: Observations of shape ``(batch, *event)``.
            **conditions: Conditions of each observation; see :meth:`representation`.

        Returns:
            Values of shape ``(batch, *event)``, by name.
        """
        posteriors = self.representation(x, **accepted(self.representation, conditions))
        return {name: latent_point(q) for name, q in posteriors.items()}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError if an intervention cannot set the site ``name`` to ``value``."""

    def data_plate(self, x: Tensor | None, batch_size: int = 1) -> pyro.plate:
        """The plate ``"data"``, in which a batch stands for :attr:`num_data` independent data.

        This is equivalent to ``pyro.module(name, self)`` followed by ``pyro.plate("data", num_data,
        subsample_size=len(x))``, without drawing a subsample.

        Args:
            x: Observations of the batch, or ``None`` for draws.
            batch_size: Number of draws, without ``x``.
        """
        self.register_parameters()
        size = batch_size if x is None else len(x)
        full_size = size if x is None or self.num_data is None else max(size, self.num_data)
        # No subsample is drawn, so the device does not matter; without one, Pyro would create a
        # tensor to find it out.
        return pyro.plate("data", full_size, subsample=range(size), device="cpu")

    def pyro_names(self) -> dict[int, str]:
        """The name of each parameter in Pyro, by the ``id`` of the parameter."""
        return {id(parameter): name for name, parameter in self.named_parameters()}

    def register_parameters(self) -> None:
        """Register the parameters with Pyro, under a name that no other story has."""
        if not _registering.get():
            return
        with warnings.catch_warnings():
            # Frozen parameters, such as pretrained features, are intended.
            warnings.filterwarnings(
                "ignore", ".* was not registered in the param store because requires_grad"
            )
            pyro.module(self._pyro_name, self)


class AtMeans(Messenger):
    """An effect handler under which the draws of a program are the means of their distributions.

    Classes are the most probable ones, see :func:`~ppl_disentangle.observed.latent_point`.

    Args:
        means: Values of some sites that replace their means.
    """

    def __init__(self, means: Mapping[str, Tensor] = MappingProxyType({})) -> None:
        super().__init__()
        self.means = means

    def _pyro_post_sample(self, msg: Message) -> None:
        if msg["is_observed"] or is_subsample(msg):
            return
        name = str(msg["name"])
        if name in self.means:
            msg["value"] = self.means[name]
        else:
            msg["value"] = latent_point(msg["fn"]).expand(msg["value"].shape)


@contextmanager
def evaluating(
    story: GenerativeStory, precision: str = "float32", *, seed: int = 0
) -> Iterator[torch.device]:
    """A context to evaluate a story in, without gradients and without side effects.

    Nothing enters Pyro's parameter store, and the caller's random state does not change.

    Args:
        story: The story; it is in evaluation mode inside.
        precision: ``"bfloat16"`` runs the networks in bfloat16.
        seed: Seed of the random draws inside.

    Yields:
        The device of the story.
    """
    parameter = next(story.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    with (
        not_training(story),
        default_dtype(dtype_of(story)),
        torch.no_grad(),
        fork_randomness(),
        unchanged_store(),
        parameters_stay_local(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        torch.manual_seed(seed)
        yield device


def dtype_of(story: nn.Module) -> torch.dtype | None:
    """The widest type of the parameters of a story; ``None`` for a story without parameters."""
    dtypes = {parameter.dtype for parameter in story.parameters()}
    return next((dtype for dtype in (torch.float64, torch.float32) if dtype in dtypes), None)


@contextmanager
def default_dtype(dtype: torch.dtype | None) -> Iterator[None]:
    """A context in which new tensors of floats have a type; ``None`` leaves it as it is."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def not_training(module: nn.Module) -> Iterator[None]:
    """A context in which every part of a module is in evaluation mode; each has its mode back then.

    Batch statistics cannot be estimated from a single unit, for example.
    """
    modes: dict[nn.Module, bool] = {}
    token = _evaluations.set((*_evaluations.get(), modes))
    try:
        _switch_off(module, modes)
        yield
    finally:
        _evaluations.reset(token)
        for part, mode in modes.items():
            part.training = mode


def join_evaluation(module: nn.Module) -> None:
    """Put a module into evaluation mode as if it had been part of all that is being evaluated."""
    for modes in _evaluations.get():
        _switch_off(module, modes)


def _switch_off(module: nn.Module, modes: dict[nn.Module, bool]) -> None:
    """Put all parts of a module into evaluation mode, and note the mode that each had."""
    outside = module.called_modules if isinstance(module, GenerativeStory) else ()
    for part in itertools.chain.from_iterable(owner.modules() for owner in (module, *outside)):
        modes.setdefault(part, part.training)
        part.training = False
