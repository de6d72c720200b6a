"""Arguments of ``train`` beside ``--resume``: they act, repeat the run, or are refused."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl_disentangle.cli.settings import READER_OPTIONS, TRAINING_OPTIONS, settings

__all__ = ["resumed"]

ACTING = ("steps", "device")
"""Options that a resumed run takes."""

Pairs = dict[str, tuple[Any, Any]]
"""The value that was given and the value of the run, by argument."""


def resumed(options: argparse.Namespace) -> Path:
    """Return the folder of a run to resume, after checking that no argument contradicts its settings.

    Raises:
        ValueError: An argument is given that the run was not made with.
    """
    from ppl_disentangle.runs.folder import Run

    run = Run.open(options.resume)
    for name, (given, saved) in _beside_resume(options, run.config).items():
        if given not in (None, [], saved):
            raise ValueError(
                f"--resume goes on with the settings of {options.resume}: its {name} is {saved}, got"
                f" {given}; leave {name} out, or start a new run without --resume"
            )
    if options.steps is not None or options.device is not None:
        run.resumed_with(steps=options.steps, device=options.device)
    return Path(options.resume)


def _beside_resume(options: argparse.Namespace, config: Mapping[str, Any]) -> Pairs:
    """The values of all arguments that only a new run takes."""
    training = [name for name in TRAINING_OPTIONS if name not in ACTING]
    return {
        **_story_arguments(options, config["story"]),
        **_data_arguments(options, config["data"]),
        **_pairs(options, training, config["training"]),
        "--out": (options.out, None),
    }


def _story_arguments(options: argparse.Namespace, story: Mapping[str, Any]) -> Pairs:
    from ppl_disentangle.runs.preparation import absolute_source

    name = options.story
    if name is not None and ".py:" in name:
        name = absolute_source(name)
    given = settings(options.set)
    saved = {key: story["options"].get(key) for key in given}
    return {
        "STORY": (name, story["name"]),
        "--set": (given or None, saved),
        **_pairs(options, ("latent_dim", "network", "likelihood"), story),
    }


def _data_arguments(options: argparse.Namespace, data: Mapping[str, Any]) -> Pairs:
    from ppl_disentangle.runs.preparation import absolute_source

    source = None if options.data is None else absolute_source(options.data)
    return {
        "--data": (source, data["source"]),
        **_pairs(options, READER_OPTIONS, data.get("options", {})),
        **_pairs(options, ("held_out", "labels"), data),
    }


def _pairs(
    options: argparse.Namespace, names: tuple[str, ...] | list[str], saved: Mapping[str, Any]
) -> Pairs:
    pairs = {}
    for name in names:
        flag = "--" + name.replace("_", "-")
        pairs[flag] = (getattr(options, name), saved.get(name))
    return pairs
