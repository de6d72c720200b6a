"""The command ``train``: its arguments, and new or resumed runs."""

from __future__ import annotations

import argparse
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_disentangle.cli.resumed import resumed
from ppl_disentangle.cli.settings import READER_OPTIONS, TRAINING_OPTIONS, Types, settings, size

if TYPE_CHECKING:
    from ppl_disentangle.runs.recipes import Plan

__all__ = ["train", "train_arguments"]


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
    add("--size", type=size, help="side of the images of a folder, or HEIGHTxWIDTH (default: 64)")
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
        action=Types,
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
        folder: Path | None = None
        plan: Plan | None = None
        if first and options.resume:
            folder = resumed(options)
        elif first:
            folder, plan = _new_run(options)
        run = Run.open(broadcast_first(folder), progress=first and not options.quiet)
        with run.kept_if_started() if first and not options.resume else nullcontext():
            fitted = train_run(run, plan)
    if not first:
        return 0
    print(f"trained: {run.folder}")
    if not options.no_evaluate:
        finish(fitted)
    return 0


def _new_run(options: argparse.Namespace) -> tuple[Path, Plan]:
    """Configure a run and make its folder."""
    from ppl_disentangle.runs.folder import Run, free_folder
    from ppl_disentangle.runs.recipes import configure

    story = {
        "name": options.story,
        "options": settings(options.set),
        "latent_dim": options.latent_dim,
        "network": options.network,
        "likelihood": options.likelihood,
        "seed": options.seed or 0,
    }
    training = {"seed": 0, "device": "auto", **_given(options, TRAINING_OPTIONS)}
    plan = configure(
        story,
        options.data or "sprites",
        training,
        options=_given(options, READER_OPTIONS),
        command=shlex.join(["ppl-disentangle", *options.arguments]),
        held_out=options.held_out,
        labels=options.labels,
    )
    story_name = Path(options.story.partition(":")[0]).stem  # of file.py:function, the file
    folder = options.out or free_folder(Path("runs") / f"{story_name}-{plan.data.name}")
    return Run.create(folder, plan.config).folder, plan


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options of these names that were given."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
