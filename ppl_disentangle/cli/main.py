"""The command line: parses the arguments, runs the command, and shows errors in one line."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from ppl_disentangle.cli.commands import COMMANDS

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
PYRO_ERROR_SUFFIX = "Trace Shapes:"
"""Pyro appends a table of shapes to every error inside a trace; users get the message without it."""


SHOWN_ERRORS = (
    *(ValueError, TypeError, KeyError, OSError, ImportError, ArithmeticError),
    *(RuntimeError, MemoryError),
)
"""Errors that are shown as one line; others have a traceback, as they are faults of this library."""
EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class Parser(argparse.ArgumentParser):
    """A parser that suggests the closest command or option when one is misspelt."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with status 2."""
        if message.startswith("argument COMMAND: invalid choice: '"):
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
    except SHOWN_ERRORS as error:
        # the text of a KeyError is the repr of its message
        message = str(error.args[0] if isinstance(error, KeyError) else error)
        line = " ".join(message.partition(PYRO_ERROR_SUFFIX)[0].split())
        print(f"ppl-disentangle: {line}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interrupt:
        print(f"ppl-disentangle: {interrupt or 'stopped'}", file=sys.stderr)
        # only TrainingInterrupted has a checkpoint; importing that class would import torch
        checkpoint = getattr(interrupt, "checkpoint", None)
        if checkpoint is not None and checkpoint.exists():  # a run without a step is removed
            print(
                f"go on with: ppl-disentangle train --resume {checkpoint.parent}", file=sys.stderr
            )
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
