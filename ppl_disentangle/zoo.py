"""The catalogue: stories by name, built to fit given data."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch

from ppl_disentangle import models
from ppl_disentangle.conditionals import (
    Bernoulli,
    Conditional,
    ContinuousBernoulli,
    GaussianLearnedScale,
)
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.python_source import function_of, is_function
from ppl_disentangle.inference import Linear
from ppl_disentangle.networks import NETWORKS, Networks
from ppl_disentangle.story import GenerativeStory, story_of

__all__ = ["LIKELIHOODS", "build", "choose", "stories", "story_options", "without_codes"]

LIKELIHOODS: dict[str, type[Conditional]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": GaussianLearnedScale,
}


def stories() -> dict[str, type[GenerativeStory]]:
    """The stories of the zoo that are built from data, by name."""
    return {
        name: story for name, story in _final().items() if getattr(story, "latents", None) != ()
    }


def without_codes() -> dict[str, type[GenerativeStory]]:
    """Those without latents: they have no codes that a run could measure or draw."""
    return {name: story for name, story in _final().items() if name not in stories()}


def _final() -> dict[str, type[GenerativeStory]]:
    classes = [getattr(models, name) for name in models.__all__]
    final = [c for c in classes if not inspect.isabstract(c)]
    files = [c.__module__.rpartition(".")[2] for c in final]
    named = {
        f if files.count(f) == 1 else _in_words(c.__name__): c
        for f, c in zip(files, final, strict=True)
    }
    return dict(sorted(named.items()))


def _in_words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def choose(kind: str, name: str, known: Sequence[str]) -> str:
    """``name`` if it is known.

    Raises:
        ValueError: it is not; the message has the closest one.
    """
    if name in known:
        return name
    close = get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"no {kind} named {name!r}; there are {', '.join(known)}{hint}")


def story_options(name: str) -> dict[str, Any]:
    """The options of a story, with its paper's values: of how it is built, and its hyper-parameters."""
    story: Any = stories()[name]
    parameters = [
        *inspect.signature(story.for_data).parameters.values(),
        *inspect.signature(story).parameters.values(),
    ]
    options: dict[str, Any] = {}
    for parameter in parameters:
        if (
            parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "event_dim"
        ):  # which follows from the data
            options.setdefault(parameter.name, parameter.default)
    return options


def build(
    name: str,
    data: FactorDataset,
    *,
    latent_dim: int | None = None,
    network: str | None = None,
    likelihood: str = "bernoulli",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> GenerativeStory:
    """A story of the zoo with fresh networks for ``data``; or one of your own.

    Args:
        name: a name in :func:`stories`; or ``path/to/file.py:function``, which is called with the data, and with
            ``options`` as keywords, and returns a story or any object with a model and a guide.
        data: the data that it is to be fitted to.
        latent_dim: number of coordinates of the code, of a story with such an option; by default its own.
        network: Name of the architecture. ``"study"``, ``"pytorch_port"`` and ``"burgess"`` take
            images of 64x64, ``"mlp"`` takes observations of any shape. Left out, it is ``"study"``
            for images of 64x64 and ``"mlp"`` for all other observations.
        likelihood: ``"bernoulli"``, ``"continuous_bernoulli"`` or ``"gaussian"`` (with a learned scale).
        seed: of the initial weights; the caller's random state is left alone.
        options: options of the story; a list ``[start, end, steps]`` is a linear schedule of a weight. A structural
            story needs a ``graph``, such as ``"light -> shadow; angle -> shadow"``, unless the data have one; some take
            a list of nodes as well.

    Raises:
        ValueError: a name that is not known, a network that does not take the data, or a graph that is missing.
    """
    options = dict(options or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if is_function(name):
            return story_of(function_of(name)(data, **_with_schedules(options, {})))
        if name in without_codes():
            raise ValueError(
                f"{name} has no latents, hence no codes to measure or draw: build {without_codes()[name].__name__} in"
                " Python and pass it to fit"
            )
        choose("story", name, list(stories()))
        known = story_options(name)
        for option in options:
            choose(f"option of {name}", option, list(known))
        conditional = LIKELIHOODS[choose("likelihood", likelihood, list(LIKELIHOODS))]
        if network is not None:
            choose("network", network, NETWORKS)
        if latent_dim is not None and "latent_dim" in known:
            options = {"latent_dim": latent_dim} | options
        built: Any = stories()[name]
        networks = Networks(data.observation_shape, network, conditional)
        return built.for_data(data, networks, **_with_schedules(options, known))


def _with_schedules(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options with ``Linear(start, end, steps)`` for such a list, where the default is no sequence itself."""

    def is_schedule(name: str, value: Any) -> bool:
        numbers = (
            isinstance(value, list)
            and len(value) == 3
            and all(isinstance(v, int | float) for v in value)
        )
        return numbers and not isinstance(defaults.get(name), list | tuple)

    return {
        name: Linear(*value) if is_schedule(name, value) else value
        for name, value in options.items()
    }
