"""The command ``train``: its arguments, and new or resumed runs."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl_disentangle.runs.recipes import Plan

__all__ = ["train", "train_arguments"]

TRAINING_OPTIONS = (
    "steps",
    "batch_size",
    "lr",
    "seed",
    "device",
    "precision",
    "compile",
    "patience",
)
"""Options of ``train`` that are options of :func:`~ppl_disentangle.inference.fit`."""


READER_OPTIONS = (
    *("size", "channels", "background", "channels_last", "kind"),
    *("factors", "drop", "types"),
)
"""Options of ``train`` that are options of the reader of the data."""


def train_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``train``, in groups."""
    command.add_argument(
        "story", nargs="?", metavar="STORY", help="name of a story, or file.py:function"
    )
    _story_arguments(command.add_argument_group("story"))
    _data_set_arguments(command.add_argument_group("data"))
    _training_arguments(command.add_argument_group("training"))
    _run_folder_arguments(command.add_argument_group("run"))


def _story_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set an option of the story; `ppl-disentangle list` shows the options",
    )
    add("--latent-dim", type=int, help="number of coordinates of the code (default: the story's)")
    add(
        "--network",
        help="study, pytorch_port or burgess for images, conv1d for signals, gru for sequences, or mlp"
        " (default: study for images larger than 16x16, by the kind of other data, else mlp)",
    )
    add(
        "--likelihood",
        help="bernoulli, continuous_bernoulli, gaussian, student_t, poisson, negative_binomial,"
        " zero_inflated_poisson or zero_inflated_negative_binomial (default: of the type of each"
        " column for a table, gaussian for signals and sequences outside [0, 1], else bernoulli)",
    )


def _data_set_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--data",
        help="name of a data set (default: sprites), path of a file or folder, or file.py:function",
    )
    add("--size", type=_size, help="side of the images of a folder, or HEIGHTxWIDTH (default: 64)")
    add("--channels", type=int, help="1 for grey images, 3 for RGB (default), 4 with opacity")
    add("--background", metavar="COLOUR", help="colour under transparent pixels (default: white)")
    add(
        "--kind",
        choices=("vector", "image", "signal", "sequence", "table"),
        help="kind of the arrays of an npz or npy file, such as signal for (num, channels, time) or"
        " sequence for (num, time, features); by default it follows from shape and values",
    )
    order = group.add_mutually_exclusive_group()
    order.add_argument(
        "--channels-last",
        action="store_true",
        default=None,
        help="images of an npz or npy file are (num, height, width, channels)",
    )
    order.add_argument(
        "--channels-first",
        dest="channels_last",
        action="store_false",
        default=None,
        help="they are (num, channels, height, width); by default the shape decides",
    )
    add("--factors", nargs="+", metavar="COLUMN", help="columns of a table that are true factors")
    add("--drop", nargs="+", metavar="COLUMN", help="columns of a table to leave out")
    add(
        "--types",
        nargs="+",
        action=_Types,
        metavar="COLUMN=TYPE",
        help="types of columns of a table: number, count, class, ordered, binary, or the values of an"
        " ordered column, such as stage=I,II,III (default: by rules)",
    )
    add(
        "--held-out",
        type=int,
        metavar="NUMBER",
        help="number of data kept out of training (default: 1000, at most a fifth)",
    )
    add(
        "--labels",
        type=float,
        metavar="FRACTION",
        help="share of the data whose nodes have labels (default: 1.0)",
    )


def _training_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--steps", type=int, help="number of steps (default: the recipe's, else 20000)")
    add("--batch-size", type=int, help="number of data in a batch (default: the recipe's, else 64)")
    add("--lr", type=float, help="learning rate (default: the recipe's, else 1e-3)")
    add("--seed", type=int, help="seed of weights, batches and draws (default: 0)")
    add(
        "--device",
        help="such as cpu or cuda; auto (default) takes a GPU if there is one",
    )
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        help="precision of the networks (default: the recipe's, else float32)",
    )
    add("--compile", action="store_true", default=None, help="compile the training step")
    add(
        "--patience",
        type=int,
        metavar="NUMBER",
        help="stop after this number of held-out bounds without an improvement",
    )


def _run_folder_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", type=Path, help="run folder (default: runs/STORY-DATA-N)")
    add(
        "--resume",
        type=Path,
        metavar="RUN",
        help="continue an interrupted run, or with larger --steps a finished one",
    )
    add("--no-evaluate", action="store_true", help="only train: no metrics, figures or report")
    add("--quiet", action="store_true", help="show no progress bars")


