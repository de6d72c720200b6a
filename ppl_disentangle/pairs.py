"""Stories from any pair of a Pyro model and guide."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from pyro.infer.autoguide import AutoGuide, AutoLaplaceApproximation
from pyro.nn import PyroModule
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints, transform_to
from torch.distributions.constraints import Constraint

from ppl_disentangle.conditions import (
    Arguments,
    arguments_of,
    check_conditions,
    conditions_of_guide,
    conditions_of_model,
    rows_of,
    takes_batch_size,
    taking_names,
    without_handlers,
)
from ppl_disentangle.names import check_names
from ppl_disentangle.observed import Layout, data_sites, layout_of, without_factors
from ppl_disentangle.parameter_store import (
    is_set_by_module,
    isolated_store,
    module_being_registered,
    overwrite,
    store_outside,
    unchanged_store,
)
from ppl_disentangle.posteriors import draws_of, from_draws
from ppl_disentangle.sites import (
    Site,
    auxiliary_sites,
    is_delta,
    is_observed_or_computed,
    observed_sites,
    paired_traces,
    plate_sizes,
    sampled_sites,
    site_values,
)
from ppl_disentangle.story import (
    GenerativeStory,
    fork_randomness,
    join_evaluation,
    not_training,
)

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
    and checkpoints include them. Modules that they register with ``pyro.module``, AutoGuides and
    other PyroModules become parts of the story.

    An AutoGuide of a model whose latents differ from datum to datum has parameters for each datum.
    It is fitted to all data at once, in their order, and has the posterior of these data only.

    The first argument is the observations. All other arguments are conditions, such as labels or
    masks: data sets carry them, or they are passed by name. Each of the two functions gets those
    that it has a parameter for.

    Args:
        model: ``model(x)``, which observes the data with ``obs=x``. A model with a parameter
            ``batch_size`` generates data as ``model(None, batch_size=n)``; for another model,
            ``poutine.uncondition`` generates them. The data are the returned value, or, if it
            returns nothing, the value of its observed site.
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
        story.read_first_batch(example, conditions)
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
    """The modules among the functions, and those whose methods they are, each once."""
    bare = list(map(_unwrapped, functions))
    owners = [getattr(function, "__self__", function) for function in bare]
    return list({id(owner): owner for owner in owners if isinstance(owner, nn.Module)}.values())


def _unwrapped(function: Any) -> Any:
    """The function itself, without Pyro's handlers and arguments that are given beforehand."""
    function = without_handlers(function)
    return _unwrapped(function.func) if isinstance(function, functools.partial) else function


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


class _Programs(NamedTuple):
    """Model and guide, which torch would make submodules if they were attributes themselves."""

    model: Callable[..., Any]
    guide: Callable[..., Any]


