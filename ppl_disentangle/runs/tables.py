"""What an intervention on nodes came to, as sentences and as a table: for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

__all__ = ["format_nodes", "node_columns", "sentences"]


def sentences(result: xr.Dataset) -> list[str]:
    """Which question was asked of which units, in which units its values are, and how right the images are.

    Args:
        result: what :meth:`~ppl_disentangle.runs.folder.Run.intervene` returned for a story with a graph.
    """
    told = result.attrs
    if told["rung"] == "intervention":
        units = f"{told['num_units']} units drawn from the model; the same noise before and after"
    else:
        pixels = (
            "mean images" if told["pixel_noise"] == "mean" else "with the pixel noise of each unit"
        )
        units = f"what {told['num_units']} held-out units would have been; {pixels}"
    lines = [f"{told['rung']} do({told['do']}): {units}."]
    known = [
        str(node) for node in result["node"].values if np.isfinite(result["scale"].sel(node=node))
    ]
    if known:
        places = [(n, *(result[k].sel(node=n).item() for k in ("mean", "scale"))) for n in known]
        formulas = ", ".join(f"{n} = {mean:.4g} + {scale:.4g} · value" for n, mean, scale in places)
        lines.append(
            f"Values are in standard deviations of the labels from their mean; in the data's units {formulas}."
        )
    else:
        lines.append(
            "Values are in the model's own units: no labels tie them to those of the data."
        )
    if told.get("truth") == "known":
        error, alone = told["error"], told["error_of_doing_nothing"]
        lines.append(
            f"Mean squared error of the images {error:.5f}, of leaving them as they are {alone:.5f}."
        )
    elif "truth" in told:
        lines.append(f"The true counterfactuals are {told['truth']}.")
    return lines


def node_columns(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """The columns of the table of nodes, each over ``node``, without those of which nothing is known."""
    columns = {
        "before": result["mean_before"],
        "after": result["mean_after"],
        "change": result["change"],
        "in the data's units": result["change"] * result["scale"],
        "read back": result["read_back"],
    }
    if "true_change" in result:
        columns |= {"true change": result["true_change"], "error": result["error"]}
        columns |= {"error if left alone": result["error_of_doing_nothing"]}
    return {name: column for name, column in columns.items() if np.isfinite(column).any()}


def format_nodes(result: xr.Dataset) -> Sequence[str]:
    """The table of nodes as lines of text."""
    columns = node_columns(result)
    nodes, kinds = (list(map(str, result[name].values)) for name in ("node", "is"))
    first, second = (max(map(len, column)) for column in (nodes, kinds))
    lines = [
        " ".join(
            [
                " " * (first + second + 2),
                " moved",
                *(f"{name:>{max(7, len(name))}}" for name in columns),
            ]
        )
    ]
    for node, kind in zip(nodes, kinds, strict=True):
        cells = [f"{c.sel(node=node).item():{max(7, len(name))}.3f}" for name, c in columns.items()]
        moved = f"{result['moved'].sel(node=node).item():6.0%}"
        lines.append(
            " ".join([f"{node:<{first}}  {kind:<{second}}", moved, *cells]).replace("nan", "  –")
        )
    return lines
