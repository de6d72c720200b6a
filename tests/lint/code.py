"""Measure the code: tokens of a function, comprehensions in comprehensions, several assignments on a line.

``python -m tests.lint.code`` fails when one in twenty functions is longer than 150 tokens or a line packs too much;
``python -m tests.lint.code PATH …`` lists every place in the given files or folders.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT
from tests.lint.english import LIBRARY, files

MOST_TOKENS = 150
SHARE_WITHIN = 0.95
MOST_PACKED = 5.0
"""Tuple assignments ``a, b = x, y`` in 1,000 lines; the field's well-kept projects have 5 to 31."""

LAYOUT = {
    *(tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.COMMENT, tokenize.ENCODING, tokenize.ENDMARKER),
}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def functions(source: str) -> Iterator[tuple[int, str, int]]:
    """Line, name and number of tokens in the body of each function, without its docstring."""
    tokens = [
        t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in LAYOUT
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            size = sum(first.lineno <= token.start[0] <= node.end_lineno for token in tokens)
            yield (
                node.lineno,
                node.name,
                0 if ast.get_docstring(node) and len(node.body) == 1 else size,
            )


def nested(source: str) -> Iterator[int]:
    """Lines of comprehensions that hold another."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, COMPREHENSIONS):
            if any(
                isinstance(inner, COMPREHENSIONS) for inner in ast.walk(node) if inner is not node
            ):
                yield node.lineno


def packed(source: str) -> Iterator[int]:
    """Lines that assign several values to several names, ``a, b = x, y``; an exchange of two names is allowed."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                if sorted(map(ast.unparse, names)) != sorted(map(ast.unparse, values)):
                    yield node.lineno


def findings(path: Path) -> Iterator[str]:
    """Every place in a file, in words."""
    source = path.read_text()
    name = path.relative_to(ROOT)
    yield from (
        f"{name}:{line}: {n} has {size} tokens"
        for line, n, size in functions(source)
        if size > MOST_TOKENS
    )
    yield from (f"{name}:{line}: a comprehension in a comprehension" for line in nested(source))
    yield from (f"{name}:{line}: several assignments on a line" for line in packed(source))


def main() -> int:
    """Check the library, or list the places in what is named on the command line."""
    if len(sys.argv) > 1:
        python = (path for path in files(*sys.argv[1:]) if path.suffix == ".py")
        print(*(text for path in python for text in findings(path)), sep="\n")
        return 0
    sources = [path.read_text() for path in files(*LIBRARY)]
    sizes = [size for source in sources for _, _, size in functions(source)]
    lines = sum(source.count("\n") for source in sources)
    within = sum(size <= MOST_TOKENS for size in sizes) / len(sizes)
    inner = sum(len(list(nested(source))) for source in sources)
    several = 1000 * sum(len(list(packed(source))) for source in sources) / lines
    print(
        f"{within:.1%} of {len(sizes)} functions have at most {MOST_TOKENS} tokens; at least {SHARE_WITHIN:.0%}"
    )
    print(f"{inner} comprehensions in comprehensions, at most 0")
    print(f"{several:.1f} several assignments on a line in 1,000 lines, at most {MOST_PACKED}")
    return 0 if within >= SHARE_WITHIN and not inner and several <= MOST_PACKED else 1


if __name__ == "__main__":
    sys.exit(main())
