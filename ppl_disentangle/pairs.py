"""Stories from any pair of a Pyro model and guide."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from ppl_disentangle.conditions import (
    Arguments,
    arguments_of,
    check_conditions,
    conditions_of_guide,
    conditions_of_model,
)
from ppl_disentangle.observed import Layout, data_sites, layout_of, without_factors
from ppl_disentangle.sites import Site, observed_sites, sampled_sites, site_values
from ppl_disentangle.story import GenerativeStory, fork_randomness

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["Pair", "as_story", "owning_modules", "story_of"]


def as_story(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *,
    latents: Sequence[str] | None = None,
    objective: Callable[[], ELBO] | None = None,
    example: Tensor | None = None,
    **conditions: Any,
) -> GenerativeStory:
    """Make a story from any Pyro model and guide, both called as ``f(x)`` or ``f(x, y, …)``.

    They may be functions, bound methods or modules. Parameters that they create with ``pyro.param``
    become parameters of the story, in unconstrained space, so that ``state_dict``, torch optimisers
    and checkpoints include them. Modules that they register with ``pyro.module`` stay as they are.

    The first argument is the observations. All other arguments are conditions, such as labels or
    masks: data sets carry them, or they are passed by name. Each of the two functions gets those
    that it has a parameter for.

    Args:
        model: ``model(x)``, which observes the data with ``obs=x``. A model with a parameter
            ``batch_size`` generates data as ``model(None, batch_size=n)``; for another model,
            the sites that observe x are drawn instead, and put together in the shape of x.
        guide: ``guide(x)``.
        latents: Names of the latents. By default the sites that the guide samples.
        objective: A function that returns the story's objective. By default training maximises the
            evidence lower bound.
        example: A batch of observations, from which latents and parameters are read at once. By
            default they are read from the first batch.
        **conditions: Conditions of the example, such as ``labels``.

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
        story.read(example, conditions)
    return story


def story_of(pair: Any) -> GenerativeStory:
    """``pair`` itself if it is a story, else :func:`as_story` of its ``model`` and ``guide``.

    Raises:
        TypeError: ``pair`` has no callable ``model`` and ``guide``.
    """
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


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


