"""The catalogue: stories by name, built to fit given data."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppl_disentangle import models, networks
from ppl_disentangle.conditionals import Bernoulli, Conditional, ContinuousBernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import as_dag
from ppl_disentangle.inference import Linear
from ppl_disentangle.story import GenerativeStory, story_of
from ppl_disentangle.structural import StructuralPrior

__all__ = ["LIKELIHOODS", "NETWORKS", "build", "choose", "stories", "story_options"]

LIKELIHOODS: dict[str, type[Conditional]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": GaussianLearnedScale,
}
NETWORKS = ("study", "ported", "burgess", "mlp")
BUILT_FROM = (
    ["encoder", "decoder", "latent_dim"],
    ["prior", "encoder", "decoder"],
    ["graph", "encoder", "decoder"],
)


def stories() -> dict[str, type[GenerativeStory]]:
    """The stories that can be built from data alone, and a graph, by the name of their file."""
    classes = [getattr(models, name) for name in models.__all__]
    final = [c for c in classes if not inspect.isabstract(c) and _arguments(c, positional=True) in BUILT_FROM]
    return {c.__module__.rpartition(".")[2]: c for c in final}


def _arguments(story: type[GenerativeStory], *, positional: bool) -> list[str]:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
    return [p.name for p in inspect.signature(story).parameters.values() if p.kind is kind]


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
    """The hyper-parameters of a story, with its paper's values; ``graph`` where it has nodes."""
    story = stories()[name]
    parameters = inspect.signature(story).parameters
    graph = {"graph": None} if parameters.keys() & {"prior", "graph"} else {}
    return graph | {option: parameters[option].default for option in _arguments(story, positional=False)}


def build(
    name: str,
    data: FactorDataset,
    *,
    latent_dim: int = 10,
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
        latent_dim: number of coordinates of the code, where it is not that of the nodes of a graph.
        network: ``"study"``, ``"ported"`` and ``"burgess"`` take images of 64x64, ``"mlp"`` anything; by default the
            first that fits.
        likelihood: ``"bernoulli"``, ``"continuous_bernoulli"`` or ``"gaussian"`` (with a learned scale).
        seed: of the initial weights; the caller's random state is left alone.
        options: hyper-parameters of the story; a list ``[start, end, steps]`` is a linear schedule. A structural
            story needs a ``graph``, such as ``"light -> shadow; angle -> shadow"``, unless the data have one; some take
            a list of nodes as well.

    Raises:
        ValueError: a name that is not known, a network that does not take the data, or a graph that is missing.
    """
    options = {k: Linear(*v) if isinstance(v, list) and k != "graph" else v for k, v in (options or {}).items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if ".py:" in name:
            return story_of(_function(name)(data, **options))
        choose("story", name, list(stories()))
        for option in options:
            choose(f"option of {name}", option, list(story_options(name)))
        conditional = LIKELIHOODS[choose("likelihood", likelihood, list(LIKELIHOODS))]
        story: Callable[..., GenerativeStory] = stories()[name]
        if "graph" in story_options(name):
            graph = _graph(name, options.pop("graph", None) or getattr(data, "dag", None))
            num_nodes = len(graph if isinstance(graph, list) else as_dag(graph))
            size = num_nodes * options.get("dim", story_options(name).get("dim", 1))
            encoder, decoder = _networks(network, data.observation_shape, size)
            nodes = StructuralPrior(graph) if "prior" in inspect.signature(story).parameters else graph
            return story(nodes, Gaussian(encoder), conditional(decoder), **options)
        encoder, decoder = _networks(network, data.observation_shape, latent_dim)
        return story(Gaussian(encoder), conditional(decoder), latent_dim, **options)


def _graph(name: str, graph: Any) -> Any:
    if graph is None:
        raise ValueError(
            f"{name} needs a graph of its nodes: give it the option graph='light -> shadow; angle -> shadow'"
        )
    return graph


def _networks(network: str | None, shape: tuple[int, ...], latent_dim: int) -> tuple[nn.Module, nn.Module]:
    images = len(shape) == 3 and shape[1:] == (64, 64)
    network = choose("network", network or ("study" if images else "mlp"), NETWORKS)
    if network == "mlp" and math.prod(shape) >= 1024:
        return networks.mlp_encoder(2 * latent_dim, shape=shape), networks.mlp_decoder(latent_dim, shape=shape)
    if network == "mlp":  # the 1200 units of the literature, and their tanh, were chosen for 4096 pixels
        small = networks.mlp_decoder(latent_dim, shape=shape, hidden=256, activation=nn.ReLU)
        return networks.mlp_encoder(2 * latent_dim, shape=shape, hidden=256), small
    if not images:
        raise ValueError(
            f"network {network!r} takes images of shape (channels, 64, 64), the data are {shape}; use 'mlp'"
        )
    pairs = {
        "study": (networks.study_encoder, networks.study_decoder),
        "ported": (networks.ported_encoder, networks.ported_decoder),
        "burgess": (networks.burgess_encoder, networks.burgess_decoder),
    }
    encoder, decoder = pairs[network]
    return encoder(2 * latent_dim, channels=shape[0]), decoder(latent_dim, channels=shape[0])


def _function(source: str) -> Callable[..., Any]:
    """The function that ``path/to/file.py:function`` names."""
    path, _, name = source.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"no file {path!r} to take {name!r} from")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, choose(f"name in {path}", name, [n for n in vars(module) if not n.startswith("_")]))
