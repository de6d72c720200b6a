"""Write ``docs/causal.md`` from its template.

python docs/templates/write_causal.py run    # the programs of the page, some minutes; keeps output and pictures
python docs/templates/write_causal.py        # writes the page from the kept output, docstrings and tables
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ppl_disentangle import counterfactual, decode, models, plots
from ppl_disentangle.causal import mechanisms
from ppl_disentangle.causal.mechanisms import InvertibleMechanism, Mechanism
from ppl_disentangle.plots.dag import plot_dag
from ppl_disentangle.runs.training import processor
from ppl_disentangle.storage import atomic_path

DOCS = Path(__file__).parents[1]
TEMPLATE = DOCS / "templates" / "causal.md.in"
PAGE = DOCS / "causal.md"
RESULTS = DOCS / "measured" / "causal.json"
IMAGES = DOCS / "images"
STORIES = ("CausalVAE", "CausalVAEPaper", "DEAR", "DeepSCM", "StructuralIVAE")
TABLES = {
    "pendulum": "Pendulum: counterfactual images against the truth",
    "thickness": "Thickness and intensity: density against the truth",
    "graphs": "Learned graphs",
    "worlds": "Worlds in one pass",
}
"""Tables of the benchmarks, ``docs/measured/NAME.table.md``, and their headings on the page."""


def programs() -> list[str]:
    """The programs of the page, in order."""
    return re.findall(r"```python\n(.*?)```", TEMPLATE.read_text(), re.DOTALL)


def outputs(sources: list[str], names: dict[str, Any]) -> Iterator[str]:
    """The output of each program; all run in one namespace."""
    for source in sources:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(source, names)
        yield printed.getvalue().rstrip()


def run() -> None:
    """Run the programs, keep their output, and draw the pictures from their variables."""
    torch.set_num_threads(1)
    names: dict[str, Any] = {"__name__": "causal"}
    start = time.monotonic()
    printed = list(outputs(programs(), names))
    seconds = round(time.monotonic() - start)
    results = {"machine": f"{processor()}, one thread", "seconds": seconds, "outputs": printed}
    with atomic_path(RESULTS) as path:
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    draw(names)


def draw(names: dict[str, Any]) -> None:
    """The pictures of the page."""
    data, story, trained, x, truth = (names[n] for n in ("data", "story", "trained", "x", "truth"))
    figures = {"graph": plot_dag(story.dag), "hospital": names["figure"]}
    shown = slice(8)
    before, after = (
        torch.tensor(names["what_if"]["x"].isel(world=w).mean("draw").values)[shown] for w in (0, 1)
    )
    others = {"observed": x[shown], "truth": names["true_images"][shown]}
    figures["counterfactual"] = plots.plot_intervention(
        before, after, title="light = 1, had it been so", **others
    )
    near = ((truth[:, 3] - 1.5).abs() < 0.1).nonzero()[:8, 0]
    torch.manual_seed(0)
    nodes = trained.prior.values_of({n: torch.randn(8, 1) for n in trained.prior.names})
    nodes["shadow_position"] = torch.full((8, 1), 1.5)
    noise = {f"{n}_noise": value for n, value in trained.prior.noise_of(nodes).items()}
    had_been = counterfactual(trained, x[shown], {"shadow_position": 1.5}, num_samples=None)["x"]
    rows = {
        "seen at 1.5": data.to_float(data.observations(near)),
        "set to 1.5": decode(trained, noise),
        "these …": x[shown],
        "… had it been": torch.tensor(had_been.isel(world=0, draw=0).values),
    }
    figures["rungs"] = plots.plot_rows(rows)
    IMAGES.mkdir(exist_ok=True)
    for name, figure in figures.items():
        with atomic_path(IMAGES / f"causal_{name}.png") as path:
            figure.savefig(path, format="png")


def page() -> str:
    """The page as it should be."""
    results = json.loads(RESULTS.read_text())
    kept = iter(results["outputs"])

    def with_output(match: re.Match[str]) -> str:
        printed = next(kept)
        return match[0] + (f"\n\n```text\n{printed}\n```" if printed else "")

    text = re.sub(r"```python\n.*?```", with_output, TEMPLATE.read_text(), flags=re.DOTALL)
    fields = {
        "MACHINE": results["machine"],
        "MECHANISMS": mechanism_table(),
        "STORIES": story_table(),
        "TABLES": "".join(f"\n## {title}\n\n{table}\n" for title, table in measured().items()),
    }
    for name, value in fields.items():
        text = text.replace(f"@{name}@", value)
    return text


def measured() -> dict[str, str]:
    """The tables that there are, by heading."""
    paths = {title: DOCS / f"measured/{name}.table.md" for name, title in TABLES.items()}
    return {title: path.read_text().strip() for title, path in paths.items() if path.exists()}


def mechanism_table() -> str:
    """A table of the mechanisms: their purpose, and whether a value determines its noise."""
    classes = [getattr(mechanisms, name) for name in mechanisms.__all__]
    built = [c for c in classes if not inspect.isabstract(c) and issubclass(c, Mechanism)]
    rows = ["| mechanism | | noise given the value |", "|---|---|---|"]
    for cls in built:
        noise = (
            "determined"
            if issubclass(cls, InvertibleMechanism) or cls.__name__ == "GivenRoot"
            else "a draw"
        )
        rows.append(f"| `{cls.__name__}` | {first_line(cls)} | {noise} |")
    return "\n".join(rows)


def story_table() -> str:
    """The structural stories."""
    rows = [f"| `{name}` | {first_line(getattr(models, name))} |" for name in STORIES]
    return "\n".join(["| story | |", "|---|---|", *rows])


def first_line(cls: type) -> str:
    """The first sentence of the docstring of a class, for a table."""
    sentence = (inspect.getdoc(cls) or "").split("\n\n", 1)[0].replace("\n", " ").rstrip(".:")
    sentence = re.sub(r" \[[\d, ]+\]", "", sentence)
    return re.sub(r":\w+:`([^`]*)`", lambda m: f"${m[1]}$", sentence)


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        run()
    with atomic_path(PAGE) as target:
        target.write_text(page())