class Pair(GenerativeStory):
    """A story from two callables, made by :func:`as_story`.

    Attributes:
        owners: The modules among the callables, and those whose methods they are.
        registered: Modules that the callables register with ``pyro.module``, and PyroModules that
            they call. In the keys each ``.`` of a name is ``__``, as torch requires.
        lifted: Parameters that the callables create with ``pyro.param``, in unconstrained space,
            with keys of the same form.
        constraints: The constraint of each lifted parameter.
        names: The name of each lifted parameter in Pyro.
        example_size: Number of data in the first batch; ``None`` before it was read.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        latents: Sequence[str] | None,
        objective: Callable[[], ELBO] | None,
    ) -> None:
        super().__init__()
        self._programs = _Programs(taking_names(model), _latents_only(taking_names(guide)))
        self._objective = objective
        self.owners = nn.ModuleList(owning_modules(model, guide))
        self.registered = nn.ModuleDict()
        self.lifted = nn.ParameterDict()
        self.constraints: dict[str, Constraint] = {}
        self.names: dict[str, str] = {}
        self.example_size: int | None = None
        self._latents = None if latents is None else tuple(latents)
        self._model_arguments = arguments_of(model, f"the model of {self.title}")
        self._guide_arguments = arguments_of(guide, f"the guide of {self.title}")
        self._trained_on: Tensor | None = None
        self._example: Tensor | None = None
        self._example_conditions: dict[str, Any] = {}
        self._data_sites: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name of the class whose methods the callables are, or of the callables."""
        owners = [type(owner).__name__ for owner in self.owners]
        names = ", ".join(map(_name_of, self._programs))
        return owners[0] if owners else f"the pair ({names})"

    def model_arguments(self) -> Arguments:
        """The conditions that the model takes beside the observations."""
        return self._model_arguments

    def guide_arguments(self) -> Arguments:
        """The conditions that the guide takes beside the observations."""
        return self._guide_arguments

    def example_conditions(self) -> dict[str, Any]:
        """The conditions of the first datum of the first batch, of which no draw is made."""
        return self._example_conditions

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the latents, in the order in which the guide draws them."""
        if self._latents is None:
            raise RuntimeError(
                "the latents of this pair are read from its first batch:"
                " pass example=x or latents= to as_story"
            )
        return self._latents

    def read_first_batch(self, x: Tensor, conditions: Mapping[str, Any]) -> None:
        """Read latents, parameters, modules and the shape of an observation from the first batch.

        Neither the caller's random state nor Pyro's parameter store nor running statistics change.
        """
        if self._example is not None:
            return
        check_conditions(self, conditions)
        programs = self._given(conditions)
        with self._apart(), isolated_store(), _FirstRun() as first_run:
            guided = sampled_sites(poutine.trace(programs.guide).get_trace(x))
            model_trace = poutine.trace(programs.model).get_trace(x)
            self._data_sites = data_sites(
                self.title,
                x,
                without_factors(observed_sites(model_trace)),
                lambda other: self._observed_at(other, programs.model),
            )
            self._register(first_run)
            self._lift()
        self._example = torch.zeros_like(x[:1])
        self.example_size = len(x)
        self._example_conditions = rows_of(conditions_of_model(self, conditions), slice(1))
        # What the guide draws for itself, such as all latents as one vector, is no latent.
        drawn = sampled_sites(model_trace)
        self._latents = self._latents or tuple(name for name in guided if name in drawn)
        check_names(self._latents, "latent")
        if self._may_have_fixed_size(len(x)):
            self.fixed_size = None if self._takes_more(x, conditions) else len(x)

    def _observed_at(self, x: Tensor, model: Callable[..., Any]) -> dict[str, Site]:
        """The observed sites of the model at x."""
        return without_factors(observed_sites(poutine.trace(model).get_trace(x)))

    def _given(self, conditions: Mapping[str, Any]) -> _Programs:
        """Model and guide with their conditions, as functions of the observations."""
        return _Programs(
            functools.partial(self._programs.model, **conditions_of_model(self, conditions)),
            functools.partial(self._programs.guide, **conditions_of_guide(self, conditions)),
        )

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """A context in which a run of the pair changes nothing and is seen by no effect handler."""
        with fork_randomness(), torch.no_grad(), poutine.block(), not_training(self):
            yield

    def _register(self, first_run: _FirstRun) -> None:
        """Make the modules of the first run parts of the story, unless they are already."""
        for name, module in first_run.modules.items():
            if not any(module is part for part in self.modules()):
                self.registered[_key(name, nn.ModuleDict())] = module
        parts = set(self.modules())
        self.called_modules = tuple(part for part in first_run.called if part not in parts)

    def _lift(self) -> None:
        """Make the parameters in Pyro's store, which the first run stated, parameters of the story."""
        known = set(map(id, self.parameters()))
        state = pyro.get_param_store().get_state()
        for name, value in state["params"].items():
            if id(value) in known:  # of a PyroModule
                continue
            key = _key(name, nn.ParameterDict())
            of_module = isinstance(value, nn.Parameter)
            self.lifted[key] = value if of_module else nn.Parameter(value.detach().clone())
            self.constraints[key] = state["constraints"][name]
            self.names[key] = name

    def _stated_parameters(self) -> list[Tensor]:
        """The parameters that are stated one by one, without the parameters of networks."""
        parts = (part for part in self.modules() if isinstance(part, PyroModule))
        of_parts = (part.parameters(recurse=False) for part in parts)
        return [*self.lifted.values(), *itertools.chain.from_iterable(of_parts)]

    def _may_have_fixed_size(self, size: int) -> bool:
        """Whether a parameter may have one value for each of ``size`` data."""
        lengths = itertools.chain.from_iterable(p.shape for p in self._stated_parameters())
        return any(length % size == 0 for length in lengths)

    def _takes_more(self, x: Tensor, conditions: Mapping[str, Any]) -> bool:
        """Whether model and guide take one more datum than the batch that they were made for."""
        more = {name: _with_one_more(value, len(x)) for name, value in conditions.items()}
        programs = self._given(more)
        with self._apart(), self._own_parameters():
            try:
                traces = paired_traces(*programs, (_with_one_more(x, len(x)),), {}, matched=False)
                sizes = list(map(plate_sizes, traces))
            except Exception:  # the programs' own errors are of many types
                return False
        shared = sizes[0].keys() & sizes[1].keys()
        return all(sizes[0][name] == sizes[1][name] for name in shared)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Copy parameters and buffers, as for any module.

        Raises:
            RuntimeError: The pair has not run, so that it has no parameters yet.
        """
        if self._example is None and state_dict.keys() - self.state_dict().keys():
            raise RuntimeError(
                "the parameters of this pair are read from its first batch: pass example=x to"
                " as_story before you load them"
            )
        return super().load_state_dict(state_dict, *args, **options)

    def pyro_names(self) -> dict[int, str]:
        """The name of each parameter in Pyro, by the ``id`` of the parameter."""
        names = {id(value): self.names[key] for key, value in self.lifted.items()}
        for path, parameter in self.named_parameters():
            _, _, name = path.partition(".")  # without the name of the container
            names.setdefault(id(parameter), self._name_in_owner(name, path))
        return names

    def _name_in_owner(self, name: str, path: str) -> str:
        """The name of a parameter in Pyro, given its path within ``owners`` or ``registered``."""
        name = name.removesuffix("_unconstrained")
        if not path.startswith("owners."):
            return name
        number, _, rest = name.partition(".")
        owner = self.owners[int(number)]
        return f"{type(owner).__name__}.{rest}" if isinstance(owner, AutoGuide) else rest

    def publish(self) -> None:
        """Write the lifted parameters to Pyro's parameter store, for plain Pyro code to read."""
        overwrite(
            {
                self.names[key]: (value.detach().clone().requires_grad_(), self.constraints[key])
                for key, value in self.lifted.items()
            }
        )

    @contextmanager
    def _own_parameters(self) -> Iterator[None]:
        """A context in which ``pyro.param`` gives the parameters of the story, and no others."""
        by_name = {
            self.names[key]: (value, self.constraints[key]) for key, value in self.lifted.items()
        }
        # Statements within handlers that block others, as AutoGuides have them, read the store.
        with isolated_store(by_name), _LiftedParameters(by_name):
            yield

    def model(self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Any) -> Tensor:
        """The model, with the parameters of the story."""
        if x is not None:
            self.read_first_batch(x, conditions)
        given = conditions_of_model(self, conditions)
        self.register_parameters()
        with self._own_parameters():
            if x is not None:
                return self._programs.model(x, **given)
            if takes_batch_size(self._programs.model):
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
            returned = self._programs.model(x, **arguments)
        values = site_values(trace.trace)
        if not self._data_sites or any(returned is values[name] for name in self._data_sites):
            return returned
        if x is None:
            return values[self._data_sites[0]]
        if len(self._data_sites) == 1:
            return Layout(self._data_sites[0], {}).assemble(x, values)
        return self._layout_at(x, arguments).assemble(x, values)

    def _layout_at(self, x: Tensor, conditions: Mapping[str, Any]) -> Layout:
        """Where the observed sites of the model hold x."""
        model = functools.partial(self._programs.model, **conditions)
        with fork_randomness(), poutine.block():
            sites = self._observed_at(x, model)
            return layout_of(self.title, x, sites, lambda other: self._observed_at(other, model))

    def guide(self, x: Tensor, **conditions: Any) -> None:
        """The guide, with the parameters of the story.

        Raises:
            ValueError: The guide has a value for each of other data than ``x``.
        """
        self.read_first_batch(x, conditions)
        self._check_size(x)
        self._check_data(x)
        given = conditions_of_guide(self, conditions)
        self.register_parameters()
        with self._own_parameters():
            self._programs.guide(x, **given)

    def posterior_sites(self, x: Tensor, **conditions: Any) -> dict[str, Site]:
        """The sites of the guide that draw the latents, with the plates around each.

        An AutoGuide computes its latents from auxiliary draws. The distribution of such a latent
        is then the distribution of many of its draws.
        """
        posteriors = super().posterior_sites(x, **conditions)
        given = conditions_of_guide(self, conditions)
        guide = functools.partial(self._posterior_guide(x, given), x, **given)
        with unchanged_store():
            trace = poutine.trace(guide).get_trace()
            sites = auxiliary_sites(trace) | sampled_sites(trace)
            own = {name: site.fn for name, site in sites.items() if name not in self.latents}
            computed = {name: site for name, site in posteriors.items() if is_delta(site.fn)}
            if own and computed:
                posteriors |= _computed_from(guide, own, computed)
        return posteriors

    def _posterior_guide(self, x: Tensor, conditions: Mapping[str, Any]) -> Callable[..., Any]:
        """The guide; for a Laplace approximation, which is trained as a point, its normal."""
        guide = _unwrapped(self._programs.guide)
        if not isinstance(guide, AutoLaplaceApproximation):
            return self.guide
        with torch.enable_grad(), self._own_parameters():
            return guide.laplace_approximation(x, **conditions)

    def _check_data(self, x: Tensor) -> None:
        """Refuse other data than those on which a guide with one value for each was trained."""
        if self.fixed_size is None:
            return
        if torch.is_grad_enabled():
            if type(x) is Tensor:  # no fake tensor of a step that is captured
                self._trained_on = x.detach()
        elif self._trained_on is not None:
            trained_on = self._trained_on.nan_to_num(0.0)
            if not torch.equal(x.to(trained_on).nan_to_num(0.0), trained_on):
                raise ValueError(
                    f"the guide of {self.title} has one value for each of the data on which it was"
                    " trained, and got other data: pass the same data in the same order, or write a"
                    " guide that computes the posterior from the data"
                )

    def _check_size(self, x: Tensor) -> None:
        if self.fixed_size not in (None, len(x)):
            raise ValueError(
                f"the guide has one value for each of the {self.fixed_size} data that it was made"
                f" for, and got {len(x)}: pass these {self.fixed_size} in one batch, or write a"
                " guide that computes the posterior from the data"
            )

    def objective(self) -> ELBO | None:
        """The objective that was passed to :func:`as_story`."""
        return None if self._objective is None else self._objective()


