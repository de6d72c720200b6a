"""Tokens of DOT and DAGitty: names, texts in quotes, arrows and punctuation, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Token", "Tokens", "tokenised"]

_BLANK = re.compile(r"\s+|//[^\n]*|/\*.*?\*/|(?<=\n)#[^\n]*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ARROW = re.compile(r"<->|<-@|@->|@-@|@--|--@|->|--|<-")
_NUMERAL = re.compile(r"-?(\.\d+|\d+(\.\d*)?)(?![\w.])")
_NAME = re.compile(r"[\w.]+")
_PUNCTUATION = "{}[];,=:+"


class Token(NamedTuple):
    """A token.

    Attributes:
        kind: ``"name"``, ``"quoted"``, ``"html"``, ``"arrow"``, ``"end"`` or a punctuation mark.
        text: The text, without quotes.
        line: Number of the line, from 1.
    """

    kind: str
    text: str
    line: int


def tokenised(text: str) -> Iterator[Token]:
    """Tokens of a text, closed by a token of kind ``"end"``.

    Raises:
        ValueError: A character begins no token, or a text in quotes or brackets does not end.
    """
    position = 0
    while position < len(text):
        blank = _BLANK.match(text, position) or (position == 0 and re.match(r"#[^\n]*", text))
        if blank:
            position = blank.end()
            continue
        line = text.count("\n", 0, position) + 1
        kind, value, position = _next(text, position, line)
        yield Token(kind, value, line)
    yield Token("end", "the end of the text", text.count("\n") + 1)


def _next(text: str, position: int, line: int) -> tuple[str, str, int]:
    """Kind and text of the token at ``position``, and the position behind it."""
    quoted = _QUOTED.match(text, position)
    if quoted:
        return "quoted", _unescaped(quoted[1]), quoted.end()
    arrow = _ARROW.match(text, position)
    if arrow:
        return "arrow", arrow[0], arrow.end()
    if text[position] == "<":
        return _html(text, position, line)
    name = _NUMERAL.match(text, position) or _NAME.match(text, position)
    if name:
        return "name", name[0], name.end()
    if text[position] in _PUNCTUATION:
        return text[position], text[position], position + 1
    if text[position] == '"':
        raise ValueError(f"line {line}: a text in quotes does not end")
    raise ValueError(f"line {line}: unexpected character {text[position]!r}")


def _unescaped(text: str) -> str:
    """The text in quotes: an escaped line end joins lines, an escaped quote is a quote."""
    return text.replace("\\\n", "").replace('\\"', '"')


def _html(text: str, position: int, line: int) -> tuple[str, str, int]:
    """A text in angle brackets, which may hold further brackets in pairs."""
    depth = 0
    for end in range(position, len(text)):
        depth += {"<": 1, ">": -1}.get(text[end], 0)
        if depth == 0:
            return "html", text[position : end + 1], end + 1
    raise ValueError(f"line {line}: a label in angle brackets does not end")


class Tokens:
    """Tokens that are read one after the other, with one token seen in advance.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self._tokens = list(tokenised(text))
        self._position = 0

    @property
    def next(self) -> Token:
        """The token that is read next."""
        return self._tokens[self._position]

    def take(self, *kinds: str) -> Token:
        """Read the next token, which must be one of some kinds if they are given.

        Raises:
            ValueError: The token is of another kind.
        """
        token = self.next
        if kinds and token.kind not in kinds:
            raise ValueError(
                f"line {token.line}: expected {' or '.join(kinds)}, got {token.text!r}"
            )
        self._position += token.kind != "end"
        return token

    def skip(self, *kinds: str) -> bool:
        """Read the next token if it is of one of some kinds; whether it was."""
        if self.next.kind in kinds:
            self.take()
            return True
        return False

    def skip_word(self, word: str) -> bool:
        """Read the next token if it is a keyword, in any case; whether it was."""
        if self.next.kind == "name" and self.next.text.lower() == word:
            self.take()
            return True
        return False
