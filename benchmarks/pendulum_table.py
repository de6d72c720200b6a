"""The tables of the pendulum's counterfactuals, in Markdown, from the results of ``benchmarks.pendulum``."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

NODES = ("angle", "light", "shadow_length", "shadow_position")


def table(results: dict[str, Any]) -> str:
    """Errors of images and nodes, then information and axioms; medians over seeds, with the least and the greatest."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in results["runs"]:
        runs.setdefault(run["row"], []).append(run)
    seeds = sorted({run["seed"] for run in results["runs"]})
    setting = results["setting"]
    recipe = (
        f"{setting['size']} x {setting['size']} pixels, seeds {', '.join(map(str, seeds))}, {setting['threads']} thread"
        f" of {setting['machine']}."
    )
    images = errors(results, runs, "image", 1000.0, "thousandths")
    values = errors(results, runs, "nodes", 1.0, "standard deviations")
    return "\n\n".join([recipe, *images, *values, *information(runs), *axioms(runs)]) + "\n"


def errors(
    results: dict[str, Any],
    runs: dict[str, list[dict[str, Any]]],
    key: str,
    scale: float,
    unit: str,
) -> tuple[str, str]:
    """One table: a row for each baseline and each model, a column for each node that is set."""
    what = {
        "image": "Mean squared error of the counterfactual image",
        "nodes": "Root mean squared error of the nodes that are not set",
    }[key]
    rows = {
        name: [f"{scale * by_node[node][key]:.3g}" for node in NODES]
        for name, by_node in results["setting"]["baselines"].items()
    }
    for name, of_row in runs.items():
        rows[name] = [
            spread(of_row, lambda r, n=node: scale * r["errors"][n][key]) for node in NODES
        ]
    return f"{what}, in {unit}:", markdown([f"do({node})" for node in NODES], rows)


def information(runs: dict[str, list[dict[str, Any]]]) -> tuple[str, str]:
    """Means over nodes of both coefficients, and seconds."""
    rows = {
        name: [
            spread(of_row, lambda r: statistics.mean(r["information"]["mic"].values())),
            spread(of_row, lambda r: statistics.mean(r["information"]["tic"].values())),
            spread(of_row, lambda r: r["training_cpu_s"]),
        ]
        for name, of_row in runs.items()
    }
    caption = "Maximal and total information coefficient of each node and its true value, means over nodes:"
    return caption, markdown(["MIC", "TIC", "CPU seconds of training"], rows)


def axioms(runs: dict[str, list[dict[str, Any]]]) -> tuple[str, str]:
    """Composition, and means over nodes of the other three."""

    def over_nodes(key: str) -> Callable[[dict[str, Any]], float]:
        return lambda r: statistics.mean(by_node[key] for by_node in r["axioms"]["nodes"].values())

    rows = {
        name: [
            spread(of_row, lambda r: r["axioms"]["composition"]),
            *(
                spread(of_row, over_nodes(key))
                for key in ("reversibility", "effectiveness", "minimality")
            ),
        ]
        for name, of_row in runs.items()
    }
    caption = (
        "Composition and reversibility are mean absolute errors of pixels: under an empty intervention, and under an"
        " intervention followed by its inverse. Effectiveness is the mean absolute error of the intervened node,"
        " measured in the image, in standard deviations. The last three columns are means over nodes; 0 is best:"
    )
    return caption, markdown(["composition", "reversibility", "effectiveness", "minimality"], rows)


def markdown(columns: list[str], rows: dict[str, list[str]]) -> str:
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(
        [*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())]
    )


def spread(runs: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> str:
    values = [value(run) for run in runs]
    return " ".join(
        [
            f"{statistics.median(values):.3g}",
            *([f"({min(values):.3g} to {max(values):.3g})"] * (len(values) > 1)),
        ]
    )
