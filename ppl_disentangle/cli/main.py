"""The command line: parses the arguments and calls the library.

Commands import what they need when they run, so that ``--help`` does not have to import torch.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import xarray as xr

    from ppl_disentangle.runs.recipes import Plan

__all__ = ["main"]

EXAMPLES = """
examples:
  ppl-disentangle demo
  ppl-disentangle list
  ppl-disentangle data room --sheet room.png
  ppl-disentangle train beta_tcvae --data sprites --steps 20000 --set beta=6
  ppl-disentangle train beta_vae --data digits
  ppl-disentangle train my_story.py:make --data my_images/
  ppl-disentangle train causal_vae --data pendulum --labels 0.1
  ppl-disentangle train --resume runs/beta_tcvae-sprites-1
  ppl-disentangle evaluate runs/demo-1
  ppl-disentangle study examples/comparison.toml
  ppl-disentangle intervene runs/demo-1 --do "z[3]=2.0"
  ppl-disentangle intervene runs/causal_vae-pendulum-1 --do light=1.5 --do angle+=0.5 --counterfactual
"""
PYRO_ERROR_SUFFIX = "\nTrace Shapes:"
"""Pyro appends a table of shapes to every error inside a trace; users get the message without it."""

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

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class Parser(argparse.ArgumentParser):
    """A parser that suggests the closest command or option when one is misspelt."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with status 2."""
        if "invalid choice: '" in message:
            name = message.split("invalid choice: '")[1].split("'")[0]
            message = f"no command {name!r}; there are {', '.join(COMMANDS)}"
            message += _suggestion(name, list(COMMANDS))
        elif message.startswith("unrecognized arguments: "):
            option = message.removeprefix("unrecognized arguments: ").split()[0]
            message += _suggestion(option, _option_names(self))
        super().error(message)


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _option_names(parser: argparse.ArgumentParser) -> list[str]:
    """The names of all options of a parser and of its commands."""
    names: list[str] = []
    for action in parser._actions:
        names += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                names += _option_names(command)
    return names


