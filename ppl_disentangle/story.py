"""The generative story: a Pyro model and its guide, held by one module."""

from __future__ import annotations

import abc
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import networkx as nx
import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.sites import observed_sites, sampled_sites, site_values

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["GenerativeStory", "as_story"]

_registering: ContextVar[bool] = ContextVar("registering", default=True)
_numbers = itertools.count()


@contextmanager
def parameters_stay_local() -> Iterator[None]:
    """Inside, stories keep their parameters to themselves: nothing enters Pyro's parameter store."""
    token = _registering.set(False)
    try:
        yield
    finally:
        _registering.reset(token)


def fork_randomness() -> AbstractContextManager[None]:
    """Inside, draws leave no trace on the caller's random state, on the CPU and on the current CUDA device."""
    return torch.random.fork_rng(
        devices=[torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    )


class GenerativeStory(nn.Module, abc.ABC):
    """A Pyro model/guide pair over observations ``x``.

    Implementing a story: set :attr:`latents` and define :meth:`model` and :meth:`guide`. Both open
    :meth:`data_plate` around their sample statements, so that the model reads as its mathematics::

        def model(self, x=None, *, batch_size=1):
            with self.data_plate(x, batch_size):
                z = pyro.sample("z", dist.Normal(self.zeros, 1).to_event(1))
                return pyro.sample("x", self.decoder(z), obs=x)

        def guide(self, x):
            with self.data_plate(x):
                pyro.sample("z", self.encoder(x))

    ``story.model`` and ``story.guide`` go to stock ``pyro.infer.SVI`` and to any ELBO unchanged. Two stories in one
    process never share parameters: each is registered with Pyro under a name of its own.

    Attributes:
        latents: names of the latent sites, in the order in which they make up the representation.
        coordinate_names: for a vector latent, names of its coordinates; by default ``z[0]``, ``z[1]``, ….
        dag: the causal graph of its nodes; ``None`` where it has none, or has yet to learn it.
        columns: what the columns of ``labels`` and ``interventions`` are, where it takes such.
        needs_labels: whether no datum goes without ``labels``, held-out ones included.
        has_bound: whether its pair bounds log p(x); a generator without a likelihood does not.
        intervened: Names of the sites that an intervention changes; empty for a story without interventions.
        already_set: Names of the sites that an intervention has set as a whole: they cannot be set again.
        num_data: number of data that a batch stands for; :func:`~ppl_disentangle.inference.fit` sets it. ``None``:
            a batch stands for itself.
    """

    latents: tuple[str, ...]
    dag: nx.DiGraph | None = None
    columns: tuple[str, ...] = ()
    needs_labels: bool = False
    has_bound: bool = True
    intervened: tuple[str, ...] = ()
    already_set: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.num_data: int | None = None
        self.coordinate_names: Mapping[str, Sequence[str]] = {}
        self._pyro_name = f"{type(self).__name__}_{next(_numbers)}"

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._pyro_name = (
            f"{type(self).__name__}_{next(_numbers)}"  # a copy trains apart from its original
        )

    @abc.abstractmethod
    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z). Returns x, of shape ``(batch, *event)``, drawn when ``x`` is ``None``."""

    @abc.abstractmethod
    def guide(self, x: Tensor) -> None:
        """q(z | x), ``x`` of shape ``(batch, *event)``."""

    def objective(self) -> ELBO | None:
        """The published objective with its published weights; ``None``: the evidence lower bound."""
        return None

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """What to learn from where there are ``data``: these here; pairs or labels of them for a story that needs such.

        Raises:
            ValueError: the data do not have what the story needs.
        """
        return data

    def held_out_data(self, data: FactorDataset) -> FactorDataset:
        """What to take the bound of where there are ``data``: these here, with what a story must be told of each."""
        return data

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """The representation of x: a distribution for each part of it, of batch shape ``(batch,)``; q(latent | x) here.

        A story whose representation follows from its latents overrides this and :meth:`latent_means`.
        """
        sites = sampled_sites(poutine.trace(self.guide).get_trace(x))
        return {name: sites[name].fn for name in self.latents}

    def latent_means(self, x: Tensor) -> dict[str, Tensor]:
        """Values of all latents that stand for x, of shape ``(batch, *event)``: their posterior means here."""
        return {name: q.mean for name, q in self.representation(x).items()}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError where the site ``name`` cannot have ``value``."""

    def data_plate(self, x: Tensor | None, batch_size: int = 1) -> pyro.plate:
        """The plate ``"data"`` over a batch that stands for :attr:`num_data` data.

        This is equivalent to ``pyro.module(name, self)`` followed by ``pyro.plate("data", num_data,
        subsample_size=len(x))``, without drawing a subsample.
        """
        self.register_parameters()
        size = batch_size if x is None else len(x)
        full_size = size if x is None or self.num_data is None else max(size, self.num_data)
        device = "cpu"  # of a subsample, which is not drawn: not to know makes a tensor to ask
        return pyro.plate("data", full_size, subsample=range(size), device=device)

    def register_parameters(self) -> None:
        """Tell Pyro of the parameters, as ``pyro.module`` does, under a name that no other story has."""
        if _registering.get():
            with (
                warnings.catch_warnings()
            ):  # that parts may be frozen, as pretrained features are, is meant
                warnings.filterwarnings(
                    "ignore", ".* was not registered in the param store because requires_grad"
                )
                pyro.module(self._pyro_name, self)