def _key(name: str, container: nn.Module) -> str:
    """A name as a key of a container of modules or parameters, which takes no dots."""
    key = name.replace(".", "__")
    return f"{key}_" if hasattr(container, key) else key


def _with_one_more(value: Any, size: int) -> Any:
    """A tensor of ``size`` rows with its first row once more at its end; anything else as it is."""
    is_by_datum = isinstance(value, Tensor) and value.dim() > 0 and len(value) == size
    return torch.cat([value, value[:1]]) if is_by_datum else value


def _computed_from(
    guide: Callable[[], None], own: Mapping[str, TorchDistribution], computed: Mapping[str, Site]
) -> dict[str, Site]:
    """The sites of latents that a guide computes, with the distributions of many of their draws.

    Args:
        guide: The guide.
        own: Distributions of the guide's own draws, by name.
        computed: The sites of the latents that it computes from these draws, by name.
    """
    draws = {name: draws_of(fn) for name, fn in own.items()}
    values: dict[str, list[Tensor]] = {name: [] for name in computed}
    for own_values in zip(*draws.values(), strict=True):
        conditioned = poutine.condition(guide, data=dict(zip(draws, own_values, strict=True)))
        sites = sampled_sites(poutine.trace(conditioned).get_trace())
        for name, drawn in values.items():
            drawn.append(sites[name].value)
    return {
        name: dataclasses.replace(
            site, fn=from_draws(torch.stack(values[name]), len(site.fn.batch_shape))
        )
        for name, site in computed.items()
    }


