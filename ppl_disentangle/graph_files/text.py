"""Graphs in plain text: edges such as ``a -> b``, and the text that Tetrad and causal-learn print."""

from __future__ import annotations

import itertools
import re

from ppl_disentangle.graph_files.edges import DrawnEdge, DrawnGraph, marks_of

__all__ = ["read_text"]

_WORD = re.compile(
    r'(?P<quoted>"[^"\n]*")'
    r"|(?P<arrow><-+>|<-+(?:o(?=\s))?|-+>|--+(?:o(?=\s))?|(?<=\s)o-+[>o-]?|@-+[>@-]?|<-+@|→|←|↔)"
    r"|(?P<end>[;\n])|(?P<comma>,)|(?P<comment>(?<!\S)#[^\n]*)"
)
_ONE_CHARACTER = {"→": "->", "←": "<-", "↔": "<->"}
_NOT_IN_NAMES = set('<>[]{}="')
_TETRAD = re.compile(r"\s*Graph Nodes:(?P<nodes>.*?)Graph Edges:(?P<edges>.*)", re.DOTALL)
_NUMBER = re.compile(r"^\s*\d+\.\s+", re.MULTILINE)
_NOTES = re.compile(r"^\s*Graph (Attributes|Node Attributes)?:.*|\b(dd|nl|pd|pl)\b", re.MULTILINE)


def read_text(text: str) -> DrawnGraph:
    """Read statements that semicolons or line ends separate.

    ``a -> b <- c`` is a chain of edges, ``a, b -> c`` stands for two edges, and a name alone adds a
    node. Names that hold one of ``; , < > [ ] { } =`` stand in quotes. A hash begins a comment.

    Raises:
        ValueError: A statement lacks a name or names a node twice.
    """
    tetrad = _TETRAD.match(text)
    if tetrad:
        nodes = re.sub(r"[,;]", "\n", tetrad["nodes"])
        edges = _NUMBER.sub("", _NOTES.sub("", tetrad["edges"]))
        text = f"{nodes}\n{edges}"
    graph = DrawnGraph()
    first_line = 1
    for statement in _statements(text):
        if _without_comments(statement).strip():
            _add_statement(graph, statement, first_line + _leading_lines(statement))
        first_line += statement.count("\n")
    return graph


def _leading_lines(statement: str) -> int:
    return len(statement) - len(statement.lstrip("\n"))


def _statements(text: str) -> list[str]:
    """The statements; a line end is the first character of the next statement."""
    statements = [""]
    position = 0
    for match in _WORD.finditer(text):
        if match.lastgroup == "end":
            statements[-1] += text[position : match.start()]
            statements.append("\n" if match[0] == "\n" else "")
            position = match.end()
    statements[-1] += text[position:]
    return statements


def _without_comments(statement: str) -> str:
    return _WORD.sub(lambda match: "" if match.lastgroup == "comment" else match[0], statement)


def _add_statement(graph: DrawnGraph, statement: str, line: int) -> None:
    """Add a chain such as ``a, b -> c -> d``: every node of a step points to every node of the next."""
    statement = _without_comments(statement).strip()
    steps, arrows = _steps(statement)
    for name in itertools.chain(*steps):
        graph.labels.setdefault(name, None)
    for arrow, (before, after) in zip(arrows, itertools.pairwise(steps), strict=True):
        tail, head = marks_of(arrow)
        for source, target in itertools.product(before, after):
            graph.edges.append(DrawnEdge(source, target, tail, head, f"line {line}"))


def _steps(statement: str) -> tuple[list[list[str]], list[str]]:
    """The nodes of each step of a chain, and the arrows between them."""
    steps: list[list[str]] = [[]]
    arrows: list[str] = []
    position = 0
    for match in [*_WORD.finditer(statement), None]:
        if match and match.lastgroup == "quoted":
            continue
        end = match.start() if match else len(statement)
        _add_name(steps[-1], statement[position:end].strip(), statement)
        if match and match.lastgroup == "arrow":
            steps.append([])
            arrows.append(_ONE_CHARACTER.get(match[0], match[0]))
        position = match.end() if match else end
    return steps, arrows


def _add_name(step: list[str], text: str, statement: str) -> None:
    """Add a name, which may stand in quotes, to a step."""
    is_quoted = len(text) > 2 and text[0] == text[-1] == '"' and text.count('"') == 2
    name = text[1:-1] if is_quoted else text
    if not name or (not is_quoted and _NOT_IN_NAMES & set(name)):
        raise ValueError(f"expected edges such as 'a -> b', got {statement!r}")
    if name in step:
        raise ValueError(f"node {name!r} is named twice")
    step.append(name)