def as_story(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *,
    latents: Sequence[str] | None = None,
    objective: Callable[[], ELBO] | None = None,
    example: Tensor | None = None,
) -> GenerativeStory:
    """A story from any Pyro pair of callables: functions, bound methods or modules, both called as ``f(x)``.

    ``pyro.param`` statements become parameters of the story (in unconstrained space), so that ``state_dict``,
    torch optimisers and checkpoints see them; modules registered by ``pyro.module`` stay what they are.

    Args:
        model: ``model(x)``, with the data as ``obs=x``. If it takes ``batch_size``, it is asked for draws as
            ``model(None, batch_size=n)``; otherwise draws are made by ``poutine.uncondition``. What it returns are the
            data; if it returns nothing, they are what it observes.
        guide: ``guide(x)``.
        latents: names of the latent sites; by default those that the guide samples.
        objective: returns the story's objective; by default the evidence lower bound.
        example: a batch of observations from which latents and parameters are read at once; by default they are
            read from the first batch seen.

    Example:
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0., 1.))
        ...         pyro.sample("x", dist.Normal(z, pyro.param("scale", torch.tensor(1.))), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(pyro.param("slope", torch.tensor(.5)) * x, 1.))
        >>> story = as_story(model, guide, example=torch.zeros(3))
        >>> story.latents, sorted(name for name, _ in story.named_parameters())
        (('z',), ['lifted.scale', 'lifted.slope'])
    """
    story = Pair(model, guide, latents, objective)
    if example is not None:
        story.read(example)
    return story


def story_of(pair: Any) -> GenerativeStory:
    """``pair`` itself if it is a story, else what :func:`as_story` makes of its ``model`` and ``guide``."""
    if isinstance(pair, GenerativeStory):
        return pair
    if not (callable(getattr(pair, "model", None)) and callable(getattr(pair, "guide", None))):
        raise TypeError(
            f"expected a story, or an object with a model and a guide, got {type(pair).__name__}"
        )
    return as_story(pair.model, pair.guide, objective=getattr(pair, "objective", None))


def owning_modules(*functions: Callable[..., Any]) -> list[nn.Module]:
    """The modules whose bound methods are among the functions, each once."""
    owners = [getattr(function, "__self__", None) for function in functions]
    return list({id(owner): owner for owner in owners if isinstance(owner, nn.Module)}.values())