def _latents_only(guide: Callable[..., Any]) -> Callable[..., Any]:
    """A guide without the observations of the model that guide messengers run."""
    if not isinstance(_unwrapped(guide), GuideMessenger):
        return guide
    return poutine.block(guide, hide_fn=is_observed_or_computed)


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


class _FirstRun(Messenger):
    """An effect handler for the first run of a pair, which collects its modules.

    The modules are in evaluation mode from when they are first seen. Initial values of parameters
    are the values that the caller's store has for them, if any.

    Attributes:
        modules: Modules that ``pyro.module`` registers, and PyroModules that are called, by name.
        called: All modules that are called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.modules: dict[str, nn.Module] = {}
        self.called: list[nn.Module] = []
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        self._hook = nn.modules.module.register_module_forward_pre_hook(self._see_call)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._hook.remove()
        super().__exit__(*error)

    def _see_call(self, module: nn.Module, args: Any) -> None:
        """Note a module that is called; others than the story's are unknown until now."""
        if threading.get_ident() != self._thread:
            return
        join_evaluation(module)
        if not any(module is other for other in self.called):
            self.called.append(module)
        nested = any(module is part for other in self.modules.values() for part in other.modules())
        if isinstance(module, PyroModule) and not nested:
            self.modules[f"{type(module).__name__}_{len(self.modules)}"] = module

    def _pyro_param(self, msg: Message) -> None:
        registered = module_being_registered()
        initial = msg["args"][1] if len(msg["args"]) > 1 else None
        if registered is not None:
            self._see_registration(*registered)
            msg["value"] = initial
            msg["done"] = True
        elif initial is not None and not is_set_by_module():
            self._recall(str(msg["name"]), msg["kwargs"].get("constraint") or constraints.real)

    def _see_registration(self, name: str, module: nn.Module) -> None:
        if not any(module is other for other in self.modules.values()):
            join_evaluation(module)
            self.modules[name] = module

    def _recall(self, name: str, constraint: Constraint) -> None:
        """Start from the value that the caller's store has under a name, if any."""
        outside = store_outside()
        if outside is not None and name in outside and name not in pyro.get_param_store():
            pyro.get_param_store().setdefault(name, outside[name].detach().clone(), constraint)


class _LiftedParameters(Messenger):
    """An effect handler that answers ``pyro.param`` with the parameters of a pair.

    Args:
        parameters: Unconstrained values and their constraints, by name.
    """

    def __init__(self, parameters: Mapping[str, tuple[Tensor, Constraint]]) -> None:
        super().__init__()
        self._parameters = parameters

    def _pyro_param(self, msg: Message) -> None:
        name = str(msg["name"])
        initial = msg["args"][1] if len(msg["args"]) > 1 else None
        msg["stop"] = True
        if name in self._parameters:
            value, constraint = self._parameters[name]
            msg["value"] = transform_to(constraint)(value)
            msg["done"] = True
        elif isinstance(initial, nn.Parameter):  # of a module, which has it
            msg["value"] = initial
            msg["done"] = True
