"""The figure of a causal graph: causes above their effects, the effect of an intervention in colour."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ppl_disentangle.graphs import as_dag, topological_order
from ppl_disentangle.plots.sheet import BLUE, DPI, INK, MUTED, ORANGE, TEXT, WIDTH, text_width

__all__ = ["plot_dag"]

ROW_INCHES = 0.85
"""Height of a row, from box to box."""
BOX_INCHES = 0.3
"""Height of a box."""
GAP_INCHES = 0.35
"""Least distance between two boxes of a row."""
MARGIN_INCHES = 0.15
"""Distance of the boxes from the edge of the figure."""
CLEARANCE_INCHES = 0.08
"""Distance that an arrow keeps from the boxes between its ends."""
NUM_SWEEPS = 4
"""Passes over the rows, downwards and upwards, that put neighbours under one another."""
BENDS = (0.0, 0.2, -0.2, 0.35, -0.35, 0.5, -0.5)
"""Bends of an arrow that are tried in this order, as shares of its length."""


@dataclasses.dataclass(frozen=True)
class Box:
    """The box of a node, in inches from the lower left corner of the figure.

    Attributes:
        x: Centre from the left.
        y: Centre from below.
        width: Width.
    """

    x: float
    y: float
    width: float

    def touches(self, curve: np.ndarray) -> bool:
        """Whether a curve ``(num, 2)`` comes too near the box."""
        away = np.abs(curve - np.array([self.x, self.y]))
        near_x = away[:, 0] < self.width / 2 + CLEARANCE_INCHES
        near_y = away[:, 1] < BOX_INCHES / 2 + CLEARANCE_INCHES
        return bool((near_x & near_y).any())


def plot_dag(graph: nx.DiGraph | str | Path, *, intervened: Collection[str] = ()) -> Figure:
    """Plot the nodes of a causal graph in rows, causes above their effects.

    With ``intervened``, the figure shows the graph under :func:`~ppl_disentangle.do`. Nodes that
    are set are orange. Their incoming edges, which have no effect any more, are dashed. Descendants
    of these nodes are blue.

    Args:
        graph: A graph in any form that :func:`~ppl_disentangle.graphs.as_dag` takes.
        intervened: Nodes that are set.

    Raises:
        KeyError: A node in ``intervened`` that the graph does not have.

    Example:
        >>> figure = plot_dag("light, angle -> shadow", intervened=["light"])
        >>> sorted(text.get_text() for text in figure.axes[0].texts)
        ['angle', 'light', 'shadow']
    """
    dag = as_dag(graph)
    unknown = [node for node in intervened if node not in dag]
    if unknown:
        raise KeyError(f"no node named {unknown[0]!r}; the graph has {topological_order(dag)}")
    boxes, (width, height) = _layout(dag)
    figure = Figure((width, height), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    colours = _colours(dag, intervened)
    patches = {node: _box_patch(box, colours[node]) for node, box in boxes.items()}
    for node, patch in patches.items():
        axes.add_patch(patch).set_zorder(2)
        _label(axes, boxes[node], node)
    for cause, effect in dag.edges:
        follows = MUTED not in (colours[cause], colours[effect])
        is_cut = effect in intervened
        axes.add_patch(_arrow(cause, effect, boxes, patches, is_cut=is_cut, carries_effect=follows))
    return figure


def _label(axes: Axes, box: Box, node: str) -> None:
    """Write the name of a node into its box."""
    label = axes.text(box.x, box.y, node, ha="center", va="center_baseline", zorder=3)
    label.set(fontsize=TEXT, color=INK)


def _layout(dag: nx.DiGraph) -> tuple[dict[str, Box], tuple[float, float]]:
    """Place the boxes of all nodes; return them with the width and height of the figure."""
    rows = _rows(dag)
    widths = {node: text_width(node) + 0.25 for node in dag}
    width = max(WIDTH, *(_row_width(row, widths) for row in rows))
    height = ROW_INCHES * (len(rows) - 1) + BOX_INCHES + 2 * MARGIN_INCHES
    top = height - MARGIN_INCHES - BOX_INCHES / 2
    boxes = {}
    for number, row in enumerate(rows):
        centres = _spread([widths[node] for node in row], width)
        for node, x in zip(row, centres, strict=True):
            boxes[node] = Box(x, top - ROW_INCHES * number, widths[node])
    return boxes, (width, height)


def _row_width(row: Sequence[str], widths: Mapping[str, float]) -> float:
    """Return the width that a row of boxes needs."""
    return sum(widths[node] + GAP_INCHES for node in row) + 2 * MARGIN_INCHES


def _rows(dag: nx.DiGraph) -> list[list[str]]:
    """Sort the nodes into rows by the length of the longest path that leads to them.

    Each row is ordered by the mean place of the neighbours in the rows above, then below, by turns.
    """
    rows = [sorted(generation) for generation in nx.topological_generations(dag)]
    downwards = range(1, len(rows))
    upwards = range(len(rows) - 2, -1, -1)
    for _ in range(NUM_SWEEPS):
        for number in downwards:
            _order_row(rows, number, dag.predecessors)
        for number in upwards:
            _order_row(rows, number, dag.successors)
    return rows


def _order_row(
    rows: list[list[str]], number: int, neighbours: Callable[[str], Iterator[str]]
) -> None:
    """Sort one row in place by the mean place of the neighbours of each node."""
    place = {}
    for row in rows:
        for position, node in enumerate(row):
            place[node] = (position + 0.5) / len(row)
    means = {}
    for node in rows[number]:
        places = [place[neighbour] for neighbour in neighbours(node)]
        means[node] = float(np.mean(places or [place[node]]))
    rows[number].sort(key=means.__getitem__)


def _spread(widths: Sequence[float], width: float) -> list[float]:
    """Return the centres of boxes that have equal room between them."""
    room = (width - sum(widths)) / (len(widths) + 1)
    centres = []
    left = 0.0
    for number, box_width in enumerate(widths, 1):
        centres.append(room * number + left + box_width / 2)
        left += box_width
    return centres


def _colours(dag: nx.DiGraph, intervened: Collection[str]) -> dict[str, str]:
    """Choose the colours of nodes that are set, of their descendants and of all others."""
    colours = dict.fromkeys(dag, MUTED)
    for node in intervened:
        colours |= dict.fromkeys(nx.descendants(dag, node), BLUE)
    return colours | dict.fromkeys(intervened, ORANGE)


def _box_patch(box: Box, colour: str) -> FancyBboxPatch:
    """Draw a box with round corners."""
    corner = (box.x - box.width / 2, box.y - BOX_INCHES / 2)
    style = "round,pad=0,rounding_size=0.08"
    return FancyBboxPatch(corner, box.width, BOX_INCHES, style, fc="white", ec=colour, lw=1.6)


def _arrow(
    cause: str,
    effect: str,
    boxes: Mapping[str, Box],
    patches: Mapping[str, FancyBboxPatch],
    *,
    is_cut: bool,
    carries_effect: bool,
) -> FancyArrowPatch:
    """Draw an arrow from box to box, bent around the boxes in between.

    Args:
        cause: Node at the tail.
        effect: Node at the head.
        boxes: Boxes of all nodes.
        patches: Drawn boxes of all nodes, at whose edges the arrow begins and ends.
        is_cut: Whether the effect is set, so that the cause has no influence any more.
        carries_effect: Whether both nodes are set or follow from nodes that are set.
    """
    start = boxes[cause]
    end = boxes[effect]
    return FancyArrowPatch(
        (start.x, start.y),
        (end.x, end.y),
        patchA=patches[cause],
        patchB=patches[effect],
        connectionstyle=f"arc3,rad={_bend(cause, effect, boxes)}",
        arrowstyle="-|>",
        mutation_scale=11,
        shrinkA=0,
        shrinkB=1,
        linewidth=1.3,
        alpha=0.45 if is_cut else 1.0,
        color=BLUE if carries_effect and not is_cut else MUTED,
        linestyle=(0, (2, 2)) if is_cut else "-",
    )


def _bend(cause: str, effect: str, boxes: Mapping[str, Box]) -> float:
    """Return the smallest bend by which an arrow avoids all other boxes; 0 if none does."""
    others = [box for node, box in boxes.items() if node not in (cause, effect)]
    for bend in BENDS:
        curve = _curve(boxes[cause], boxes[effect], bend)
        if not any(box.touches(curve) for box in others):
            return bend
    return 0.0


def _curve(start: Box, end: Box, bend: float) -> np.ndarray:
    """Return points ``(num, 2)`` on the curve that matplotlib draws for ``arc3`` with this bend.

    The curve is a quadratic Bézier curve whose control point is moved sideways from the middle.
    """
    t = np.linspace(0, 1, 60)[:, None]
    control_x = (start.x + end.x) / 2 + bend * (end.y - start.y)
    control_y = (start.y + end.y) / 2 - bend * (end.x - start.x)
    first = np.array([start.x, start.y])
    control = np.array([control_x, control_y])
    last = np.array([end.x, end.y])
    return (1 - t) ** 2 * first + 2 * t * (1 - t) * control + t**2 * last
