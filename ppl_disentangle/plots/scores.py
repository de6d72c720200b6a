"""Figures of scores: the map of factors, sweeps of a study and rank correlations."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppl_disentangle.plots.panels import add_legend, make_panels
from ppl_disentangle.plots.sheet import (
    BLUE,
    DPI,
    INK,
    ORANGE,
    SMALL,
    TEXT,
    WIDTH,
    number_text,
    text_width,
)

__all__ = ["plot_factor_map", "plot_rank_correlation", "plot_sweep"]

DARK_SHARE = 0.55
"""Share from which on the cell of a factor map is dark, and its number white."""
DARK_CORRELATION = 0.6


def plot_factor_map(matrix: xr.DataArray) -> Figure:
    """Plot the information between codes and factors as a table of shaded numbers.

    The largest number of each factor is in bold.

    Args:
        matrix: Mutual information over the entropy of the factor, in [0, 1], over ``code`` and
            ``factor``.

    Example:
        >>> matrix = xr.DataArray(
        ...     [[0.9, 0.0], [0.1, 0.4]], {"code": ["z", "w"], "factor": ["x", "size"]}
        ... )
        >>> [text.get_text() for text in plot_factor_map(matrix).axes[0].texts]
        ['0.90', '0.00', '0.10', '0.40']
    """
    numbers = matrix.transpose("code", "factor").values
    codes = [str(name) for name in matrix["code"].values]
    factors = [str(name) for name in matrix["factor"].values]
    size = (WIDTH, 0.9 + 0.34 * len(codes))
    figure = Figure(size, dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot(facecolor="white")
    axes.pcolormesh(numbers, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=2)
    axes.invert_yaxis()
    _write_shares(axes, numbers)
    _label_cells(axes, codes, factors)
    return figure


def _label_cells(axes: Axes, codes: Sequence[str], factors: Sequence[str]) -> None:
    """Write codes at the left and factors above, slanted where they are too long."""
    axes.set_xticks(np.arange(len(factors)) + 0.5, factors)
    axes.set_yticks(np.arange(len(codes)) + 0.5, codes)
    axes.tick_params(labelsize=TEXT, labelcolor=INK, length=0)
    axes.tick_params(labeltop=True, labelbottom=False)
    if max(map(text_width, factors)) > 5 / len(factors):
        axes.tick_params(axis="x", labelrotation=30)
    axes.spines[:].set_visible(False)


def _write_shares(axes: Axes, numbers: np.ndarray) -> None:
    """Write a number into each cell, the largest of each column in bold."""
    largest = np.nanmax(numbers, axis=0, initial=-np.inf, where=~np.isnan(numbers))
    for (row, column), number in np.ndenumerate(numbers):
        bold = 0.005 <= number == largest[column]  # smaller numbers are written as 0.00
        axes.text(
            column + 0.5,
            row + 0.5,
            number_text(number, ".2f"),
            ha="center",
            va="center",
            fontsize=TEXT,
            color="white" if number > DARK_SHARE else INK,
            fontweight="bold" if bold else "normal",
        )


def plot_sweep(study: xr.Dataset, metric: str) -> Figure:
    """Plot a score against the swept hyper-parameter, a panel for each model and data set.

    Dots are seeds and the line goes through their medians. The dashed line is the score of a
    perfect code, the dotted line the score of random codes.

    Args:
        study: Result of :func:`~ppl_disentangle.studies.study.results`.
        metric: Name of the score.
    """
    runs = study[["score", "chance", "ceiling"]].sel(metric=metric)
    pairs = [(model, data) for model in study["model"].values for data in study["data"].values]
    titles = [f"{model} · {data}" for model, data in pairs]
    figure, panels = make_panels(titles, min(3, len(pairs)), height=1.5)
    for axes, (model, data) in zip(panels, pairs, strict=True):
        _draw_sweep(axes, runs.sel(model=model, data=data), study["value"].sel(model=model).values)
    figure.supylabel(metric, fontsize=TEXT, color=INK)
    add_legend(figure)
    return figure


def _draw_sweep(axes: Axes, runs: xr.Dataset, values: np.ndarray) -> None:
    """Draw the scores over ``setting`` and ``seed`` of one model on one data set."""
    has_runs = runs["score"].notnull().any("seed").values
    scores = runs["score"].transpose("setting", "seed").values[has_runs]
    _draw_seeds(axes, scores)
    for name, style in (("ceiling", "--"), ("chance", ":")):
        level = float(runs[name].median())
        if np.isfinite(level):
            axes.axhline(level, color=ORANGE, lw=0.8, ls=style, label=name)
    labels = [_swept_value(str(value)) for value in values[has_runs]]
    axes.set_xticks(range(len(labels)), labels)


def _draw_seeds(axes: Axes, scores: np.ndarray) -> None:
    """Draw scores ``(setting, seed)`` as dots, and a line through the medians of the settings."""
    for place, seeds in enumerate(scores):
        places = np.full(seeds.shape, place)
        axes.plot(places, seeds, "o", color=BLUE, ms=3, alpha=0.6, label="a seed")
    medians = np.nanmedian(scores, -1) if len(scores) else []
    axes.plot(range(len(scores)), medians, color=BLUE, lw=1.2, label="median")


def _swept_value(setting: str) -> str:
    """Write the value of a setting such as ``beta=4`` shortly: ``4``, or ``→ 4`` for a schedule."""
    text = setting.partition("=")[2]
    value = json.loads(text) if text else ""
    if isinstance(value, list) and len(value) == 3:  # start, end and steps of a schedule
        return f"→ {value[1]:g}"
    return f"{value:g}" if isinstance(value, int | float) else text


def plot_rank_correlation(correlation: xr.DataArray) -> Figure:
    """Plot how alike two metrics rank the same runs, a panel for each data set.

    Args:
        correlation: Result of :func:`~ppl_disentangle.studies.analysis.rank_correlation`.
    """
    names = [str(name) for name in correlation["metric"].values]
    data_sets = [str(name) for name in correlation["data"].values]
    height = 1.0 + 0.28 * len(names)
    figure, panels = make_panels(data_sets, min(2, len(data_sets)), height=height)
    for axes, data in zip(panels, data_sets, strict=True):
        values = correlation.sel(data=data).values
        axes.imshow(np.nan_to_num(values), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.grid(visible=False)
        _write_correlations(axes, values)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
    return figure


def _write_correlations(axes: Axes, values: np.ndarray) -> None:
    """Write a correlation into each cell, a dash where it is not known."""
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if abs(value) > DARK_CORRELATION else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=colour)
