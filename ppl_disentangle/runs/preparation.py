"""The data and the story of a run, made from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ppl_disentangle.causal.labels import NodeScales, with_labels, with_needed_labels
from ppl_disentangle.data import CausalDataset, FactorDataset, load_data
from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.zoo import build

__all__ = ["Splits", "add_conditions", "build_story", "load_run_data", "split_data"]


class Splits(NamedTuple):
    """The two parts of the data of a run.

    Attributes:
        training: Training data, with the labels that the run was given.
        held_out: Data kept out of training, as they are stored.
        held_out_with_conditions: The same data, with the conditions that the story needs.
        scales: Mean and scale of the nodes that have labels.
    """

    training: FactorDataset
    held_out: FactorDataset
    held_out_with_conditions: FactorDataset
    scales: NodeScales


def load_run_data(config: Mapping[str, Any]) -> FactorDataset:
    """Load the data that a configuration names."""
    return load_data(config["data"]["source"])


def build_story(
    config: Mapping[str, Any], data: FactorDataset, *, seed: int | None = None
) -> GenerativeStory:
    """Build the story that a configuration names, with initial weights.

    Args:
        config: Configuration of a run.
        data: Data of the run.
        seed: Seed of the weights; by default the seed of the configuration.
    """
    options = dict(config["story"])
    name = options.pop("name")
    if seed is not None:
        options["seed"] = seed
    return build(name, data, **options)


def split_data(config: Mapping[str, Any], story: GenerativeStory, data: FactorDataset) -> Splits:
    """Split data into training data with labels and held-out data with conditions.

    At most a fifth of the data is held out.

    Args:
        config: Configuration of a run: the number of held-out data and the fraction of labels.
        story: Story of the run, which decides about the columns of labels and about conditions.
        data: Data of the run.
    """
    num_held_out = min(config["data"]["held_out"], len(data) // 5)
    training, held_out = data.split(num_held_out)
    scales = NodeScales()
    fraction = config["data"].get("labels")
    if fraction is not None and isinstance(training, CausalDataset):
        training, scales = with_labels(story, training, fraction)
    return Splits(training, held_out, add_conditions(story, held_out, scales), scales)


def add_conditions(
    story: GenerativeStory, data: FactorDataset, scales: NodeScales
) -> FactorDataset:
    """Add the conditions that a story needs to data that it was not trained on.

    Args:
        story: Story of the run.
        data: Data of the run.
        scales: Mean and scale of the nodes that have labels.
    """
    return story.held_out_data(with_needed_labels(story, data, scales))
