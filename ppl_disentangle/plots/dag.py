"""A causal graph as a figure: causes above their effects, what is set and what follows from it in colour."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ppl_disentangle.graphs import as_dag, topological_order
from ppl_disentangle.plots.sheet import BLUE, DPI, INK, MUTED, ORANGE, TEXT, WIDTH, text_width

__all__ = ["plot_dag"]

ROW, BOX, GAP, MARGIN = (
    0.85,
    0.3,
    0.35,
    0.15,
)  # inches: between rows, height of a box, between boxes, around all


def plot_dag(graph: nx.DiGraph | str | Path, *, intervened: Collection[str] = ()) -> Figure:
    """The nodes of a causal graph in rows, causes above their effects.

    With ``intervened``, what :func:`~ppl_disentangle.do` makes of the graph: nodes that are set are orange, and their
    incoming edges, which no longer count, dashed; what follows from them is blue.

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes.
        intervened: nodes that are set.

    Raises:
        KeyError: such a node is none of the graph.

    Example:
        >>> figure = plot_dag("light, angle -> shadow", intervened=["light"])
        >>> sorted(text.get_text() for text in figure.axes[0].texts)
        ['angle', 'light', 'shadow']
    """
    dag = as_dag(graph)
    if unknown := [node for node in intervened if node not in dag]:
        raise KeyError(f"no node named {unknown[0]!r}; the graph has {topological_order(dag)}")
    rows = _rows(dag)
    widths = {node: text_width(node) + 0.25 for node in dag}
    width = max(WIDTH, *(sum(widths[n] + GAP for n in row) + 2 * MARGIN for row in rows))
    height = ROW * (len(rows) - 1) + BOX + 2 * MARGIN
    places = {
        node: (x, height - MARGIN - BOX / 2 - ROW * number)
        for number, row in enumerate(rows)
        for node, x in zip(row, _spread([widths[n] for n in row], width), strict=True)
    }
    figure = Figure((width, height), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    below = set().union(*(nx.descendants(dag, node) for node in intervened)) - set(intervened)
    boxes = {}
    for node, (x, y) in places.items():
        colour = ORANGE if node in intervened else BLUE if node in below else MUTED
        corner, size = (x - widths[node] / 2, y - BOX / 2), (widths[node], BOX)
        boxes[node] = FancyBboxPatch(
            corner, *size, "round,pad=0,rounding_size=0.08", fc="white", ec=colour, lw=1.6
        )
        axes.add_patch(boxes[node]).set_zorder(2)
        axes.text(x, y, node, ha="center", va="center_baseline", fontsize=TEXT, color=INK, zorder=3)
    for cause, effect in dag.edges:
        cut, follows = effect in intervened, {cause, effect} <= {*intervened, *below}
        bend = f"arc3,rad={_bend(cause, effect, places, widths)}"
        axes.add_patch(
            FancyArrowPatch(
                places[cause],
                places[effect],
                patchA=boxes[cause],
                patchB=boxes[effect],
                connectionstyle=bend,
                arrowstyle="-|>",
                mutation_scale=11,
                shrinkA=0,
                shrinkB=1,
                linewidth=1.3,
                alpha=0.45 if cut else 1.0,
                color=BLUE if follows and not cut else MUTED,
                linestyle=(0, (2, 2)) if cut else "-",
            )
        )
    return figure


def _rows(dag: nx.DiGraph) -> list[list[str]]:
    """Nodes by the length of the longest path to them; each row in the order of the mean place of its neighbours."""
    rows = [sorted(generation) for generation in nx.topological_generations(dag)]
    for _ in range(4):
        for sweep in (range(1, len(rows)), range(len(rows) - 2, -1, -1)):
            for number in sweep:
                place = {n: (k + 0.5) / len(row) for row in rows for k, n in enumerate(row)}
                near = dag.predecessors if sweep.step > 0 else dag.successors
                means = {
                    n: float(np.mean([place[m] for m in near(n)] or [place[n]]))
                    for n in rows[number]
                }
                rows[number].sort(key=means.__getitem__)
    return rows


def _spread(widths: Sequence[float], width: float) -> list[float]:
    """Centres of boxes that have equal room between them."""
    room = (width - sum(widths)) / (len(widths) + 1)
    return [room * (k + 1) + sum(widths[:k]) + widths[k] / 2 for k in range(len(widths))]


def _bend(
    cause: str, effect: str, places: Mapping[str, tuple[float, float]], widths: Mapping[str, float]
) -> float:
    """How much an arrow must bend to keep away from the boxes between its ends; 0: not at all."""
    (x0, y0), (x1, y1) = places[cause], places[effect]
    for bend in (0.0, 0.2, -0.2, 0.35, -0.35, 0.5, -0.5):
        t = np.linspace(0, 1, 60)[:, None]
        middle = np.array([(x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0)])
        curve = (
            (1 - t) ** 2 * np.array([x0, y0]) + 2 * t * (1 - t) * middle + t**2 * np.array([x1, y1])
        )
        others = [n for n in places if n not in (cause, effect)]
        if not any(_inside(curve, places[n], widths[n]) for n in others):
            return bend
    return 0.0


def _inside(curve: np.ndarray, place: tuple[float, float], width: float) -> bool:
    away = np.abs(curve - np.array(place))
    return bool(((away[:, 0] < width / 2 + 0.08) & (away[:, 1] < BOX / 2 + 0.08)).any())
