"""Write ``docs/metrics.md`` from docstrings: ``python docs/templates/write_metrics.py [score]``."""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from write_objectives import arguments, first_line, paragraph, split

from ppl_disentangle import metrics
from ppl_disentangle.data import Sprites
from ppl_disentangle.storage import atomic_path

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "metrics.md"
CODES = DOCS / "measured/metrics_codes.json"
GROUPS = {
    "Codes and factors": (
        *("mig", "mig_exact", "mig_sup", "dcimig", "jemmig"),
        *("modularity", "explicitness", "infomec", "dci", "sap"),
        *("irs", "irs_of_grid", "mcc"),
        *("beta_vae_score", "beta_vae_score_from_codes"),
        *("factor_vae_score", "factor_vae_score_from_codes"),
    ),
    "Codes alone": (
        *("gaussian_total_correlation", "wasserstein_correlation", "mean_mutual_information"),
        *("active_units", "collapsed", "mmcs"),
    ),
    "Several models of the same data": ("udr", "model_centrality"),
    "Downstream use of the codes": (
        *("downstream_accuracy", "sample_efficiency", "leakage"),
        *("unfairness", "unfairness_from_codes"),
    ),
}
SETTINGS = {"num_data": 10_000, "num_test": 5_000, "dci_predictor": "lightgbm", "seed": 0}


def metric_functions() -> list[Callable[..., Any]]:
    """The metrics of the page, in order."""
    return [getattr(metrics, name) for names in GROUPS.values() for name in names]


def page() -> str:
    """The text of the page."""
    contents: list[str] = []
    chapters: list[str] = []
    for title, names in GROUPS.items():
        functions = [getattr(metrics, name) for name in names]
        contents.append(f"- {title}")
        contents += [f"  - [`{f.__name__}`](#{f.__name__}): {first_line(f)}" for f in functions]
        chapters.append(f"# {title}")
        chapters += [chapter(f) for f in functions]
    measured = json.loads(CODES.read_text())
    fields = {
        "CONTENTS": "\n".join(contents),
        "METRICS": "\n\n".join(chapters),
        "CODES": table(measured["codes"], measured["standard_errors"]),
        "SETTINGS": settings(measured["settings"]),
    }
    text = (DOCS / "templates/metrics.md.in").read_text()
    for name, value in fields.items():
        text = text.replace(f"@{name}@", value)
    return text


def chapter(function: Callable[..., Any]) -> str:
    """The chapter of a metric: formula and text, range, weakness, arguments with defaults, sources."""
    text, sections = split(inspect.getdoc(function))
    parts = [f"## {function.__name__}", *(piece_of_text(piece) for piece in text)]
    parts += [
        "| argument | default | |\n|---|---|---|\n"
        + "\n".join(arguments(function, sections["Args"]))
    ]
    references = re.sub(r"\s+", " ", sections.get("References", "")).strip()
    if references:
        parts.append("Sources: " + re.sub(r" (?=\[\d+\])", "; ", references))
    return "\n\n".join(parts)


def piece_of_text(text: str) -> str:
    """A paragraph, list or formula as Markdown; the words Range and Weakness are set in bold."""
    marked = paragraph(re.sub(r"^\* ", "- ", text, flags=re.MULTILINE))
    if marked.startswith("```math") and "&" in marked:
        return (
            marked.replace("```math\n", "```math\n\\begin{aligned}\n").removesuffix("```")
            + "\\end{aligned}\n```"
        )
    return re.sub(r"^(Range|Weakness):", r"**\1:**", marked)


def settings(attributes: dict[str, Any]) -> str:
    """The settings of the scores, in a sentence."""
    rows = f"{attributes['num_data']:,} training and {attributes['num_test']:,} test rows"
    return f"{rows}, trees by {attributes['dci_predictor']}, {attributes['versions']}, seed {attributes['seed']}."


def table(scores: dict[str, dict[str, float]], errors: dict[str, float]) -> str:
    """One row per metric, one column per code, and the cost of the rotation as a share of the way to chance."""
    lines = ["| | " + " | ".join(scores) + " | rotation costs |", "|---" * (len(scores) + 2) + "|"]
    for metric, perfect in scores["perfect"].items():
        if math.isnan(perfect):
            continue
        cells = []
        for code, score_of in scores.items():
            error = errors[metric] if code == "rotated" else 0
            cells.append(written(score_of[metric], error))
        cost = rotation_cost(perfect, scores["rotated"][metric], scores["permuted"][metric])
        lines.append(f"| {metric} | " + " | ".join(cells) + f" | {cost} |")
    return "\n".join(lines)


def rotation_cost(perfect: float, rotated: float, chance: float) -> str:
    """The loss of the rotated code as a share of the distance from the perfect code to chance; "" if that is tiny."""
    distance = perfect - chance
    return f"{max((perfect - rotated) / distance, 0):.0%}" if distance > 0.05 else ""


def written(value: float, error: float) -> str:
    """A score, with its standard error if there is one."""
    number = "" if math.isnan(value) else f"{value:.3f}"
    return number if not error >= 5e-4 else f"{number} ± {error:.3f}"


def codes_of_the_grid() -> dict[str, np.ndarray]:
    """Four codes of all sprites, in the order of the grid."""
    sprites = Sprites()
    rng = np.random.default_rng(0)
    factors = sprites.factors(torch.arange(len(sprites))).numpy()
    perfect = (factors - factors.mean(0)) / factors.std(0)
    return {
        "perfect": perfect,
        "rotated": perfect @ np.linalg.qr(rng.standard_normal((5, 5)))[0],
        "noisy": perfect + 0.5 * rng.standard_normal(perfect.shape),
        "dead": np.hstack([perfect, np.zeros_like(perfect)]),
    }


def score_codes() -> None:
    """Score the rotated codes, with the other codes as baselines on the same rows, and store the numbers."""
    others = codes_of_the_grid()
    scores = metrics.evaluate(others.pop("rotated"), Sprites(), baselines=others, **SETTINGS)
    columns = {name: scores["baseline_estimate"].sel(baseline=name) for name in others}
    columns |= {"rotated": scores["estimate"], "permuted": scores["chance"]}
    order = ("perfect", "rotated", "noisy", "dead", "permuted")
    stored = {
        "settings": {k: v for k, v in scores.attrs.items() if k in SETTINGS or k == "versions"},
        "codes": {name: numbers(columns[name]) for name in order},
        "standard_errors": numbers(scores["standard_error"]),
    }
    with atomic_path(CODES) as path:
        path.write_text(json.dumps(stored, indent=1) + "\n")


def numbers(scores: xr.DataArray) -> dict[str, float]:
    """Scores by the names of their metrics."""
    return {str(m): round(scores.sel(metric=m).item(), 6) for m in scores["metric"].values}


if __name__ == "__main__":
    if sys.argv[1:] == ["score"]:
        score_codes()
    PAGE.write_text(page())
