"""Settings of a story that follow from the story and its data, written as they were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.python_source import is_function
from ppl_disentangle.runs.preparation import absolute_source
from ppl_disentangle.zoo import likelihood_for, network_for, stories, story_options

__all__ = ["resolved"]

OPTIONS_OF_NETWORKS = ("latent_dim", "network", "likelihood")
"""Options of a story of the zoo that a function of a Python file does not get."""


def resolved(story: Mapping[str, Any], data: FactorDataset) -> dict[str, Any]:
    """Complete the configuration of a story by the settings that follow from story and data.

    Args:
        story: Configuration of a story; ``None`` counts as not given.
        data: Data of the run.

    Raises:
        ValueError: A setting is given that the story does not have.
    """
    given = {name: value for name, value in story.items() if value is not None}
    if is_function(given["name"]):
        _check_own_story(given)
        return {**given, "name": absolute_source(given["name"])}
    if given["name"] in stories():
        given |= _code(given)
    if not data.columns:
        given.setdefault("likelihood", likelihood_for(data))
    return {**given, "network": network_for(data, given.get("network"))}


def _check_own_story(story: Mapping[str, Any]) -> None:
    """Raise an error for settings that a function of a Python file does not get."""
    for name in OPTIONS_OF_NETWORKS:
        if name in story:
            raise ValueError(
                f"{story['name']} builds its own networks and takes no {name}, got {story[name]};"
                f" pass it to the function by --set {name}=…"
            )


def _code(story: Mapping[str, Any]) -> dict[str, Any]:
    """The number of coordinates of the code, for stories with such an option."""
    defaults = story_options(story["name"])
    if "latent_dim" not in defaults:
        if "latent_dim" in story:
            raise ValueError(
                f"{story['name']} has no latent_dim, got {story['latent_dim']}; it has"
                f" {', '.join(defaults)}"
            )
        return {}
    size = story["options"].get("latent_dim", story.get("latent_dim", defaults["latent_dim"]))
    if isinstance(size, int) and size < 1:
        raise ValueError(f"expected latent_dim of at least 1, got {size}")
    return {"latent_dim": size}
