"""The command ``train``: its arguments, and new or resumed runs."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
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
        help="study, pytorch_port, burgess or mlp (default: study for images larger than 16x16,"
        " else mlp)",
    )
    add(
        "--likelihood",
        help="bernoulli, continuous_bernoulli, gaussian, student_t, poisson, negative_binomial,"
        " zero_inflated_poisson or zero_inflated_negative_binomial (default: of the type of each"
        " column for a table, else bernoulli)",
    )


def _data_set_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--data",
        default="sprites",
        help="name of a data set (default: sprites), path of a file or folder, or file.py:function",
    )
    add("--held-out", type=int, default=1000, help="number of data kept out of training (1000)")
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
    add("--seed", type=int, default=0, help="seed of weights, batches and draws (default: 0)")
    add(
        "--device",
        default="auto",
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
    add("--resume", type=Path, metavar="RUN", help="continue an interrupted run")
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
        if first and not options.resume:
            folder, plan = _new_run(options)
        run = Run.open(broadcast_first(folder), progress=first and not options.quiet)
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
        "options": _settings(options.set),
        "latent_dim": options.latent_dim,
        "network": options.network,
        "likelihood": options.likelihood,
        "seed": options.seed,
    }
    plan = configure(
        story,
        options.data,
        {name: getattr(options, name) for name in TRAINING_OPTIONS},
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
