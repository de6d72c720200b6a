"""Figures of observations: traversals, reconstructions, interventions and compression.

Images are drawn as images; features, signals and sequences as lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ppl_disentangle.plots.panels import add_legend, make_panels
from ppl_disentangle.plots.sheet import (
    BLUE,
    INK,
    ORANGE,
    SMALL,
    TEXT,
    WIDTH,
    Sheet,
    display,
    number_text,
    ratio,
    stacked,
)
from ppl_disentangle.representation import IMAGE_DIMS

__all__ = [
    "plot_compression",
    "plot_intervention",
    "plot_reconstructions",
    "plot_rows",
    "plot_traversals",
]

MOST_MARKED_POINTS = 50

LEAST_DIFFERENCE = 0.05
"""Smallest range of a scale of differences: smaller differences stay pale."""


def plot_traversals(images: xr.DataArray, *, notes: Mapping[str, str] | None = None) -> Figure:
    """Plot the mean observation while one code takes other values, a row for each code.

    Args:
        images: Result of :func:`~ppl_disentangle.traversal.traverse`, over ``code``, ``position``
            and the dims of one observation: ``channel``, ``row``, ``column`` with values in [0, 1];
            a single dim of features; or two dims of a signal or a sequence, the longer of which is
            time. Features, signals and sequences are drawn as lines. The coordinate ``value`` over
            ``code`` and ``position`` labels the columns.
        notes: A line under the name of a code, such as ``{"z[3]": "KL 3.1 nats · scale"}``.

    Raises:
        KeyError: A note for a code that was not traversed.
        ValueError: Other dims.
    """
    codes = [str(code) for code in images["code"].values]
    labels = _traversal_labels(codes, notes or {})
    values = images["value"].transpose("code", "position").values
    if images.ndim in (3, 4):
        lines = images.transpose("code", "position", ...).values
        return _traversed_lines(_over_time(lines, 2), values, labels)
    if set(images.dims) != {"code", "position", *IMAGE_DIMS}:
        raise ValueError(
            f"expected the dims {IMAGE_DIMS}, or one or two, after code and position; got"
            f" {images.dims}"
        )
    tiles = display(images.transpose("code", "position", *IMAGE_DIMS).values)
    return _traversed_images(tiles, values, labels)


def _traversal_labels(codes: Sequence[str], notes: Mapping[str, str]) -> list[str]:
    """Label each row with the name of the code and, in a second line, its note."""
    unknown = sorted(set(notes) - set(codes))
    if unknown:
        raise KeyError(f"no code named {unknown[0]!r}; the traversals are of {codes}")
    return [f"{code}\n{notes[code]}" if code in notes else code for code in codes]


def _traversed_images(tiles: np.ndarray, values: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draw traversals of images ``(code, position, y, x, ...)``.

    Values that all codes share are written once, above the first row.
    """
    shared = bool((values == values[0]).all())
    between = 0.0 if shared else 0.22
    above = 0.25 if shared else 0.05
    sheet = Sheet(labels, tiles.shape[1], ratio(tiles[0]), between=between, above=above)
    for row, images in enumerate(tiles):
        sheet.draw(row, images)
        if not shared:
            sheet.number(row, values[row], under=True)
    if shared:
        sheet.number(0, values[0])
    return sheet.figure


