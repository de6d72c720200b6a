"""The command line. torch is imported by the command that needs it, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["main"]

EXAMPLES = """
examples:
  ppl-disentangle demo
  ppl-disentangle list
  ppl-disentangle data room --sheet room.png
  ppl-disentangle train beta_tcvae --data sprites --steps 20000 --set beta=6
  ppl-disentangle train beta_vae --data digits
  ppl-disentangle train my_story.py:make --data my_images/
  ppl-disentangle train --resume runs/beta_tcvae-sprites-1
  ppl-disentangle evaluate runs/demo-1
  ppl-disentangle intervene runs/demo-1 --do "z[3]=2.0"
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors have the closest match."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message`` and leave with status 2."""
        if "invalid choice: '" in message:
            given = message.split("invalid choice: '")[1].split("'")[0]
            close = get_close_matches(given, list(COMMANDS), 1)
            message = f"no command {given!r}; there are {', '.join(COMMANDS)}"
            message += f"; did you mean {close[0]!r}?" if close else ""
        elif message.startswith("unrecognized arguments: "):
            given = message.removeprefix("unrecognized arguments: ").split()[0]
            known = [o for a in self._actions for o in a.option_strings]
            known += [o for p in _subparsers(self) for a in p._actions for o in a.option_strings]
            close = get_close_matches(given, known, 1)
            message += f"; did you mean {close[0]!r}?" if close else ""
        super().error(message)


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [p for a in actions for p in a.choices.values()]


