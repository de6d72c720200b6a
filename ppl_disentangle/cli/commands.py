"""The commands of the command line: their arguments, and the calls of the library.

A command imports the library only when it runs, so that ``--help`` does not import torch.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_disentangle.cli.train import train, train_arguments

if TYPE_CHECKING:
    import xarray as xr

    from ppl_disentangle.runs.folder import Fitted, Run

__all__ = ["COMMANDS"]


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


def _run_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="a run folder")


def _run_and_data_arguments(command: argparse.ArgumentParser) -> None:
    _run_argument(command)
    command.add_argument(
        "--data", help="where the data are now, or other data (default: the data of the training)"
    )


def _fitted(run: Run, data: str | None) -> Fitted:
    """Load a run, and print a warning where its data are not the data of its training."""
    from ppl_disentangle.runs.preparation import ChangedDataWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ChangedDataWarning)
        fitted = run.fitted(data=data)
    for warning in caught:
        if issubclass(warning.category, ChangedDataWarning):
            print(f"warning: {warning.message}", file=sys.stderr)
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return fitted


def _evaluate_arguments(command: argparse.ArgumentParser) -> None:
    _run_and_data_arguments(command)
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
    fitted = _fitted(Run.open(options.run), options.data)
    settings: dict[str, Any] = {}
    if options.dci_predictor:
        settings["dci_predictor"] = options.dci_predictor
    if options.metrics:
        settings["metrics"] = "all" if options.metrics == ["all"] else options.metrics
    scores = evaluate_run(fitted, seed=options.seed, **settings)
    print("\n".join(format_scores(scores)))
    return 0


def _traverse_arguments(command: argparse.ArgumentParser) -> None:
    _run_and_data_arguments(command)
    _units_argument(command)


def _units_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--units",
        choices=("data", "standard"),
        default="data",
        help="units of the cells of a table: its own, or standard deviations and positions of classes"
        " (default: data)",
    )


def traverse(options: argparse.Namespace) -> int:
    """Draw the traversals, reconstructions and terms of a run, and a map of codes and factors.

    For a table, it also writes reconstructed rows, in which missing cells are filled, and the rows of
    the traversals as csv files.
    """
    from ppl_disentangle.runs.drawing import draw
    from ppl_disentangle.runs.folder import Run

    draw(_fitted(Run.open(options.run), options.data), units=options.units)
    print(options.run / "figures" / "traversals.png")
    if (options.run / "tables").is_dir():
        print(options.run / "tables")
    return 0


def _intervene_arguments(command: argparse.ArgumentParser) -> None:
    _run_and_data_arguments(command)
    _units_argument(command)
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
    from ppl_disentangle.runs.rows import before_after_rows, format_before_after
    from ppl_disentangle.runs.tables import describe_nodes, format_nodes

    actions = from_text(", ".join(options.do))
    if options.num < 1:
        raise ValueError(f"expected --num of at least 1, got {options.num}")
    run = Run.open(options.run)
    fitted = _fitted(run, options.data)
    result = intervene_on_run(
        fitted,
        actions,
        num=options.num,
        counterfactual=options.counterfactual,
        units=options.units,
        seed=options.seed,
    )
    if "node" in result.coords:
        print("\n".join([*describe_nodes(result), *format_nodes(result)]))
    else:
        _print_shifts(result)
    if fitted.data.columns:
        print("\n".join(format_before_after(before_after_rows(fitted.data, result, options.units))))
    outside = result.attrs["outside_data_range"]
    if outside:
        print(f"warning: outside of the data: {outside}", file=sys.stderr)
    if fitted.data.columns:
        print(run.folder / "tables")
        return 0
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
    "train": (train_arguments, train, "train beta_tcvae --data digits --set beta=2 --steps 3000"),
    "evaluate": (_evaluate_arguments, evaluate, "evaluate runs/demo-1"),
    "traverse": (_traverse_arguments, traverse, "traverse runs/demo-1"),
    "intervene": (_intervene_arguments, intervene, 'intervene runs/demo-1 --do "z[3]=2.0"'),
    "study": (_study_arguments, study, "study examples/comparison.toml --workers 2"),
    "report": (_run_argument, report, "report runs/demo-1"),
}