def _traversed_lines(images: np.ndarray, values: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draw traversals as lines, from dark to light as the value of the code rises.

    Args:
        images: Lines of shape ``(code, position, time, channel)``.
        values: Values of the codes, ``(code, position)``.
        labels: Label of each code.
    """
    titles = [label.replace("\n", " · ") for label in labels]
    figure, panels = make_panels(titles, 2, height=1.5)
    colours = colormaps["viridis"](np.linspace(0, 0.9, images.shape[1]))
    for axes, lines, line_values in zip(panels, images, values, strict=True):
        for line, value, colour in zip(lines, line_values, colours, strict=True):
            axes.plot(line, color=colour, label=number_text(value), **_line_style(line))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ends = [axes.get_lines()[0], axes.get_lines()[-1]]
        axes.legend(handles=ends, fontsize=SMALL, labelcolor=INK, framealpha=0.8)
    figure.supxlabel(_axis_name(images), fontsize=TEXT, color=INK)
    return figure


def _over_time(observations: np.ndarray, num_leading: int) -> np.ndarray:
    """Lines with a last axis of channels: ``(*leading, time, channel)``.

    Features are one channel. The longer axis of a signal or a sequence is time.
    """
    if observations.ndim == num_leading + 1:
        return observations[..., None]
    rows, columns = observations.shape[num_leading:]
    return observations if rows >= columns else observations.swapaxes(-1, -2)


def _line_style(line: np.ndarray) -> dict[str, Any]:
    """Points of short lines are marked."""
    marker = {"marker": "o", "ms": 2} if len(line) <= MOST_MARKED_POINTS else {}
    return {"lw": 1.2, **marker}


def _axis_name(lines: np.ndarray) -> str:
    """Features have one channel and few points; anything else runs over time."""
    is_features = lines.shape[-1] == 1 and lines.shape[-2] <= MOST_MARKED_POINTS
    return "feature" if is_features else "time"


def plot_reconstructions(x: ArrayLike, reconstructed: ArrayLike) -> Figure:
    """Plot originals above their reconstructions.

    Args:
        x: Images in [0, 1] of shape ``(num, channels, height, width)``; or features, signals or
            sequences of shape ``(num, features)``, ``(num, channels, time)`` or ``(num, time,
            features)``, which are drawn as lines.
        reconstructed: Reconstructions, of the shape of ``x``.
    """
    original, other = _pair(x, reconstructed, "x", "reconstructed")
    if original.ndim < 4:
        return _overlaid_lines(original, other, ("original", "reconstruction"))
    return plot_rows({"original": original, "reconstruction": other})


def plot_rows(rows: Mapping[str, ArrayLike]) -> Figure:
    """Plot rows of images under one another.

    Args:
        rows: Images in [0, 1] of shape ``(num, channels, height, width)`` by the label of the row;
            all rows have the same shape.
    """
    first, images = next(iter(rows.items()))
    tiles = {}
    for name, row in rows.items():
        checked, _ = _pair(row, images, name, first)
        tiles[name] = display(checked)
    return stacked(tiles).figure


def plot_compression(curve: xr.Dataset, x: ArrayLike) -> Figure:
    """Plot originals above their reconstructions from the first latents only.

    Args:
        curve: Result of :func:`~ppl_disentangle.inference.compression_curve` for images.
        x: Originals of the images in ``curve``, of shape ``(num, channels, height, width)``.
    """
    rows = {"original": np.asarray(x)}
    for num_kept in curve["kept"].values:
        point = curve.sel(kept=num_kept)
        rate = point["rate"].item()
        distortion = point["distortion"].item()
        label = f"{num_kept} kept: {rate:.1f} nats, error {distortion:.3f}"
        rows[label] = point["image"].values
    return plot_rows(rows)


def plot_intervention(
    before: ArrayLike,
    after: ArrayLike,
    *,
    title: str,
    observed: ArrayLike | None = None,
    truth: ArrayLike | None = None,
) -> Figure:
    """Plot observations before and after an intervention, and the difference of the two.

    The difference is averaged over channels.

    Args:
        before: Images in [0, 1] of shape ``(num, channels, height, width)``; or features, signals
            or sequences, which are drawn as lines.
        after: Observations after the intervention, of the shape of ``before``.
        title: Title such as ``"do(z[3] = 2)"``.
        observed: Images of which ``before`` are reconstructions; drawn above them.
        truth: True images after the intervention; drawn under ``after``.
    """
    first, second = _pair(before, after, "before", "after")
    if first.ndim < 4:
        return _overlaid_lines(first, second, ("before", "after"), title=title)
    rows = {"before": first, "after": second}
    if observed is not None:
        rows = {"observed": _pair(observed, after, "observed", "after")[0], **rows}
    if truth is not None:
        rows["truth"] = _pair(truth, after, "truth", "after")[0]
    tiles = {name: display(images) for name, images in rows.items()}
    difference = (second - first).mean(1)  # (num, height, width)
    largest = float(max(np.abs(difference).max(), LEAST_DIFFERENCE))
    styles = {"difference": {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}}
    sheet = stacked({**tiles, "difference": difference}, styles=styles, title=title, below=0.5)
    _add_difference_scale(sheet, largest)
    return sheet.figure


def _add_difference_scale(sheet: Sheet, largest: float) -> None:
    """Add the colours of the last row, differences up to ``largest``, under a sheet."""
    height = sheet.figure.get_figheight()
    place = (sheet.left / WIDTH, 0.3 / height, 0.35, 0.08 / height)
    bar = sheet.figure.colorbar(
        sheet.axes.images[-1],
        cax=sheet.figure.add_axes(place),
        orientation="horizontal",
        ticks=[-largest, 0, largest],
    )
    bar.ax.set_xticklabels([f"−{largest:.2g} darker", "0", f"+{largest:.2g} brighter"])
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK, length=0)
    bar.outline.set_visible(False)


def _overlaid_lines(
    first: np.ndarray, second: np.ndarray, labels: tuple[str, str], *, title: str | None = None
) -> Figure:
    """Draw features, signals or sequences as lines, a panel for each datum."""
    figure, panels = make_panels([""] * len(first), 3, height=1.2)
    lines = _over_time(first, 1)
    for axes, *pair in zip(panels, lines, _over_time(second, 1), strict=True):
        for line, label, colour in zip(pair, labels, (BLUE, ORANGE), strict=True):
            axes.plot(line, color=colour, label=label, **_line_style(line))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel(_axis_name(lines), fontsize=TEXT, color=INK)
    add_legend(figure, title)
    return figure


def _pair(
    first: ArrayLike, second: ArrayLike, first_name: str, second_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Convert two arguments to arrays and check that they have one shape.

    Raises:
        ValueError: Shapes that differ, or neither images nor features, or no data.
    """
    one = torch.as_tensor(first).detach().cpu().float().numpy()
    other = torch.as_tensor(second).detach().cpu().float().numpy()
    if one.shape != other.shape or one.ndim not in (2, 3, 4) or not len(one):
        raise ValueError(
            f"expected {first_name} and {second_name} of one shape, (num, channels, height, width)"
            f", (num, features) or (num, channels, time); got {one.shape} and {other.shape}"
        )
    return one, other
