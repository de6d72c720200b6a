"""Write ``docs/results.md`` and its picture from a study.

python docs/templates/write_results.py runs/comparison    # keeps its scores in measured/results.json, writes the page
python docs/templates/write_results.py                    # writes the page
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ppl_disentangle.runs.folder import Run
from ppl_disentangle.runs.training import processor
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.studies.grid import read_grid, trials
from ppl_disentangle.studies.study import results

DOCS = Path(__file__).parents[1]
GRID = DOCS.parent / "examples" / "comparison.toml"
RESULTS, PAGE, TEMPLATE, PICTURE = (
    DOCS / name
    for name in (
        "measured/results.json",
        "results.md",
        "templates/results.md.in",
        "images/results.png",
    )
)
METRICS = (
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "factor_vae_score",
    "mcc_pearson",
    "log_likelihood",
)
REFERENCES = ("chance", "ceiling")


def keep(folder: Path) -> None:
    """Keep the scores of the finished runs of the comparison, and their settings."""
    study = results(trials(read_grid(GRID)), folder)
    rows = []
    for place in np.argwhere(study["status"].values == "done"):
        run = study.isel(dict(zip(("model", "setting", "data", "seed"), place, strict=True)))
        scores = {name: values(run[name]) for name in ("score", *REFERENCES)}
        scores |= {
            str(b): values(run["baseline_score"].sel(baseline=b)) for b in run["baseline"].values
        }
        setting = {
            "model": str(run["model"].item()),
            "value": str(run["value"].item()),
            "data": str(run["data"].item()),
        }
        rows.append(
            setting | {"seed": int(run["seed"]), "seconds": float(run["seconds"]), "scores": scores}
        )
    config = Run.open(
        next(path.parent for path in sorted(folder.glob("trials/*/done.json")))
    ).config
    setting = {
        "training": config["training"],
        "evaluation": config["evaluation"],
        "network": config["story"]["network"],
    }
    kept = {"machine": f"{processor()}, one thread a run", "setting": setting, "runs": rows}
    with atomic_path(RESULTS) as path:
        path.write_text(json.dumps(kept, indent=1) + "\n")


def values(scores: xr.DataArray) -> dict[str, float]:
    """Finite scores by metric."""
    found = {m: float(scores.sel(metric=m)) for m in METRICS if m in scores["metric"].values}
    return {name: round(value, 4) for name, value in found.items() if np.isfinite(value)}


def cell(numbers: list[float]) -> str:
    """The median and the range of some numbers as text."""
    if not numbers:
        return ""
    digits = 1 if max(map(abs, numbers)) >= 10 else 3
    if max(numbers) == min(numbers):
        return f"{numbers[0]:.{digits}f}"
    return (
        f"{np.median(numbers):.{digits}f} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"
    )


def table(runs: list[dict], steps: int) -> str:
    """A table with a row for each model, then for each baseline, chance and the ceiling."""
    names = [m for m in METRICS if any(m in r["scores"]["score"] for r in runs)]
    lines = [
        "| | seeds | " + " | ".join(f"`{m}`" for m in names) + " | ms a step |",
        "|---" * (len(names) + 3) + "|",
    ]
    for model in dict.fromkeys((r["model"], r["value"]) for r in runs):
        own = [r for r in runs if (r["model"], r["value"]) == model]
        cells = [
            cell([r["scores"]["score"][m] for r in own if m in r["scores"]["score"]]) for m in names
        ]
        speed = cell([1000 * r["seconds"] / steps for r in own])
        lines.append(
            f"| {' '.join(filter(None, model))} | {len(own)} | {' | '.join(cells)} | {speed} |"
        )
    for reference in dict.fromkeys(name for r in runs for name in r["scores"] if name != "score"):
        found = [
            [r["scores"][reference][m] for r in runs if m in r["scores"].get(reference, {})]
            for m in names
        ]
        if any(found):
            lines.append(f"| *{reference}* | | {' | '.join(map(cell, found))} | |")
    return "\n".join(lines)


def draw(kept: dict) -> Figure:
    """Draw the scores of every seed by model, metric and data."""
    shown = METRICS[:5]
    sets = list(dict.fromkeys(r["data"] for r in kept["runs"]))
    models = list(dict.fromkeys(r["model"] for r in kept["runs"]))
    figure = Figure(figsize=(2.4 * len(shown), 1.6 + 1.1 * len(sets)), layout="constrained")
    grid = figure.subplots(len(sets), len(shown), squeeze=False, sharey=True)
    for row, data in zip(grid, sets, strict=True):
        for axes, metric in zip(row, shown, strict=True):
            own = [r for r in kept["runs"] if r["data"] == data and metric in r["scores"]["score"]]
            places = [models.index(r["model"]) for r in own]
            axes.scatter(
                [r["scores"]["score"][metric] for r in own],
                places,
                s=14,
                color="#2b6cb0",
                alpha=0.7,
                zorder=3,
            )
            for name, style in (("PCA", ":"), ("ceiling", "-")):
                levels = [
                    r["scores"][name][metric] for r in own if metric in r["scores"].get(name, {})
                ]
                if levels:
                    axes.axvline(
                        float(np.median(levels)), color="#a0aec0", linestyle=style, linewidth=1
                    )
            axes.set_title(metric.replace("_", " "), fontsize=8)
            axes.set_xlim(left=0)
            axes.set_yticks(range(len(models)), models, fontsize=7)
            axes.tick_params(axis="x", labelsize=7)
        row[0].set_ylabel(data, fontsize=9)
    grid[0, 0].invert_yaxis()
    return figure


def page() -> str:
    """The page as it should be."""
    kept = json.loads(RESULTS.read_text())
    steps = kept["setting"]["training"]["steps"]
    chapters = [
        f"## {data}\n\n{table([r for r in kept['runs'] if r['data'] == data], steps)}"
        for data in dict.fromkeys(r["data"] for r in kept["runs"])
    ]
    training = ", ".join(
        f"{k} {v}" for k, v in kept["setting"]["training"].items() if v is not None and k != "seed"
    )
    text = TEMPLATE.read_text()
    fields = {
        "RUNS": str(len(kept["runs"])),
        "MACHINE": kept["machine"],
        "TRAINING": training,
        "NETWORK": str(kept["setting"]["network"]),
        "TABLES": "\n\n".join(chapters),
    }
    for name, value in fields.items():
        text = text.replace(f"@{name}@", value)
    return text


def main() -> None:
    """Keep the scores of a study if one is named; write the page and its picture."""
    if sys.argv[1:]:
        keep(Path(sys.argv[1]))
    with atomic_path(PAGE) as path:
        path.write_text(page())
    with atomic_path(PICTURE) as path:
        draw(json.loads(RESULTS.read_text())).savefig(path, format="png", dpi=110)


if __name__ == "__main__":
    main()