def train(options: argparse.Namespace) -> int:
    """Fit a story to data, evaluate and draw it, and write its report."""
    from ppl_disentangle.inference.distributed.processes import (
        broadcast_first,
        group_of_processes,
        rank,
    )
    from ppl_disentangle.inference.training.allocator import keep_freed_memory
    from ppl_disentangle.runs.after_training import finish
    from ppl_disentangle.runs.folder import Run
    from ppl_disentangle.runs.training import train as train_run

    keep_freed_memory()
    if not (options.resume or options.story):
        raise ValueError("expected STORY (see `ppl-disentangle list`), or --resume RUN")
    with group_of_processes():
        first = rank() == 0
        folder, plan = options.resume, None
        if first:
            folder, plan = (_resumed(options), None) if options.resume else _new_run(options)
        run = Run.open(broadcast_first(folder), progress=first and not options.quiet)
        with run.kept_if_started() if first and not options.resume else nullcontext():
            fitted = train_run(run, plan)
    if not first:
        return 0
    print(f"trained: {run.folder}")
    if not options.no_evaluate:
        finish(fitted)
    return 0


def _resumed(options: argparse.Namespace) -> Path:
    """The folder of a run to resume, after checking that no argument contradicts its settings.

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
    if options.steps is not None:
        run.with_steps(options.steps)
    return Path(options.resume)


def _beside_resume(
    options: argparse.Namespace, config: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Each argument that only a new run takes: the value that was given, and that of the run."""
    from ppl_disentangle.runs.preparation import absolute_source

    story = config["story"]
    data = config["data"]
    name = options.story
    if name is not None and ".py:" in name:
        name = absolute_source(name)
    source = None if options.data is None else absolute_source(options.data)
    pairs = {"STORY": (name, story["name"]), "--data": (source, data["source"])}
    settings = _settings(options.set)
    same = {key: story["options"].get(key) for key in settings}
    pairs["--set"] = (settings or None, same)
    for key in ("latent_dim", "network", "likelihood"):
        pairs[_flag(key)] = (getattr(options, key), story.get(key))
    for key in TRAINING_OPTIONS[1:]:
        pairs[_flag(key)] = (getattr(options, key), config["training"].get(key))
    for key in READER_OPTIONS:
        pairs[_flag(key)] = (getattr(options, key), data.get("options", {}).get(key))
    pairs["--held-out"] = (options.held_out, data["held_out"])
    pairs["--labels"] = (options.labels, data.get("labels"))
    pairs["--out"] = (options.out, None)
    return pairs


def _flag(name: str) -> str:
    """The option of the command line that sets an attribute."""
    return "--" + name.replace("_", "-")


class _Types(argparse.Action):
    """Reads ``COLUMN=TYPE`` pairs; values with commas between them are a list."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        types: dict[str, Any] = dict(getattr(namespace, self.dest) or {})
        for text in values:
            name, equals, kind = text.rpartition("=")
            if not equals:
                parser.error(f"{option_string}: expected COLUMN=TYPE, got {text!r}")
            types[name] = _values(kind) if "," in kind else kind
        setattr(namespace, self.dest, types)


def _values(text: str) -> list[str | float]:
    """Values with commas between them, as numbers if all are numbers."""
    values = text.split(",")
    try:
        return [int(value) for value in values]
    except ValueError:
        return list(values)


def _size(text: str) -> int | list[int]:
    """Read ``64`` or ``96x128``, height before width."""
    try:
        numbers = [int(word) for word in text.lower().split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected a size such as 64 or 96x128, got {text!r}")
    return numbers[0] if len(numbers) == 1 else numbers


def _new_run(options: argparse.Namespace) -> tuple[Path, Plan]:
    """Configure a run and make its folder."""
    from ppl_disentangle.runs.folder import Run, free_folder
    from ppl_disentangle.runs.recipes import configure

    story = {
        "name": options.story,
        "options": _settings(options.set),
        "latent_dim": options.latent_dim,
        "network": options.network,
        "likelihood": options.likelihood,
        "seed": options.seed or 0,
    }
    training = {name: getattr(options, name) for name in TRAINING_OPTIONS}
    reader = {name: getattr(options, name) for name in READER_OPTIONS}
    plan = configure(
        story,
        options.data or "sprites",
        {"seed": 0, "device": "auto"} | {k: v for k, v in training.items() if v is not None},
        options={name: value for name, value in reader.items() if value is not None},
        command=shlex.join(["ppl-disentangle", *options.arguments]),
        held_out=options.held_out,
        labels=options.labels,
    )
    story_name = Path(options.story.partition(":")[0]).stem  # of file.py:function, the file
    folder = options.out or free_folder(Path("runs") / f"{story_name}-{plan.data.name}")
    return Run.create(folder, plan.config).folder, plan


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs. A value that is not JSON is text."""
    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"expected NAME=VALUE, got {pair!r}")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError:
            settings[name] = text
    return settings
