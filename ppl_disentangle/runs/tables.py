"""Tables for the terminal and the report: scores, and nodes before and after an intervention."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

__all__ = ["describe_nodes", "format_nodes", "format_scores", "node_columns", "reasons_of"]

MIN_SCORE_WIDTH = 9
MIN_NODE_WIDTH = 7


def format_scores(scores: xr.Dataset, *, own: str = "this model") -> Sequence[str]:
    """Write scores as lines of text, a metric a line.

    Args:
        scores: Result of :func:`~ppl_disentangle.metrics.evaluate`.
        own: Heading of the column of the model that was scored.

    Returns:
        Lines with the score of the model, its standard error, the baselines, chance and the
        ceiling. A dash stands for a missing number; lines at the end give the reasons for
        scores of the model that could not be computed.
    """
    columns = {own: scores["estimate"]}
    if "standard_error" in scores:
        columns["std error"] = scores["standard_error"]
    if "baseline_estimate" in scores:
        for baseline in scores["baseline"].values:
            columns[str(baseline)] = scores["baseline_estimate"].sel(baseline=baseline)
    columns |= {"chance": scores["chance"], "ceiling": scores["ceiling"]}
    names = [str(name) for name in scores["metric"].values]
    widths = {column: max(MIN_SCORE_WIDTH, len(column)) for column in columns}
    first = max(map(len, names))
    headings = [f"{column:>{width}}" for column, width in widths.items()]
    lines = [" ".join([" " * first, *headings])]
    for name in names:
        row = {column: values.sel(metric=name).item() for column, values in columns.items()}
        lines.append(_line([f"{name:<{first}}"], row, widths))
    if "rows" in scores.attrs:
        lines.append(f"rows of {scores.attrs['rows']}")
    reasons = reasons_of(scores)
    return lines + [f"– {name}: {reason}" for name, reason in reasons.items()]


def reasons_of(scores: xr.Dataset) -> dict[str, str]:
    """The reasons for scores of the model that could not be computed, by metric."""
    reasons: dict[str, str] = json.loads(scores.attrs.get("reasons", "{}"))
    return reasons


def describe_nodes(result: xr.Dataset) -> list[str]:
    """Describe an intervention in sentences: the question, the units, the scales and the errors.

    Args:
        result: Result of :func:`~ppl_disentangle.runs.before_after.intervene` for a story with a
            graph.
    """
    attributes = result.attrs
    lines = [f"{attributes['rung']} do({attributes['do']}): {_describe_units(result)}."]
    lines.append(_describe_scales(result))
    if attributes.get("truth") == "known":
        lines.append(
            f"Mean squared error of the images: {attributes['error']:.5f};"
            f" of the unchanged images: {attributes['error_of_doing_nothing']:.5f}."
        )
    elif "truth" in attributes:
        lines.append(f"The true counterfactuals are {attributes['truth']}.")
    return lines


def _describe_units(result: xr.Dataset) -> str:
    """Say which units were compared, and whether their pixels have noise."""
    number = result.attrs["num_units"]
    if result.attrs["rung"] == "intervention":
        return f"{number} units drawn from the model, with the same noise before and after"
    mean_images = result.attrs["pixel_noise"] == "mean"
    pixels = "mean images" if mean_images else "images with the pixel noise of each unit"
    return f"{number} held-out units as they would have been; {pixels}"


def _describe_scales(result: xr.Dataset) -> str:
    """Say how values are converted to the scales of the data."""
    formulas = []
    for name in map(str, result["node"].values):
        node = result.sel(node=name)
        if np.isfinite(node["scale"]):
            mean = node["mean"].item()
            formulas.append(f"{name} = {mean:.4g} + {node['scale'].item():.4g} · value")
    if not formulas:
        return "Values are in the model's own scale: no labels tie them to the data."
    return (
        "Values are in standard deviations of the labels from their mean; in the data's units"
        f" {', '.join(formulas)}."
    )


def node_columns(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Choose the columns of the table of nodes, each over ``node``.

    Columns without any finite number are left out.
    """
    columns = {
        "before": result["mean_before"],
        "after": result["mean_after"],
        "change": result["change"],
        "in the data's units": result["change"] * result["scale"],
        "read back": result["read_back"],
    }
    if "true_change" in result:
        columns["true change"] = result["true_change"]
        columns["error"] = result["error"]
        columns["error if unchanged"] = result["error_of_doing_nothing"]
    return {name: column for name, column in columns.items() if np.isfinite(column).any()}


def format_nodes(result: xr.Dataset) -> Sequence[str]:
    """Write the table of nodes as lines of text, a node a line."""
    columns = node_columns(result)
    nodes = [str(node) for node in result["node"].values]
    relations = [str(relation) for relation in result["is"].values]
    first = max(map(len, nodes))
    second = max(map(len, relations))
    widths = {column: max(MIN_NODE_WIDTH, len(column)) for column in columns}
    headings = [f"{column:>{width}}" for column, width in widths.items()]
    lines = [" ".join([" " * (first + second + 2), " moved", *headings])]
    for node, relation in zip(nodes, relations, strict=True):
        moved = result["moved"].sel(node=node).item()
        row = {column: values.sel(node=node).item() for column, values in columns.items()}
        lines.append(
            _line([f"{node:<{first}}  {relation:<{second}}", f"{moved:6.0%}"], row, widths)
        )
    return lines


def _line(start: list[str], row: Mapping[str, float], widths: Mapping[str, int]) -> str:
    """Write numbers behind the start of a line, with a dash for a missing number."""
    cells = [f"{row[column]:{width}.3f}" for column, width in widths.items()]
    return " ".join([*start, *(cell.replace("nan", "  –") for cell in cells)])