class Pair(GenerativeStory):
    """Two callables as a story."""

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        latents: Sequence[str] | None,
        objective: Callable[[], ELBO] | None,
    ) -> None:
        super().__init__()
        self._model, self._guide, self._objective = model, guide, objective
        self.owners = nn.ModuleList(owning_modules(model, guide))
        self.lifted = nn.ParameterDict()
        self.adopted = nn.ParameterDict()  # of modules that the callables register by pyro.module
        self.constraints: dict[str, constraints.Constraint] = {}
        self.names: dict[str, str] = {}
        self._latents = None if latents is None else tuple(latents)
        self._example: Tensor | None = None
        self._observed: str | None = None

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]
        if self._latents is None:
            raise RuntimeError(
                "the latents of this pair are read from its first batch: pass example=x or latents= to as_story"
            )
        return self._latents

    def read(self, x: Tensor) -> None:
        """Learn latents, parameters and the shape of an observation from one batch; draws no random numbers."""
        if self._example is not None:
            return
        self._example = torch.zeros_like(x[:1])
        with fork_randomness(), torch.no_grad(), poutine.block(), _Lifted(self):
            found = tuple(sampled_sites(poutine.trace(self._guide).get_trace(x)))
            observed = observed_sites(poutine.trace(self._model).get_trace(x))
        self._latents = self._latents or found
        self._observed = next(
            (n for n, site in observed.items() if site.value is x), next(iter(observed), None)
        )

    def publish(self) -> None:
        """Put the values of lifted ``pyro.param`` statements where plain Pyro code looks for them."""
        for key, value in self.lifted.items():
            pyro.get_param_store()[self.names[key]] = transform_to(self.constraints[key])(
                value.detach()
            )

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        if x is not None:
            self.read(x)
        self.register_parameters()
        with _Lifted(self):
            if x is not None:
                return self._model(x)
            if "batch_size" in inspect.signature(self._model).parameters:
                return self._model(None, batch_size=batch_size)
            if self._example is None:
                raise RuntimeError(
                    "draws need the shape of an observation: pass example=x to as_story"
                )
            with poutine.trace() as drawn:
                returned = poutine.uncondition(self._model)(
                    self._example.expand(batch_size, *self._example.shape[1:])
                )
            if isinstance(returned, Tensor) or self._observed is None:
                return returned
            return site_values(drawn.trace)[self._observed]

    def guide(self, x: Tensor) -> None:
        self.read(x)
        self.register_parameters()
        with _Lifted(self):
            self._guide(x)

    def objective(self) -> ELBO | None:
        return None if self._objective is None else self._objective()


class _Lifted(Messenger):
    """Answers ``pyro.param`` from a pair's own parameters."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def _pyro_param(self, msg: Message) -> None:
        name = str(msg["name"])
        key = name.replace(".", "__")
        if key not in self.pair.lifted:
            self.pair.names[key] = name
            if len(msg["args"]) < 2:
                raise KeyError(
                    f"pyro.param({name!r}) has no initial value, and none is known under that name"
                )
            store = pyro.get_param_store()
            value = store[name] if name in store else msg["args"][1]
            value = value() if callable(value) and not isinstance(value, Tensor) else value
            if isinstance(value, nn.Parameter):  # a module's, registered by pyro.module
                if key not in self.pair.adopted and not any(
                    value is p for p in self.pair.parameters()
                ):
                    self.pair.adopted[key] = value
                msg["value"], msg["done"], msg["stop"] = value, True, True
                return
            self.pair.constraints[key] = msg["kwargs"].get("constraint") or constraints.real
            unconstrained = transform_to(self.pair.constraints[key]).inv(value.detach()).clone()
            self.pair.lifted[key] = nn.Parameter(unconstrained)
        value = transform_to(self.pair.constraints[key])(self.pair.lifted[key])
        msg["value"], msg["done"], msg["stop"] = value, True, True


@contextmanager
def evaluating(
    story: GenerativeStory, precision: str = "float32", *, seed: int = 0
) -> Iterator[torch.device]:
    """No gradients, nothing left on Pyro's store or the random state, networks in ``precision``; yields the device."""
    tensor = next(story.parameters(), None)
    device = torch.device("cpu") if tensor is None else tensor.device
    training = story.training
    story.eval()
    try:
        with (
            torch.no_grad(),
            fork_randomness(),
            parameters_stay_local(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            torch.manual_seed(seed)
            yield device
    finally:
        story.train(training)


@contextmanager
def not_training(story: GenerativeStory) -> Iterator[None]:
    """Inside, every module evaluates: a batch of one unit is none to estimate statistics from."""
    modes = {module: module.training for module in story.modules()}
    story.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