class Pair(GenerativeStory):
    """A story from two callables, made by :func:`as_story`.

    Attributes:
        owners: Modules whose methods the callables are.
        lifted: Parameters that the callables create with ``pyro.param``, in unconstrained space. In
            the keys each ``.`` of a name is ``__``, as torch requires.
        adopted: Parameters of modules that the callables register with ``pyro.module``.
        constraints: The constraint of each lifted parameter.
        names: The name of each lifted parameter in Pyro.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        latents: Sequence[str] | None,
        objective: Callable[[], ELBO] | None,
    ) -> None:
        super().__init__()
        self._model = model
        self._guide = guide
        self._objective = objective
        self.owners = nn.ModuleList(owning_modules(model, guide))
        self.lifted = nn.ParameterDict()
        self.adopted = nn.ParameterDict()
        self.constraints: dict[str, constraints.Constraint] = {}
        self.names: dict[str, str] = {}
        self._latents = None if latents is None else tuple(latents)
        self._model_arguments = arguments_of(model, f"the model of {self.title}")
        self._guide_arguments = arguments_of(guide, f"the guide of {self.title}")
        self._example: Tensor | None = None
        self._data_sites: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name of the class whose methods the callables are, or of the callables."""
        owners = [type(owner).__name__ for owner in self.owners]
        return owners[0] if owners else f"the pair {_name_of(self._model)}, {_name_of(self._guide)}"

    def model_arguments(self) -> Arguments:
        """The conditions that the model takes beside the observations."""
        return self._model_arguments

    def guide_arguments(self) -> Arguments:
        """The conditions that the guide takes beside the observations."""
        return self._guide_arguments

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the latents, in the order in which the guide draws them."""
        if self._latents is None:
            raise RuntimeError(
                "the latents of this pair are read from its first batch:"
                " pass example=x or latents= to as_story"
            )
        return self._latents

    def read(self, x: Tensor, conditions: Mapping[str, Any]) -> None:
        """Read latents, parameters and the shape of an observation from the first batch.

        The caller's random state does not change.
        """
        if self._example is not None:
            return
        check_conditions(self, conditions)
        of_guide = conditions_of_guide(self, conditions)
        of_model = conditions_of_model(self, conditions)
        with fork_randomness(), torch.no_grad(), poutine.block(), _LiftedParameters(self):
            guide_trace = poutine.trace(self._guide).get_trace(x, **of_guide)
            observed = self._observed_at(x, of_model)
            self._data_sites = data_sites(
                self.title, x, observed, lambda other: self._observed_at(other, of_model)
            )
        self._example = torch.zeros_like(x[:1])
        self._latents = self._latents or tuple(sampled_sites(guide_trace))

    def _observed_at(self, x: Tensor, conditions: Mapping[str, Any]) -> dict[str, Site]:
        """The observed sites of the model at x."""
        return without_factors(
            observed_sites(poutine.trace(self._model).get_trace(x, **conditions))
        )

    def publish(self) -> None:
        """Write the lifted parameters to Pyro's parameter store, for plain Pyro code to read."""
        for key, value in self.lifted.items():
            constrain = transform_to(self.constraints[key])
            pyro.get_param_store()[self.names[key]] = constrain(value.detach())

    def model(self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Any) -> Tensor:
        """The model, with the parameters of the story."""
        if x is not None:
            self.read(x, conditions)
        given = conditions_of_model(self, conditions)
        self.register_parameters()
        with _LiftedParameters(self):
            if x is not None:
                return self._model(x, **given)
            if "batch_size" in inspect.signature(self._model).parameters:
                return self._drawn(None, {"batch_size": batch_size, **given})
            if self._example is None:
                raise RuntimeError(
                    "draws need the shape of an observation: pass example=x to as_story"
                )
            placeholder = self._example.expand(batch_size, *self._example.shape[1:])
            return self._drawn(placeholder, given)

    def _drawn(self, x: Tensor | None, arguments: Mapping[str, Any]) -> Any:
        """Observations drawn from the model, in the place and shape of data.

        Sites that hold conditions, such as labels, keep them.

        Args:
            x: A placeholder for observations; ``None`` for a model that draws without.
            arguments: Further arguments of the model.
        """
        with poutine.trace() as trace, _Drawn(self._data_sites):
            returned = self._model(x, **arguments)
        values = site_values(trace.trace)
        if not self._data_sites or any(returned is values[name] for name in self._data_sites):
            return returned
        if x is None or len(self._data_sites) == 1:
            return values[self._data_sites[0]]
        return self._layout_at(x, arguments).assemble(x, values)

    def _layout_at(self, x: Tensor, conditions: Mapping[str, Any]) -> Layout:
        """Where the observed sites of the model hold x."""
        with fork_randomness(), poutine.block():
            sites = self._observed_at(x, conditions)
            return layout_of(
                self.title, x, sites, lambda other: self._observed_at(other, conditions)
            )

    def guide(self, x: Tensor, **conditions: Any) -> None:
        """The guide, with the parameters of the story."""
        self.read(x, conditions)
        given = conditions_of_guide(self, conditions)
        self.register_parameters()
        with _LiftedParameters(self):
            self._guide(x, **given)

    def objective(self) -> ELBO | None:
        """The objective that was passed to :func:`as_story`."""
        return None if self._objective is None else self._objective()


class _Drawn(Messenger):
    """An effect handler that draws sites which the model observes."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.names and msg["is_observed"]:
            msg["is_observed"] = False
            msg["value"] = None
            msg["done"] = False


class _LiftedParameters(Messenger):
    """An effect handler that answers ``pyro.param`` with the parameters of a pair."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def _pyro_param(self, msg: Message) -> None:
        msg["value"] = self._value(msg)
        msg["done"] = True
        msg["stop"] = True

    def _value(self, msg: Message) -> Tensor:
        pair = self.pair
        key = str(msg["name"]).replace(".", "__")
        if key not in pair.lifted:
            value = self._initial_value(msg)
            pair.names[key] = str(msg["name"])
            if isinstance(value, nn.Parameter):  # of a module, registered by pyro.module
                self._adopt(key, value)
                return value
            pair.constraints[key] = msg["kwargs"].get("constraint") or constraints.real
            unconstrain = transform_to(pair.constraints[key]).inv
            pair.lifted[key] = nn.Parameter(unconstrain(value.detach()).clone())
        return transform_to(pair.constraints[key])(pair.lifted[key])

    def _initial_value(self, msg: Message) -> Tensor:
        """The value of a parameter in Pyro's store, else the one in the statement."""
        name = str(msg["name"])
        if len(msg["args"]) < 2:
            raise KeyError(
                f"pyro.param({name!r}) has no initial value, and none is known under that name"
            )
        store = pyro.get_param_store()
        value = store[name] if name in store else msg["args"][1]
        return value() if callable(value) and not isinstance(value, Tensor) else value

    def _adopt(self, key: str, value: nn.Parameter) -> None:
        """Make a module's parameter a parameter of the pair, unless it is one already."""
        pair = self.pair
        if key not in pair.adopted and not any(value is p for p in pair.parameters()):
            pair.adopted[key] = value
