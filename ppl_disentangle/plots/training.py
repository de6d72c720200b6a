"""The figure of the costs over training."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from ppl_disentangle.plots.panels import add_legend, make_panels
from ppl_disentangle.plots.sheet import BLUE, INK, ORANGE, TEXT

__all__ = ["COST_SIGNS", "cost_title", "plot_terms"]

COST_SIGNS = {"elbo": -1, "log_likelihood": -1, "kl": 1}
"""Factor by which a held-out bound or term becomes a cost."""

NUM_MEDIANS = 400
"""Points of the running median."""
ABBREVIATIONS = {"kl": "KL", "elbo": "ELBO", "mmd": "MMD", "l1": "L1"}


def plot_terms(history: xr.Dataset) -> Figure:
    """Plot the loss and each term of the objective over training, as costs.

    A history stores terms with the sign that they have in the bound. The figure shows costs, of the
    opposite sign: the log likelihood -30 is the cost 30, and the term -12 of the KL is the KL 12.
    The loss is the weighted sum of the costs. A light line shows every step, a dark line the
    running median, dots show held-out data. The first twentieth of the steps may lie outside of a
    panel.

    Args:
        history: Result of :func:`~ppl_disentangle.inference.fit`.
    """
    curves = _step_costs(history)
    points = _held_out_costs(history)
    names = [*curves, "elbo"] if "elbo" in points else [*curves]
    titles = [cost_title(name) for name in names]
    figure, panels = make_panels(titles, min(2, len(names)), height=1.75)
    steps = history["step"].values
    for name, axes in zip(names, panels, strict=True):
        shown = []
        if name in curves:
            shown.append(_draw_curve(axes, steps, curves[name]))
        if name in points:
            shown.append(_draw_points(axes, history["held_out_step"].values, points[name]))
        _limit(axes, steps[-1], np.concatenate(shown))
    figure.supxlabel("step", fontsize=TEXT, color=INK)
    figure.supylabel("cost (nats per datum)", fontsize=TEXT, color=INK)
    add_legend(figure)
    return figure


def _step_costs(history: xr.Dataset) -> dict[str, np.ndarray]:
    """Collect the loss and the terms of every step, as costs."""
    costs = {"loss": history["loss"].values}
    for name, values in history.items():
        if values.dims == ("step",) and name != "loss":
            costs[str(name)] = -values.values
    return costs


def _held_out_costs(history: xr.Dataset) -> dict[str, np.ndarray]:
    """Collect the held-out costs of a history by term.

    A history stores held-out bounds with the sign of bounds and the held-out KL as a cost.
    """
    costs = {}
    for name, sign in COST_SIGNS.items():
        stored = f"held_out_{name}"
        if stored in history:
            costs[name] = sign * history[stored].values
    return costs


def _draw_curve(axes: Axes, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draw every step and the running median; return the values that the panel should show."""
    axes.plot(steps, values, color=BLUE, alpha=0.25, lw=0.6, label="every step")
    centres = np.unique(np.linspace(0, len(steps) - 1, NUM_MEDIANS).astype(int))
    medians = _running_median(values, centres)
    axes.plot(steps[centres], medians, color=BLUE, lw=1.8, label="running median")
    start = len(values) // 20  # the first steps are far from the rest
    late = values[start:]
    finite = late[np.isfinite(late)]
    spread = np.quantile(finite, [0.01, 0.99]) if finite.size else late
    return np.concatenate([spread, medians[centres >= start]])


def _running_median(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the medians of windows of 2 % of the values around each centre."""
    half_window = max(len(values) // 100, 1)
    windows = [values[max(c - half_window, 0) : c + half_window + 1] for c in centres]
    return np.array([np.median(window) for window in windows])


def _draw_points(axes: Axes, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draw held-out costs; return the values that the panel should show."""
    axes.plot(steps, values, "o-", color=ORANGE, lw=1, ms=3, label="held out")
    return values


def _limit(axes: Axes, last_step: int, values: np.ndarray) -> None:
    """Show all steps and, with a margin, all finite values."""
    axes.set_xlim(0, last_step * 1.02)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low = values.min()
    high = values.max()
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)


def cost_title(name: str) -> str:
    """Write the name of a term, a bound or the loss in words, as a cost.

    Example:
        >>> cost_title("log_likelihood"), cost_title("dimension_wise_kl"), cost_title("mmd")
        ('negative log likelihood', 'dimension-wise KL', 'MMD')
    """
    words = " ".join(ABBREVIATIONS.get(word, word) for word in name.split("_"))
    title = words.replace(" wise", "-wise")
    is_gain = title.startswith("log ") or title == "ELBO"
    return f"negative {title}" if is_gain else title