def parser() -> Parser:
    """Build the parser of all commands. The docstring of a command is its help text."""
    top = Parser(
        prog="ppl-disentangle",
        description="Disentangled and causal representations as probabilistic programs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (add_arguments, run, example) in COMMANDS.items():
        text = _help_text(run.__doc__ or "")
        command = commands.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            epilog=f"example:\n  ppl-disentangle {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
    return top


def _help_text(docstring: str) -> str:
    """A docstring without the indentation of its lines after the first."""
    first_line, _, rest = docstring.partition("\n")
    return f"{first_line}\n{textwrap.dedent(rest)}".strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return COMMANDS[options.command][1](options)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (ValueError, TypeError, KeyError, OSError, ImportError, ArithmeticError) as error:
        # the text of a KeyError is the repr of its message
        message = str(error.args[0] if isinstance(error, KeyError) else error)
        print(f"ppl-disentangle: {message.partition(PYRO_ERROR_SUFFIX)[0]}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interrupt:
        print(f"ppl-disentangle: {interrupt or 'stopped'}", file=sys.stderr)
        # only TrainingInterrupted has a checkpoint; importing that class would import torch
        checkpoint = getattr(interrupt, "checkpoint", None)
        if checkpoint is not None:
            print(
                f"go on with: ppl-disentangle train --resume {checkpoint.parent}", file=sys.stderr
            )
        return EXIT_INTERRUPTED


def _demo_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--steps", type=int, help="training steps (default: the recipe's)")
    command.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    command.add_argument(
        "--short", action="store_true", help="a run of seconds that checks the installation"
    )
    command.add_argument("--out", type=Path, help="run folder (default: runs/demo-N)")
    command.add_argument("--quiet", action="store_true", help="no progress bars")


def demo(options: argparse.Namespace) -> int:
    """Train a beta-TCVAE on sprites, evaluate it, draw it, intervene on it and write a report.

    The demonstration takes minutes on two cores and needs neither files nor a GPU.
    """
    from ppl_disentangle.runs.demo import run_demo

    return run_demo(
        options.out,
        seed=options.seed,
        steps=options.steps,
        short=options.short,
        progress=not options.quiet,
    )


def _no_arguments(command: argparse.ArgumentParser) -> None:
    """A command without arguments."""


def list_stories(options: argparse.Namespace) -> int:
    """List the stories of the zoo: what each is for, which data it needs, and its options."""
    from ppl_disentangle.cli.story_listing import list_of_stories

    print("\n".join(list_of_stories()))
    return 0


def _data_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name", nargs="?", metavar="NAME", help="name of a data set, or path of a file or folder"
    )
    command.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="write a picture of the data set"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the images in the picture")


def data_sets(options: argparse.Namespace) -> int:
    """List the data sets with their factors, licences and sources; or describe one data set.

    The picture that --sheet writes shows random images. For data with all combinations of their
    factors, it also shows a row for each factor, in which only this factor changes.
    """
    from ppl_disentangle.cli.data_listing import description, list_of_data_sets, write_sheet

    if options.sheet and not options.name:
        raise ValueError("expected NAME, the data set that --sheet draws, got none")
    if options.sheet:
        write_sheet(options.name, options.sheet, seed=options.seed)
    print("\n".join(description(options.name) if options.name else list_of_data_sets()))
    if options.sheet:
        print(options.sheet)
    return 0


def _train_arguments(command: argparse.ArgumentParser) -> None:
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
        help="study, pytorch_port, burgess or mlp (default: study for images of 64x64, else mlp)",
    )
    add(
        "--likelihood",
        default="bernoulli",
        help="bernoulli (default), continuous_bernoulli or gaussian",
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


def _run_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="a run folder")


def _evaluate_arguments(command: argparse.ArgumentParser) -> None:
    _run_argument(command)
    command.add_argument("--seed", type=int, default=0, help="seed of the metrics (default: 0)")
    command.add_argument(
        "--metrics", nargs="+", metavar="NAME", help="names of metrics, or all (default: the run's)"
    )
    command.add_argument(
        "--dci-predictor",
        choices=("gbt", "lightgbm", "forest"),
        help="predictor of the DCI metrics (default: the run's)",
    )


def evaluate(options: argparse.Namespace) -> int:
    """Compute the metrics of a run, beside baselines, chance and the scores of a perfect code."""
    from ppl_disentangle.inference.training.allocator import keep_freed_memory
    from ppl_disentangle.runs.folder import Run
    from ppl_disentangle.runs.scoring import evaluate as evaluate_run
    from ppl_disentangle.runs.tables import format_scores

    keep_freed_memory()
    fitted = Run.open(options.run).fitted()
    settings: dict[str, Any] = {}
    if options.dci_predictor:
        settings["dci_predictor"] = options.dci_predictor
    if options.metrics:
        settings["metrics"] = "all" if options.metrics == ["all"] else options.metrics
    scores = evaluate_run(fitted, seed=options.seed, **settings)
    print("\n".join(format_scores(scores)))
    return 0


def traverse(options: argparse.Namespace) -> int:
    """Draw the traversals, reconstructions and terms of a run, and a map of codes and factors."""
    from ppl_disentangle.runs.drawing import draw
    from ppl_disentangle.runs.folder import Run

    draw(Run.open(options.run).fitted())
    print(options.run / "figures" / "traversals.png")
    return 0


def _intervene_arguments(command: argparse.ArgumentParser) -> None:
    _run_argument(command)
    command.add_argument(
        "--do",
        action="append",
        required=True,
        metavar="NAME=VALUE",
        help='set a value: light=2.0, "z[3]=2.0", "colour=[0,0,1]"; or shift it: light+=0.5',
    )
    command.add_argument(
        "--counterfactual",
        action="store_true",
        help="change held-out data instead of generated data; needs a story with a graph",
    )
    command.add_argument("--num", type=int, default=8, help="number of data to show (default: 8)")
    command.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")


def intervene(options: argparse.Namespace) -> int:
    """Set latents or nodes, and show how the images and the other nodes change.

    For a story with a graph, the command changes generated data or, with --counterfactual, held-out
    data. The values of nodes are in standard deviations of the labels from their mean. For other
    stories, it changes the codes of held-out images, and shows which codes the encoder infers from the
    changed images.
    """
    from ppl_disentangle.causal.action_text import from_text
    from ppl_disentangle.runs.before_after import intervene as intervene_on_run
    from ppl_disentangle.runs.folder import Run
    from ppl_disentangle.runs.tables import describe_nodes, format_nodes

    actions = from_text(", ".join(options.do))
    if options.num < 1:
        raise ValueError(f"expected --num of at least 1, got {options.num}")
    run = Run.open(options.run)
    result = intervene_on_run(
        run.fitted(),
        actions,
        num=options.num,
        counterfactual=options.counterfactual,
        seed=options.seed,
    )
    if "node" in result.coords:
        print("\n".join([*describe_nodes(result), *format_nodes(result)]))
        if result.attrs["outside_data_range"]:
            print(
                f"warning: outside of the data: {result.attrs['outside_data_range']}",
                file=sys.stderr,
            )
    else:
        _print_shifts(result)
    print(run.folder / "figures")
    return 0


def _print_shifts(result: xr.Dataset) -> None:
    """Print how far the codes that the encoder infers move under an intervention."""
    shift = (result["codes_after"] - result["codes_before"]).mean("data")
    print(f"do({result.attrs['do']}): mean shift of the codes that the encoder infers")
    for name in shift["code"].values:
        print(f"  {name!s:<8} {shift.sel(code=name).item():+.2f}")


def _study_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("grid", type=Path, metavar="FILE.toml", help="models, data, seeds, training, evaluation")
    add("--out", type=Path, help="folder of the study (default: runs/FILE)")
    add("--workers", type=int, help="number of processes (default: half of the cores)")
    add("--executor", default="local", help="local (default), or ray to use a running Ray cluster")
    add("--gpus", type=float, default=0, help="GPUs that a run takes on Ray, such as 0.25")
    add("--timeout", type=float, metavar="SECONDS", help="end runs that take longer")
    add("--retries", type=int, default=1, help="further attempts at a failed run (default: 1)")
    add("--keep-weights", action="store_true", help="keep the fitted weights of all runs")
    add(
        "--select",
        metavar="METRIC",
        help="choose a run of each model without labels, and judge the choices by this metric",
    )
    add("--quiet", action="store_true", help="no progress bar and no line for each run")


def study(options: argparse.Namespace) -> int:
    """Run a grid of stories, hyper-parameters, data sets and seeds.

    The same command again continues an interrupted study. A run that fails, hangs or crashes does not
    affect the others. The study folder gets study.nc with all scores as one xarray data set, study.csv,
    comparison.csv with the models' mean scores and 94 % intervals, and figures. With --select, a run of
    each model is chosen without labels, by how well its codes agree with the codes of its other runs,
    and is compared with the best run.
    """
    from ppl_disentangle.studies.analysis import analyse, select_without_labels
    from ppl_disentangle.studies.grid import read_grid, trials
    from ppl_disentangle.studies.study import study as run_study

    folder = options.out or Path("runs") / options.grid.stem
    results = run_study(
        options.grid,
        folder,
        executor=options.executor,
        workers=options.workers,
        gpus=options.gpus,
        timeout=options.timeout,
        retries=options.retries,
        keep_weights=options.keep_weights,
        progress=not options.quiet,
    )
    print("\n".join(analyse(results, folder)))
    if options.select:
        chosen = select_without_labels(trials(read_grid(options.grid)), folder, options.select)
        print(f"\n{options.select} of the run that is chosen by:")
        print(chosen["score"].to_series().unstack("choice").round(3).to_string())
    return _print_status(results["status"].values.ravel().tolist(), folder)


def _print_status(status: Sequence[str], folder: Path) -> int:
    """Print how many runs of a study are done and why others failed; returns the exit status."""
    planned = [text for text in status if text != "not planned"]
    unfinished = [text for text in planned if text != "done"]
    num_done = len(planned) - len(unfinished)
    print(f"{num_done} of {len(planned)} runs are done: {folder}/study.nc")
    for text, count in sorted(Counter(unfinished).items()):
        print(f"{count} {text}", file=sys.stderr)
    return 1 if unfinished else 0


def report(options: argparse.Namespace) -> int:
    """Write the report.html of a run again, from the results in its folder."""
    from ppl_disentangle.runs.report import write_report

    print(write_report(options.run))
    return 0


COMMANDS = {
    "demo": (_demo_arguments, demo, "demo"),
    "list": (_no_arguments, list_stories, "list"),
    "data": (_data_arguments, data_sets, "data sprites --sheet sprites.png"),
    "train": (_train_arguments, train, "train beta_tcvae --data digits --set beta=2 --steps 3000"),
    "evaluate": (_evaluate_arguments, evaluate, "evaluate runs/demo-1"),
    "traverse": (_run_argument, traverse, "traverse runs/demo-1"),
    "intervene": (_intervene_arguments, intervene, 'intervene runs/demo-1 --do "z[3]=2.0"'),
    "study": (_study_arguments, study, "study examples/comparison.toml --workers 2"),
    "report": (_run_argument, report, "report runs/demo-1"),
}


if __name__ == "__main__":
    sys.exit(main())
