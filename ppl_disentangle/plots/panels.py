"""Figures of a run: costs over training, traversals, reconstructions, factor maps and interventions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike

from ppl_disentangle.plots.sheet import (
    BLUE,
    DPI,
    GRID,
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
    text_width,
)
from ppl_disentangle.representation import IMAGE_DIMS

__all__ = [
    "plot_compression",
    "plot_factor_map",
    "plot_intervention",
    "plot_rank_correlation",
    "plot_reconstructions",
    "plot_rows",
    "plot_sweep",
    "plot_terms",
    "plot_traversals",
]


COST_SIGNS = {"elbo": -1, "log_likelihood": -1, "kl": 1}
"""Factor by which a held-out bound or term becomes a cost."""


def plot_terms(history: xr.Dataset) -> Figure:
    """The loss and what each term adds to it over training; lower is better in every panel.

    Terms are stored with the sign of parts of the bound and drawn as costs, with the opposite one: the log
    likelihood -30 is the cost 30 and the KL's term -12 the KL 12. The loss is their weighted sum. A light
    line is every step, a dark one the running median, dots are held-out data. The first twentieth of the
    steps may lie outside a panel.

    Args:
        history: what :func:`~ppl_disentangle.inference.fit` returns.
    """
    curves = {
        name: -values
        for name, values in history.items()
        if values.dims == ("step",) and name != "loss"
    }
    points = _held_out_costs(history)
    curves = {"loss": history["loss"], **curves}
    names = [*curves, *(["elbo"] if "elbo" in points else [])]
    figure, panels = _panels(
        [cost_title(str(name)) for name in names], min(2, len(names)), height=1.75
    )
    for name, axes in zip(names, panels, strict=True):
        limits = []
        if name in curves:
            limits.append(_draw_curve(axes, history["step"].values, curves[name].values))
        if name in points:
            axes.plot(
                history["held_out_step"],
                points[name],
                "o-",
                color=ORANGE,
                lw=1,
                ms=3,
                label="held out",
            )
            limits.append(points[name])
        _zoom(axes, np.concatenate(limits))
        axes.set_xlim(0, history["step"].values[-1] * 1.02)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    figure.supxlabel("step", fontsize=TEXT, color=INK)
    figure.supylabel("cost (nats per datum)", fontsize=TEXT, color=INK)
    _legend(figure)
    return figure


def plot_traversals(images: xr.DataArray, *, notes: Mapping[str, str] | None = None) -> Figure:
    """One row per code: what the mean observation becomes as the code takes other values.

    Args:
        images: what :func:`~ppl_disentangle.traversal.traverse` returns, over ``code``, ``position`` and
            the dims of one observation: ``channel``, ``row``, ``column`` with values in [0, 1], or a single one of
            features, drawn as lines. The coordinate ``value`` over ``code`` and ``position`` labels the
            columns.
        notes: a line under a code's name, such as ``{"z[3]": "KL 3.1 nats · scale"}``.
    """
    notes = notes or {}
    if unknown := sorted(set(notes) - set(map(str, images["code"].values))):
        raise KeyError(
            f"no code named {unknown[0]!r}; the traversals are of {list(map(str, images['code'].values))}"
        )
    labels = [
        f"{code}\n{notes[code]}" if code in notes else code
        for code in map(str, images["code"].values)
    ]
    values = images["value"].transpose("code", "position").values
    if images.ndim != 3 and set(images.dims) != {"code", "position", *IMAGE_DIMS}:
        raise ValueError(
            f"expected the dims {IMAGE_DIMS}, or one, after code and position; got {images.dims}"
        )
    if images.ndim == 3:
        return _traversed_lines(images.transpose("code", "position", ...).values, values, labels)
    shown = display(images.transpose("code", "position", *IMAGE_DIMS).values)
    same = bool((values == values[0]).all())
    below = 0.0 if same else 0.22
    sheet = Sheet(
        labels, shown.shape[1], ratio(shown[0]), between=below, above=0.25 if same else 0.05
    )
    for row, tiles in enumerate(shown):
        sheet.draw(row, tiles)
        if not same:
            sheet.number(row, values[row], under=True)
    if same:
        sheet.number(0, values[0])
    return sheet.figure


def plot_reconstructions(x: ArrayLike, reconstructed: ArrayLike) -> Figure:
    """Originals above reconstructions.

    Args:
        x: observations in [0, 1], shape ``(num, channels, height, width)``, or ``(num, features)``, drawn as lines.
        reconstructed: of the same shape.
    """
    original, other = _pair(x, reconstructed, "x", "reconstructed")
    if original.ndim == 2:
        return _overlaid_lines(original, other, ("original", "reconstruction"))
    return plot_rows({"original": original, "reconstruction": other})


def plot_rows(rows: Mapping[str, ArrayLike]) -> Figure:
    """Images under one another, a row a name.

    Args:
        rows: images in [0, 1] by name, shape ``(num, channels, height, width)``, as many in each row.
    """
    (first, images), *others = rows.items()
    pairs = [next(_pair(row, images, name, first)) for name, row in [(first, images), *others]]
    return stacked(dict(zip(rows, map(display, pairs), strict=True))).figure


def plot_compression(curve: xr.Dataset, x: ArrayLike) -> Figure:
    """Originals above what remains of them when only the first of a story's latents are kept.

    Args:
        curve: what :func:`~ppl_disentangle.inference.compression_curve` returns, of images.
        x: the originals of the images it shows, shape ``(num, channels, height, width)``.
    """
    rows = {"original": np.asarray(x)}
    for kept in curve["kept"].values:
        rate, distortion = (curve[name].sel(kept=kept).item() for name in ("rate", "distortion"))
        rows[f"{kept} kept: {rate:.1f} nats, error {distortion:.3f}"] = (
            curve["image"].sel(kept=kept).values
        )
    return plot_rows(rows)


def plot_factor_map(matrix: xr.DataArray) -> Figure:
    """How much each code tells about each factor, with the numbers; the code that tells most is in bold.

    Args:
        matrix: mutual information over the factor's entropy, in [0, 1], over ``code`` and ``factor``.

    Example:
        >>> matrix = xr.DataArray([[0.9, 0.0], [0.1, 0.4]], {"code": ["z", "w"], "factor": ["x", "size"]})
        >>> [text.get_text() for text in plot_factor_map(matrix).axes[0].texts]
        ['0.90', '0.00', '0.10', '0.40']
    """
    numbers = matrix.transpose("code", "factor").values
    codes, factors = ([str(name) for name in matrix[dim].values] for dim in ("code", "factor"))
    figure = Figure(
        (WIDTH, 0.9 + 0.34 * len(codes)), dpi=DPI, facecolor="white", layout="constrained"
    )
    axes = figure.add_subplot(facecolor="white")
    axes.pcolormesh(numbers, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=2)
    axes.invert_yaxis()
    for (row, column), number in np.ndenumerate(numbers):
        text = axes.text(
            column + 0.5,
            row + 0.5,
            number_text(number, ".2f"),
            ha="center",
            va="center",
            fontsize=TEXT,
        )
        text.set_color("white" if number > 0.55 else INK)
        text.set_fontweight(
            "bold" if 0.005 <= number == np.nanmax(numbers[:, column]) else "normal"
        )
    axes.set_xticks(np.arange(len(factors)) + 0.5, factors)
    axes.set_yticks(np.arange(len(codes)) + 0.5, codes)
    axes.tick_params(labelsize=TEXT, labelcolor=INK, length=0)
    axes.tick_params(labeltop=True, labelbottom=False)
    if max(map(text_width, factors)) > 5 / len(factors):
        axes.tick_params(axis="x", labelrotation=30)
    axes.spines[:].set_visible(False)
    return figure


def plot_intervention(
    before: ArrayLike,
    after: ArrayLike,
    *,
    title: str,
    observed: ArrayLike | None = None,
    truth: ArrayLike | None = None,
) -> Figure:
    """The same observations before and after an intervention, and the difference, averaged over channels.

    Args:
        before: observations in [0, 1], shape ``(num, channels, height, width)``, or ``(num, features)``, drawn as
            lines.
        after: of the same shape.
        title: what was done, such as ``"do(z[3] = 2)"``.
        observed: images that ``before`` were made from, of the same shape; drawn above.
        truth: what the images would truly be after the intervention, of the same shape; drawn beneath ``after``.
    """
    first, second = _pair(before, after, "before", "after")
    if first.ndim == 2:
        return _overlaid_lines(first, second, ("before", "after"), title=title)
    difference = (second - first).mean(1)
    bound = float(max(np.abs(difference).max(), 0.05))
    others = {
        n: display(next(_pair(v, after, n, "after")))
        for n, v in _given(observed=observed, truth=truth).items()
    }
    rows = (
        {"before": display(first), "after": display(second)} | others | {"difference": difference}
    )
    rows = {
        name: rows[name]
        for name in ("observed", "before", "after", "truth", "difference")
        if name in rows
    }
    diverging = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    sheet = stacked(rows, styles={"difference": diverging}, title=title, below=0.5)
    height = sheet.figure.get_figheight()
    scale = sheet.figure.add_axes((sheet.left / WIDTH, 0.3 / height, 0.35, 0.08 / height))
    bar = sheet.figure.colorbar(
        sheet.axes.images[-1], cax=scale, orientation="horizontal", ticks=[-bound, 0, bound]
    )
    bar.ax.set_xticklabels([f"−{bound:.2g} darker", "0", f"+{bound:.2g} brighter"])
    bar.ax.tick_params(labelsize=SMALL, labelcolor=INK, length=0)
    bar.outline.set_visible(False)
    return sheet.figure


def plot_sweep(study: xr.Dataset, metric: str) -> Figure:
    """A score of every run against what was swept, a panel for each model and set of data.

    Dots are seeds, the line goes through their medians; dashed is a perfect code, dotted what random codes get.

    Args:
        study: what :func:`~ppl_disentangle.studies.study.results` returns.
        metric: the score.
    """
    runs = study[["score", "chance", "ceiling"]].sel(metric=metric)
    pairs = [(m, d) for m in study["model"].values for d in study["data"].values]
    figure, panels = _panels([f"{m} · {d}" for m, d in pairs], min(3, len(pairs)), height=1.5)
    for axes, (model, data) in zip(panels, pairs, strict=True):
        part = runs.sel(model=model, data=data)
        there = part["score"].notnull().any("seed").values
        labels = [_swept(str(v)) for v in study["value"].sel(model=model).values[there]]
        scores = part["score"].transpose("setting", "seed").values[there]
        for place, values in enumerate(scores):
            axes.plot(
                np.full(values.shape, place),
                values,
                "o",
                color=BLUE,
                ms=3,
                alpha=0.6,
                label="a seed",
            )
        axes.plot(
            range(len(scores)),
            np.nanmedian(scores, -1) if len(scores) else [],
            color=BLUE,
            lw=1.2,
            label="median",
        )
        for name, style in (("ceiling", "--"), ("chance", ":")):
            level = float(part[name].median())
            if np.isfinite(level):
                axes.axhline(level, color=ORANGE, lw=0.8, ls=style, label=name)
        axes.set_xticks(range(len(labels)), labels)
    figure.supylabel(metric, fontsize=TEXT, color=INK)
    _legend(figure)
    return figure


def _swept(value: str) -> str:
    """What a hyper-parameter was set to, shortly: 4, or → 4 where it grows to that."""
    text = value.partition("=")[2]
    found = json.loads(text) if text else ""
    if isinstance(found, list) and len(found) == 3:
        return f"→ {found[1]:g}"
    return f"{found:g}" if isinstance(found, int | float) else text


def plot_rank_correlation(correlation: xr.DataArray) -> Figure:
    """How two metrics order the same runs, a panel for each set of data.

    Args:
        correlation: what :func:`~ppl_disentangle.studies.analysis.rank_correlation` returns.
    """
    names, sets = [str(m) for m in correlation["metric"].values], correlation["data"].values
    figure, panels = _panels(
        [str(d) for d in sets], min(2, len(sets)), height=1.0 + 0.28 * len(names)
    )
    for axes, data in zip(panels, sets, strict=True):
        values = correlation.sel(data=data).values
        axes.imshow(np.nan_to_num(values), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.grid(visible=False)
        for place, value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2f}"
            colour = "white" if abs(value) > 0.6 else INK
            axes.text(
                place[1], place[0], text, ha="center", va="center", fontsize=SMALL, color=colour
            )
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
    return figure


def _panels(titles: Sequence[str], columns: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """Small panels with titles, ``columns`` in a row."""
    rows = -(-len(titles) // columns)
    figure = Figure((WIDTH, 0.6 + height * rows), dpi=DPI, facecolor="white", layout="constrained")
    panels = []
    for number, title in enumerate(titles, 1):
        axes = figure.add_subplot(rows, columns, number, facecolor="white")
        axes.set_title(title, fontsize=TEXT, loc="left", color=INK)
        axes.tick_params(labelsize=SMALL, labelcolor=INK, length=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(color=GRID, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GRID)
        panels.append(axes)
    return figure, panels


def _legend(figure: Figure, title: str | None = None) -> None:
    """One legend for all panels, above them."""
    handles = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    style: dict[str, Any] = {"fontsize": SMALL, "labelcolor": INK, "frameon": False, "ncols": 4}
    style |= {
        "title": title,
        "alignment": "left",
        "title_fontproperties": {"size": TEXT, "weight": "bold"},
    }
    legend = figure.legend(handles=list(handles.values()), loc="outside upper left", **style)
    legend.get_title().set_color(INK)


def _draw_curve(axes: Axes, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Every step and the running median; returns the values that the panel should show."""
    axes.plot(steps, values, color=BLUE, alpha=0.25, lw=0.6, label="every step")
    half = max(len(steps) // 100, 1)
    centres = np.unique(np.linspace(0, len(steps) - 1, 400).astype(int))
    medians = np.array([np.median(values[max(c - half, 0) : c + half + 1]) for c in centres])
    axes.plot(steps[centres], medians, color=BLUE, lw=1.8, label="running median")
    late = values[len(values) // 20 :]
    spread = np.quantile(late[np.isfinite(late)], [0.01, 0.99]) if np.isfinite(late).any() else late
    return np.concatenate([spread, medians[centres >= len(values) // 20]])


def _zoom(axes: Axes, values: np.ndarray) -> None:
    """Show ``values`` and a little more."""
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, high = values.min(), values.max()
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)


def _held_out_costs(history: xr.Dataset) -> dict[str, np.ndarray]:
    """Held-out costs by term; bounds are stored with the sign of bounds, the KL as the cost that it is."""
    stored = {name: f"held_out_{name}" for name in COST_SIGNS}
    return {n: COST_SIGNS[n] * history[s].values for n, s in stored.items() if s in history}


def cost_title(name: str) -> str:
    """The name of a term, a bound or the loss in words, as a cost."""
    words = " ".join({"kl": "KL", "elbo": "ELBO"}.get(w, w) for w in name.split("_")).replace(
        " wise", "-wise"
    )
    return f"negative {words}" if words.startswith("log ") or words == "ELBO" else words


def _traversed_lines(images: np.ndarray, values: np.ndarray, labels: Sequence[str]) -> Figure:
    """Features as lines, a panel per code, from dark to light as the code's value rises."""
    figure, panels = _panels([label.replace("\n", " · ") for label in labels], 2, height=1.5)
    colours = colormaps["viridis"](np.linspace(0, 0.9, images.shape[1]))
    for axes, lines, at in zip(panels, images, values, strict=True):
        for line, value, colour in zip(lines, at, colours, strict=True):
            axes.plot(line, color=colour, lw=1.2, marker="o", ms=2, label=number_text(value))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ends = [axes.get_lines()[0], axes.get_lines()[-1]]
        axes.legend(handles=ends, fontsize=SMALL, labelcolor=INK, framealpha=0.8)
    figure.supxlabel("feature", fontsize=TEXT, color=INK)
    return figure


def _overlaid_lines(
    first: np.ndarray, second: np.ndarray, labels: tuple[str, str], *, title: str | None = None
) -> Figure:
    """Features as lines, a panel per datum."""
    figure, panels = _panels([""] * len(first), 3, height=1.2)
    for axes, *pair in zip(panels, first, second, strict=True):
        for line, label, colour in zip(pair, labels, (BLUE, ORANGE), strict=True):
            axes.plot(line, color=colour, lw=1.2, marker="o", ms=2, label=label)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel("feature", fontsize=TEXT, color=INK)
    _legend(figure, title)
    return figure


def _pair(first: ArrayLike, second: ArrayLike, *names: str) -> Iterator[np.ndarray]:
    """Both as arrays, of one shape."""
    arrays = [torch.as_tensor(a).detach().cpu().float().numpy() for a in (first, second)]
    shapes = [a.shape for a in arrays]
    if shapes[0] != shapes[1] or len(shapes[0]) not in (2, 4) or not len(arrays[0]):
        raise ValueError(
            f"expected {names[0]} and {names[1]} of one shape, (num, channels, height, width) or (num, features);"
            f" got {shapes[0]} and {shapes[1]}"
        )
    return iter(arrays)


def _given(**values: ArrayLike | None) -> dict[str, ArrayLike]:
    return {name: value for name, value in values.items() if value is not None}
