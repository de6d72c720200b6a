"""Count habits of writing that make prose hard to read, in docstrings, pages and messages.

``python -m tests.lint.english`` fails when a habit is more frequent than in well-written projects of the field;
``python -m tests.lint.english PATH …`` lists every place in the given files or folders.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT

HABITS = {
    "what": (r"\bwhat\b", 2.8),
    "that of, those of": (r"\b(?:that|those) of\b", 0.9),
    "told, tell": (r"\b(?:told|tells?|telling)\b", 0.4),
    "is none, is no": (r"\b(?:is|are|be) (?:none|no)\b", 5.5),
    "of its own, of ours": (r"\bof (?:its|their|your|our|one's) own\b|\bof ours\b", 0.0),
    "law, dream, settle": (r"\b(?:laws?|dream\w*|settl\w*)\b", 0.0),
}
"""A pattern for each habit, and its most in 10,000 words: the highest of Pyro, Zuko, ArviZ and scvi-tools."""

FRAGMENT = re.compile(
    r"^ {4,}\*{0,2}\w+: (?:of|as in|as|from|by|that|in|to|with|among|between|at|whose)\b"
)
"""An argument's description that cannot stand alone: ``seed: of the draws.``"""

LIBRARY = ("ppl_disentangle", "inference", "models")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")
CODE = re.compile(
    r"```.*?```|``[^`]*``|`[^`]*`|\$\$.*?\$\$|^ *>>> .*$|^ *\.\.\. .*$", re.DOTALL | re.MULTILINE
)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """First line and text of each docstring of a file, those of attributes and constants included."""
    for node in ast.walk(ast.parse(source)):
        for statement in (
            getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []
        ):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                if isinstance(statement.value.value, str):
                    yield statement.lineno, statement.value.value


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """First line and text of each piece of prose in a file: the docstrings of Python, the whole of a page."""
    if path.suffix == ".py":
        yield from docstrings(path.read_text())
    else:
        yield 1, path.read_text()


def prose(text: str) -> str:
    """The text with code and formulas blanked, line by line, so that positions stay."""
    return CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def files(*names: str) -> Iterator[Path]:
    """The Python files and pages at or below the given names; folders behind a link are left out."""
    for name in names:
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (p for p in found if p.suffix in (".py", ".md") and not _behind_a_link(p))


def _behind_a_link(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if ROOT in parent.parents)


def findings(path: Path) -> Iterator[tuple[str, int, str]]:
    """Habit, line number and line of every place in a file."""
    for start, text in texts(path):
        for offset, line in enumerate(prose(text).splitlines()):
            for habit, (pattern, _) in HABITS.items():
                for _found in re.finditer(pattern, line, re.IGNORECASE):
                    yield habit, start + offset, line.strip()
            if FRAGMENT.match(line):
                yield "argument fragment", start + offset, line.strip()


def words(path: Path) -> int:
    """Number of words of prose in a file."""
    return sum(len(re.findall(r"[A-Za-z][A-Za-z'-]*", prose(text))) for _, text in texts(path))


def frequencies(paths: list[Path]) -> tuple[dict[str, float], int]:
    """How often each habit occurs in 10,000 words, and the number of argument fragments."""
    counts = Counter(habit for path in paths for habit, _, _ in findings(path))
    total = max(sum(map(words, paths)), 1)
    return {habit: 1e4 * counts[habit] / total for habit in HABITS}, counts["argument fragment"]


def check(name: str, paths: list[Path]) -> bool:
    """Print the frequencies of some files; whether all are within their limits."""
    found, fragments = frequencies(paths)
    good = fragments == 0
    for habit, frequency in found.items():
        limit = HABITS[habit][1]
        good &= frequency <= limit
        print(f"{name:12} {habit:22} {frequency:6.1f} in 10,000 words, at most {limit}")
    print(f"{name:12} {'argument fragment':22} {fragments:6}, at most 0")
    return good


def main() -> int:
    """Check everything, or list the places in what is named on the command line."""
    if len(sys.argv) > 1:
        for path in files(*sys.argv[1:]):
            for habit, line, text in findings(path):
                print(f"{path.relative_to(ROOT)}:{line}: {habit}: {text}")
        return 0
    results = [check("docstrings", list(files(*LIBRARY))), check("pages", list(files(*PAGES)))]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