def parser() -> Parser:
    """The parser of all commands."""
    top = Parser(
        prog="ppl-disentangle",
        description="Disentangled and causal representations as probabilistic programs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (add_arguments, run, example) in COMMANDS.items():
        text = (run.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            epilog=f"example:\n  ppl-disentangle {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return COMMANDS[options.command][1](options)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, KeyError, OSError, ImportError, ArithmeticError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"ppl-disentangle: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"ppl-disentangle: {stopped or 'stopped'}", file=sys.stderr)
        folder = getattr(getattr(stopped, "checkpoint", None), "parent", None)
        if folder is not None:
            print(f"go on with: ppl-disentangle train --resume {folder}", file=sys.stderr)
        return 130


def _demo_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--steps", type=int, help="training steps (default: the recipe's)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--short", action="store_true", help="a run of seconds that shows that everything works")
    command.add_argument("--out", type=Path, help="run folder (default: runs/demo-N)")
    command.add_argument("--quiet", action="store_true", help="no progress bars")


def demo(options: argparse.Namespace) -> int:
    """Train a beta-TCVAE on sprites; measure it, traverse it, intervene on it, report.

    Needs no data, no network and no GPU; minutes on two cores.
    """
    from ppl_disentangle.demo import run_demo

    return run_demo(
        options.out, seed=options.seed, steps=options.steps, short=options.short, progress=not options.quiet
    )


def _no_arguments(command: argparse.ArgumentParser) -> None:
    """A command without arguments."""


def list_stories(options: argparse.Namespace) -> int:
    """List the stories of the zoo with their hyper-parameters."""
    from ppl_disentangle.zoo import stories, story_options

    for name, story in stories().items():
        print(f"{name:<14} {(story.__doc__ or '').strip().splitlines()[0]}")
        print(f"{'':<14} " + ", ".join(f"{k}={v}" for k, v in story_options(name).items()))
    return 0


def _data_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", help="a data set of the list, a file or a folder")
    command.add_argument("--sheet", type=Path, metavar="FILE.png", help="write a picture of what is in it")
    command.add_argument("--seed", type=int, default=0, help="of the images on the sheet")


def data_sets(options: argparse.Namespace) -> int:
    """List data sets with their factors, licence and where to get them; or describe one.

    Of a grid, the sheet shows random images and each factor going through its values; of other data random images.
    """
    from ppl_disentangle.data_listing import described, listed, write_sheet

    if options.sheet and not options.name:
        raise ValueError("expected NAME: of which data is the sheet?")
    if options.sheet:
        write_sheet(options.name, options.sheet, seed=options.seed)
    print("\n".join(described(options.name) if options.name else listed()))
    if options.sheet:
        print(options.sheet)
    return 0


def _train_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("story", nargs="?", metavar="STORY", help="a name in `list`, or file.py:function")
    command.add_argument("--data", default="sprites", help="sprites, digits, a .npz file or a folder of images")
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a hyper-parameter of the story"
    )
    command.add_argument("--latent-dim", type=int, default=10)
    command.add_argument("--network", help="study, ported, burgess or mlp (default: the first that fits)")
    command.add_argument("--likelihood", default="bernoulli", help="bernoulli, continuous_bernoulli or gaussian")
    command.add_argument("--steps", type=int, help="default: the recipe's for this story and data, else 20000")
    command.add_argument("--batch-size", type=int, help="default: the recipe's, else 64")
    command.add_argument("--lr", type=float, help="default: the recipe's, else 1e-3")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto")
    command.add_argument("--precision", choices=("float32", "bfloat16"), help="default: the recipe's, else float32")
    command.add_argument("--held-out", type=int, default=1000, help="data kept out of training")
    command.add_argument("--patience", type=int, help="stop after so many held-out bounds without a better one")
    command.add_argument("--out", type=Path, help="run folder (default: runs/STORY-DATA-N)")
    command.add_argument("--resume", type=Path, metavar="RUN", help="go on with an interrupted run, as it was started")
    command.add_argument("--no-evaluate", action="store_true", help="fit only: no metrics, figures, report")
    command.add_argument("--quiet", action="store_true", help="no progress bars")


def train(options: argparse.Namespace) -> int:
    """Fit a story to data; then measure it, draw it and write its report."""
    from ppl_disentangle.demo import finish
    from ppl_disentangle.inference.allocator import keep_freed_memory
    from ppl_disentangle.runs import Run

    keep_freed_memory()
    if options.resume:
        run = Run.open(options.resume, progress=not options.quiet)
    elif options.story:
        run = _new_run(options)
    else:
        raise ValueError("expected STORY (see `ppl-disentangle list`), or --resume RUN")
    run.train()
    print(f"trained: {run.folder}")
    return 0 if options.no_evaluate else finish(run)


def _new_run(options: argparse.Namespace) -> Any:
    from ppl_disentangle.demo import configure
    from ppl_disentangle.runs import Run, free_folder

    story = {k: getattr(options, k) for k in ("latent_dim", "network", "likelihood", "seed")}
    story |= {"name": options.story, "options": _settings(options.set)}
    names = ("steps", "batch_size", "lr", "seed", "device", "precision", "patience")
    training = {name: getattr(options, name) for name in names}
    command = shlex.join(["ppl-disentangle", *options.arguments])
    config, data = configure(story, options.data, training, command=command, held_out=options.held_out)
    stem = f"{Path(options.story.partition(':')[0]).stem}-{data.name}"
    return Run.create(options.out or free_folder(Path("runs") / stem), config, progress=not options.quiet)


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs; values are JSON, else text."""
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
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--dci-predictor", choices=("gbt", "lightgbm", "forest"), help="default: as the run was set up"
    )


def evaluate(options: argparse.Namespace) -> int:
    """Score a run's codes beside baselines, chance and the score of a perfect code."""
    from ppl_disentangle.runs import Run, format_scores

    run = Run.open(options.run)
    predictor = {"dci_predictor": options.dci_predictor} if options.dci_predictor else {}
    scores = run.evaluate(seed=options.seed, **predictor)
    print("\n".join(format_scores(scores)))
    return 0


def traverse(options: argparse.Namespace) -> int:
    """Draw a run: traversals, reconstructions, terms, and which coordinate goes with which factor."""
    from ppl_disentangle.runs import Run

    Run.open(options.run).draw()
    print(options.run / "figures" / "traversals.png")
    return 0


def _intervene_arguments(command: argparse.ArgumentParser) -> None:
    _run_argument(command)
    command.add_argument("--do", action="append", required=True, metavar="LATENT=VALUE", help='such as "z[3]=2.0"')
    command.add_argument("--num", type=int, default=8, help="held-out data to intervene on")


def intervene(options: argparse.Namespace) -> int:
    """Set latents of held-out data, and see what becomes of their images and of their other codes."""
    from ppl_disentangle.runs import Run

    values = _settings(options.do)
    wrong = [name for name, value in values.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        raise ValueError(f"expected a number for {wrong[0]!r}, got {values[wrong[0]]!r}")
    run = Run.open(options.run)
    result = run.intervene(values, num=options.num)
    shift = (result["codes_after"] - result["codes_before"]).mean("data")
    print(f"do({result.attrs['do']}): mean shift of the codes that the encoder reads back")
    for name in shift["code"].values:
        print(f"  {name!s:<8} {shift.sel(code=name).item():+.2f}")
    print(run.folder / "figures")
    return 0


def report(options: argparse.Namespace) -> int:
    """Write a run's report.html anew."""
    from ppl_disentangle.runs import Run

    print(Run.open(options.run).report())
    return 0


COMMANDS = {
    "demo": (_demo_arguments, demo, "demo"),
    "list": (_no_arguments, list_stories, "list"),
    "data": (_data_arguments, data_sets, "data sprites --sheet sprites.png"),
    "train": (_train_arguments, train, "train beta_tcvae --data digits --set beta=2 --steps 3000"),
    "evaluate": (_evaluate_arguments, evaluate, "evaluate runs/demo-1"),
    "traverse": (_run_argument, traverse, "traverse runs/demo-1"),
    "intervene": (_intervene_arguments, intervene, 'intervene runs/demo-1 --do "z[3]=2.0"'),
    "report": (_run_argument, report, "report runs/demo-1"),
}


if __name__ == "__main__":
    sys.exit(main())
