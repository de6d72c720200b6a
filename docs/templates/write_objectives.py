"""Write ``docs/objectives.md`` from the docstrings of the objectives: ``python docs/templates/write_objectives.py``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ppl_disentangle import inference
from ppl_disentangle.inference import AggregateELBO, DecomposedELBO
from ppl_disentangle.inference.elbo.schedules import as_text

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "objectives.md"
DIFFERENCES = "Other implementations:"
"""Start of the paragraph that says how other implementations of an objective differ."""
TABLE_HEAD = ("| argument | default | |", "|---|---|---|")
SECTIONS = ("Args", "Attributes", "Example", "Raises", "References", "Returns")


def objectives() -> list[type[DecomposedELBO]]:
    """All objectives that can be built, in the order in which the package lists them."""
    classes = [getattr(inference, name) for name in inference.__all__]
    return [
        c
        for c in classes
        if inspect.isclass(c) and issubclass(c, DecomposedELBO) and not inspect.isabstract(c)
    ]


def page() -> str:
    """The text of the page."""
    chapters = [chapter(c) for c in objectives()]
    contents = "\n".join(
        f"- [`{c.__name__}`](#{c.__name__.lower()}): {first_line(c)}" for c in objectives()
    )
    aggregate = "\n\n".join(map(paragraph, split(inspect.getdoc(AggregateELBO))[0][1:3]))
    fields = {
        "CONTENTS": contents,
        "OBJECTIVES": "\n\n".join(chapters),
        "AGGREGATE": aggregate,
        "OPTIONS": options(),
        "ESTIMATORS": (DOCS / "measured/estimators.table.md").read_text().strip(),
    }
    text = (DOCS / "templates/objectives.md.in").read_text()
    for name, value in fields.items():
        text = text.replace(f"@{name}@", value)
    return text


def options() -> str:
    """A table of the options that every objective takes."""
    section = split(inspect.getdoc(DecomposedELBO))[1]["Args"]
    rows = [row for row in arguments(DecomposedELBO, section) if not row.startswith("| `weights`")]
    return "\n".join([*TABLE_HEAD, *rows])


def first_line(cls: type) -> str:
    """The first sentence of an objective's docstring, without its references."""
    return inline(
        re.sub(
            r" \[[\d, ]+\]",
            "",
            inspect.getdoc(cls).split("\n\n", 1)[0].rstrip(".").replace("\n", " "),
        )
    )


def chapter(cls: type[DecomposedELBO]) -> str:
    """The section of one objective: formula and text, arguments with defaults, sources."""
    text, sections = split(inspect.getdoc(cls))
    parts = [f"## {cls.__name__}", *map(paragraph, text)]
    rows = [*TABLE_HEAD, *arguments(cls, sections["Args"])]
    parts.append("\n".join(rows))
    references = re.sub(r"\s+", " ", sections.get("References", "")).strip()
    if references:
        parts.append("Sources: " + re.sub(r" (?=\[\d+\])", "; ", references))
    return "\n\n".join(parts)


def split(doc: str) -> tuple[list[str], dict[str, str]]:
    """Paragraphs before the first section, and the sections by name."""
    pieces = re.split(rf"\n\n({'|'.join(SECTIONS)}):\n", doc)
    return pieces[0].split("\n\n"), dict(zip(pieces[1::2], pieces[2::2], strict=True))


def paragraph(text: str) -> str:
    """reStructuredText of a paragraph, a formula or a list as Markdown."""
    if text.startswith(".. math::"):
        return (
            "```math\n"
            + re.sub(r"^ +", "", text.removeprefix(".. math::").strip(), flags=re.MULTILINE)
            + "\n```"
        )
    if text.startswith(DIFFERENCES):
        return "**Other implementations.** " + inline(sentence(text.removeprefix(DIFFERENCES)))
    if text.startswith("- "):
        return inline(re.sub(r"\n +", " ", text))
    return inline(re.sub(r"\n\s*", " ", text))


def sentence(text: str) -> str:
    """One line that begins with a capital."""
    text = re.sub(r"\s+", " ", text).strip()
    return text if text[1:2] in (",", "(") else text[0].upper() + text[1:]


def inline(text: str) -> str:
    """Roles and literals of reStructuredText as code of Markdown."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def arguments(cls: type, section: str) -> list[str]:
    """Rows of a table: name, default, meaning."""
    parameters = inspect.signature(cls).parameters
    rows = []
    for entry in re.split(
        r"\n(?=    \*{0,2}\w+:)", "\n" + inspect.cleandoc(section).replace("\n", "\n    ")
    ):
        name, _, meaning = entry.strip().partition(":")
        if name:
            default = (
                parameters[name.lstrip("*")].default
                if name.lstrip("*") in parameters
                else inspect.Parameter.empty
            )
            shown = "" if default is inspect.Parameter.empty else f"`{as_text(default)}`"
            rows.append(
                f"| `{name}` | {shown} | {inline(sentence(meaning)).replace('|', chr(92) + '|')} |"
            )
    return rows


if __name__ == "__main__":
    PAGE.write_text(page())
