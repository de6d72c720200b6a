"""The catalogue of stories: their names, purposes and options, and how to build them for given data."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch

from ppl_disentangle import models
from ppl_disentangle.columns import COLUMN_LIKELIHOODS, Column
from ppl_disentangle.conditionals import (
    Bernoulli,
    Conditional,
    ContinuousBernoulli,
    GaussianLearnedScale,
    NegativeBinomial,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.python_source import function_of, is_function
from ppl_disentangle.inference import Linear
from ppl_disentangle.models.graph_learning import GraphStory
from ppl_disentangle.networks import NETWORKS, Networks
from ppl_disentangle.pairs import story_of
from ppl_disentangle.story import GenerativeStory

__all__ = [
    "LIKELIHOODS",
    "Summary",
    "build",
    "choose",
    "likelihood_for",
    "network_for",
    "stories",
    "story_options",
    "summary",
    "without_codes",
]

LIKELIHOODS: dict[str, type[Conditional]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": GaussianLearnedScale,
    "student_t": StudentT,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_poisson": ZeroInflatedPoisson,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
}
"""Likelihoods by name: of values in [0, 1], of any real numbers, and of counts."""


def stories() -> dict[str, type[GenerativeStory]]:
    """List the stories that :func:`build` can build from data, by name.

    A story is named after its module, or after its class if the module has several stories. Adding a
    class to ``ppl_disentangle.models`` is enough: there is no other registration.
    """
    return {
        name: story for name, story in _all_stories().items() if not issubclass(story, GraphStory)
    }


def without_codes() -> dict[str, type[GenerativeStory]]:
    """List the stories without latents, by name. They have no codes that a run could measure or draw."""
    return {name: story for name, story in _all_stories().items() if issubclass(story, GraphStory)}


def _all_stories() -> dict[str, type[GenerativeStory]]:
    """All classes of ``ppl_disentangle.models`` that can be built, by name."""
    classes = [getattr(models, name) for name in models.__all__]
    classes = [story for story in classes if not inspect.isabstract(story)]
    num_in_module = Counter(story.__module__ for story in classes)
    named = {}
    for story in classes:
        is_single = num_in_module[story.__module__] == 1
        module_name = story.__module__.rpartition(".")[2]
        named[module_name if is_single else _snake_case(story.__name__)] = story
    return dict(sorted(named.items()))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


class Summary(NamedTuple):
    """The purpose of a story and the data that it needs, from its docstring.

    Attributes:
        purpose: The first sentence of the docstring.
        data: The beginning of the line ``- Data:``, such as "images or vectors, without labels".
        supervision: The kind of supervision that follows from the data: one of :data:`SUPERVISION`.
    """

    purpose: str
    data: str
    supervision: str


SUPERVISION = {
    "without labels": r"^(?!video).*without labels",
    "from pairs, groups or clips of observations": r"^(?:pairs|groups|video clips)\b",
    "from a causal graph and labels of its nodes or other variables": r"\b(?:graph|nodes?|causes|causal)\b",
    "from labels, domains or other variables beside the observations": r"",
}
"""Kinds of supervision, each with a pattern of the data that a story needs; the first match counts."""


def summary(story: type[GenerativeStory]) -> Summary:
    """Summarise a story by its docstring. Texts that the docstring lacks are empty.

    Example:
        >>> from ppl_disentangle.models import BetaVAE
        >>> summary(BetaVAE).data
        'images or vectors, without labels'
    """
    text = _plain_text(inspect.cleandoc(story.__doc__ or ""))
    first_sentence = re.match(r".+?\.(?=\s|$)", text, re.DOTALL)
    # the need ends where its details begin: at a shape, a colon or a further sentence
    need = re.search(r"^- Data: (.+?)(?:, `|[`:;.])", text, re.MULTILINE | re.DOTALL)
    purpose = " ".join(first_sentence[0].split()) if first_sentence else ""
    data = " ".join(need[1].split()).rstrip(",") if need else ""
    kind = next(kind for kind, pattern in SUPERVISION.items() if re.search(pattern, data))
    return Summary(purpose, data, kind)


def _plain_text(docstring: str) -> str:
    """A docstring with the names in roles such as ``:class:`~package.Name``` instead of the roles."""
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", docstring)


def choose(kind: str, name: str, known: Sequence[str]) -> str:
    """Return ``name`` if it is among the known names.

    Raises:
        ValueError: The name is unknown; the message lists the known names and suggests the closest.
    """
    if name in known:
        return name
    close = get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"no {kind} named {name!r}; there are {', '.join(known)}{hint}")


def story_options(name: str) -> dict[str, Any]:
    """List the options of a story with their defaults: of its ``for_data``, and of its constructor."""
    story: Any = stories()[name]
    options: dict[str, Any] = {}
    for function in (story.for_data, story):
        for option, parameter in inspect.signature(function).parameters.items():
            # event_dim follows from the data
            if parameter.kind is parameter.KEYWORD_ONLY and option != "event_dim":
                options.setdefault(option, parameter.default)
    return options


def build(
    name: str,
    data: FactorDataset,
    *,
    latent_dim: int | None = None,
    network: str | None = None,
    likelihood: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> GenerativeStory:
    """Build a story for given data, with fresh networks: one of the zoo, or one from your Python file.

    Args:
        name: A name in :func:`stories`; or ``path/to/file.py:function``, a function that is called
            with the data and, as keywords, with ``options``. It returns a story, or any object with a
            model and a guide.
        data: Data to which the story will be fitted.
        latent_dim: Number of coordinates of the code, for stories with such an option. Left out, the
            story's default applies.
        network: Name of the architecture. ``"study"``, ``"pytorch_port"`` and ``"burgess"`` are
            convolutional and take images of 8x8 and more, ``"conv1d"`` takes signals, ``"gru"``
            sequences, ``"mlp"`` observations of any shape. Left out, it is ``"study"`` for images
            of more than 16 rows or columns, ``"conv1d"`` for signals, ``"gru"`` for sequences and
            ``"mlp"`` for all other observations.
        likelihood: One of :data:`LIKELIHOODS`: ``"bernoulli"`` or ``"continuous_bernoulli"`` for values
            in [0, 1]; ``"gaussian"`` or ``"student_t"``, whose scale is learned; ``"poisson"``,
            ``"negative_binomial"`` or either with ``"zero_inflated_"`` before it, for counts. Left
            out, each column of a table has the likelihood of its type, signals and sequences
            outside [0, 1] are ``"gaussian"``, and all other observations ``"bernoulli"``.
        seed: Seed of the initial weights. The caller's random state does not change.
        options: Options of the story. A list ``[start, end, steps]`` is a linear schedule of a
            weight. A structural story needs a ``graph``, such as ``"light -> shadow; angle ->
            shadow"``, unless the data have one; some take a list of nodes as well.

    Raises:
        ValueError: A name is unknown, the network does not take the data, or a graph is missing.
    """
    options = dict(options or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if is_function(name):
            function = function_of(name)
            return story_of(function(data, **_with_schedules(options, {})))
        _check_name(name)
        defaults = story_options(name)
        for option in options:
            choose(f"option of {name}", option, list(defaults))
        if latent_dim is not None and "latent_dim" in defaults:
            options.setdefault("latent_dim", latent_dim)
        networks = _networks(data, network, likelihood)
        story: Any = stories()[name]
        return story.for_data(data, networks, **_with_schedules(options, defaults))


def _check_name(name: str) -> None:
    """Raise a ValueError unless a story of this name can be built from data."""
    if name in without_codes():
        class_name = without_codes()[name].__name__
        raise ValueError(
            f"{name} has no latents, hence no codes to measure or draw: build {class_name} in"
            " Python and pass it to fit"
        )
    choose("story", name, list(stories()))


def network_for(data: FactorDataset, network: str | None = None) -> str:
    """Name of the architecture that :func:`build` takes for given data, where none is given.

    Raises:
        ValueError: The network is unknown or does not take the data.
    """
    return str(_networks(data, network, None).kind)


def _networks(data: FactorDataset, network: str | None, likelihood: str | None) -> Networks:
    """The encoders and decoders of the named architecture and likelihood."""
    name = likelihood or likelihood_for(data)
    conditional = LIKELIHOODS[choose("likelihood", name, list(LIKELIHOODS))]
    if network is not None:
        choose("network", network, NETWORKS)
    if likelihood in _OF_COUNTS and not data.columns:
        _check_counts(data, str(likelihood))
    columns = tuple(_with_likelihood(column, likelihood) for column in data.columns)
    return Networks(
        data.observation_shape,
        network,
        conditional,
        data.kind,
        columns=columns,
        has_missing=data.has_missing,
    )


_OF_COUNTS = COLUMN_LIKELIHOODS["count"]


def likelihood_for(data: FactorDataset) -> str:
    """The likelihood that data get by default: normal for signals, sequences and rows outside [0, 1].

    All other observations, images and vectors, are taken as Bernoulli means; ``fit`` refuses values
    that are none.
    """
    values = data.value_range
    if data.kind not in ("signal", "sequence", "table") or values is None:
        return "bernoulli"
    in_range = values.low >= 0 and values.high <= data.maximum
    return "bernoulli" if in_range else "gaussian"


def _check_counts(data: FactorDataset, likelihood: str) -> None:
    """Refuse data that are not counts, of which the first ones are read."""
    if data.maximum != 1:
        raise ValueError(
            f"likelihood {likelihood!r} takes counts as they are, but {data.name} divides them by"
            f" {data.maximum:g}: pass maximum=1 where the data are made"
        )
    x = data.observations(torch.arange(min(len(data), 1000)))
    x = x[~x.isnan()] if x.is_floating_point() else x
    if not ((x >= 0) & (x % 1 == 0)).all():
        raise ValueError(
            f"likelihood {likelihood!r} takes counts 0, 1, 2, …; {data.name} has"
            f" {x[(x < 0) | (x % 1 != 0)][0].item():g}; choose another likelihood, such as 'gaussian'"
        )


def _with_likelihood(column: Column, likelihood: str | None) -> Column:
    """The column with the likelihood that was asked for, if one was.

    Raises:
        ValueError: The column is of another type.
    """
    if likelihood is None:
        return column
    if likelihood not in COLUMN_LIKELIHOODS[column.kind]:
        raise ValueError(
            f"likelihood {likelihood!r} does not fit column {column.name!r} of type {column.kind};"
            " leave the likelihood out, and each column gets that of its type"
        )
    return dataclasses.replace(column, likelihood=likelihood)


def _with_schedules(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options in which ``[start, end, steps]`` is ``Linear(start, end, steps)``.

    Options whose default is a sequence stay lists.
    """
    converted = dict(options)
    for name, value in options.items():
        takes_sequence = isinstance(defaults.get(name), list | tuple)
        if _is_three_numbers(value) and not takes_sequence:
            converted[name] = Linear(*value)
    return converted


def _is_three_numbers(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    return all(isinstance(number, int | float) for number in value)
