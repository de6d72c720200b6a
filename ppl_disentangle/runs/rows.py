"""Rows of a table in a run: reconstructions, traversals and interventions in the units of the table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.columns import Column
from ppl_disentangle.data import FactorDataset, to_frame
from ppl_disentangle.representation import reconstruct
from ppl_disentangle.runs.folder import Fitted, Run
from ppl_disentangle.storage import atomic_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CellUnits",
    "before_after_rows",
    "column_errors",
    "format_before_after",
    "frame_of",
    "write_reconstructions",
    "write_rows",
    "write_traversals",
]

CellUnits = Literal["data", "standard"]
"""The units of the table, or encoded rows: standardised numbers and positions of classes."""

NUM_WRITTEN_ROWS = 1000
"""Held-out rows whose reconstructions are written, and over which errors are averaged."""


def frame_of(data: FactorDataset, rows: Tensor, units: CellUnits = "data") -> pd.DataFrame:
    """Encoded rows ``(num, columns)`` as a frame, in the units of the table or standard units."""
    import pandas as pd

    if units == "data":
        return to_frame(data, rows)
    return pd.DataFrame(rows.cpu().numpy(), columns=[column.name for column in data.columns])


def write_rows(run: Run, name: str, frame: pd.DataFrame) -> None:
    """Write a csv file of ``tables/``, atomically."""
    with atomic_path(run.folder / "tables" / f"{name}.csv") as path:
        frame.to_csv(path)


def write_reconstructions(fitted: Fitted, units: CellUnits = "data") -> None:
    """Write held-out rows beside their reconstructions, which also fill the missing cells.

    ``tables/observed.csv`` and ``tables/reconstructed.csv`` have the same rows and columns. The
    group ``columns`` of the results has the errors of the reconstructions.

    Args:
        fitted: The run with its fitted story.
        units: CellUnits of the cells.
    """
    held_out = fitted.held_out_with_conditions
    shown = held_out.subset(torch.arange(min(NUM_WRITTEN_ROWS, len(held_out))))
    everything = torch.arange(len(shown))
    x = shown.to_float(shown.observations(everything))
    reconstructed = reconstruct(fitted.story, shown)
    labels = shown.row_labels(everything)
    for name, rows in (("observed", x), ("reconstructed", reconstructed)):
        write_rows(fitted.run, name, frame_of(shown, rows, units).set_axis(labels, axis="index"))
    fitted.run.write_group("columns", column_errors(fitted.data, x, reconstructed))


def column_errors(data: FactorDataset, x: Tensor, reconstructed: Tensor) -> xr.Dataset:
    """Errors of reconstructed cells that are observed, by column, beside a constant guess.

    For columns of classes the error is the share of wrong classes, and the constant the most
    frequent class; for others it is the root of the mean squared error in the units of the table
    (levels are 0, 1, …), and the constant the mean.

    Args:
        data: The table.
        x: Encoded rows ``(num, columns)``, NaN where missing.
        reconstructed: Their reconstructions.

    Returns:
        ``type``, ``likelihood``, ``missing`` (a share), ``error`` and ``error_of_constant`` over
        ``column``.
    """
    pairs = [
        _column_errors(column, x[:, k].double(), reconstructed[:, k].double())
        for k, column in enumerate(data.columns)
    ]
    own, of_constant = np.array(pairs).T
    return xr.Dataset(
        {
            "type": ("column", [column.kind for column in data.columns]),
            "likelihood": ("column", [str(column.likelihood) for column in data.columns]),
            "missing": ("column", x.isnan().float().mean(0).numpy()),
            "error": ("column", own),
            "error_of_constant": ("column", of_constant),
        },
        {"column": [str(column.name) for column in data.columns]},
    )


def _column_errors(column: Column, cells: Tensor, guess: Tensor) -> tuple[float, float]:
    """The error of a guess at the cells of a column, and the error of the best constant."""
    known = ~cells.isnan()
    if not known.any():
        return math.nan, math.nan
    truth = cells[known]
    if column.kind == "class":
        return _share(truth != guess[known]), _share(truth != truth.mode().values)
    scale = column.scale if column.kind == "number" else 1.0
    constant = truth.mean()
    errors = [_root_mean_square(truth - values) for values in (guess[known], constant)]
    return scale * errors[0], scale * errors[1]


def _share(wrong: Tensor) -> float:
    return wrong.double().mean().item()


def _root_mean_square(difference: Tensor) -> float:
    return difference.square().mean().sqrt().item()


def write_traversals(fitted: Fitted, traversals: xr.DataArray, units: CellUnits = "data") -> None:
    """Write the rows of traversals: the first held-out row while one code changes.

    Args:
        fitted: The run with its fitted story.
        traversals: Result of :func:`~ppl_disentangle.traversal.traverse`.
        units: CellUnits of the cells of ``tables/traversals.csv``.
    """
    positions = traversals.sizes["position"]
    rows = torch.from_numpy(traversals.values.reshape(-1, len(fitted.data.columns)))
    frame = frame_of(fitted.data, rows, units)
    frame.insert(0, "value of the code", traversals["value"].values.ravel())
    frame.index = np.repeat(traversals["code"].values, positions)
    write_rows(fitted.run, "traversals", frame.rename_axis("code"))


def before_after_rows(
    data: FactorDataset, result: xr.Dataset, units: CellUnits = "data"
) -> pd.DataFrame:
    """Rows before and after an intervention, one below the other, as a frame.

    Args:
        data: The table.
        result: Result of :func:`~ppl_disentangle.runs.before_after.intervene`.
        units: CellUnits of the cells.
    """
    import pandas as pd

    frames = {}
    for when in ("before", "after"):
        rows = torch.from_numpy(result[when].values)
        frames[when] = frame_of(data, rows.reshape(-1, len(data.columns)), units)
    return pd.concat(frames, names=["when", "row"])


def format_before_after(frame: pd.DataFrame) -> list[str]:
    """Lines of a table of the columns before and after: means, or the most frequent values.

    Args:
        frame: Result of :func:`before_after_rows`.
    """
    width = max([len("column"), *(len(str(name)) for name in frame.columns)])
    lines = [f"{'column':<{width}} {'before':>12} {'after':>12}"]
    for name in frame.columns:
        before, after = (_typical(frame.loc[when, name]) for when in ("before", "after"))
        lines.append(f"{name!s:<{width}} {before:>12} {after:>12}")
    return lines


def _typical(cells: pd.Series) -> str:
    """The mean of numbers, or the most frequent of other values."""
    import pandas as pd

    is_number = pd.api.types.is_numeric_dtype(cells)
    return f"{cells.mean():.4g}" if is_number else str(cells.mode().iloc[0])
