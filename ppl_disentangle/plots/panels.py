"""Panels with curves: the frame that figures of several small axes share."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppl_disentangle.plots.sheet import DPI, GRID, INK, SMALL, TEXT, WIDTH

__all__ = ["add_legend", "make_panels"]

HEADER_INCHES = 0.6


def make_panels(titles: Sequence[str], columns: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of small panels.

    Args:
        titles: Title of each panel.
        columns: Number of panels in a row.
        height: Height of a panel in inches.
    """
    num_rows = -(-len(titles) // columns)
    size = (WIDTH, HEADER_INCHES + height * num_rows)
    figure = Figure(size, dpi=DPI, facecolor="white", layout="constrained")
    panels = []
    for number, title in enumerate(titles, 1):
        axes = figure.add_subplot(num_rows, columns, number, facecolor="white")
        axes.set_title(title, fontsize=TEXT, loc="left", color=INK)
        _style(axes)
        panels.append(axes)
    return figure, panels


def _style(axes: Axes) -> None:
    """Draw a pale grid and no frame at the top and at the right."""
    axes.tick_params(labelsize=SMALL, labelcolor=INK, length=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)


def add_legend(figure: Figure, title: str | None = None) -> None:
    """Add one legend for all panels, above them; lines of one label are listed once."""
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    handles = {line.get_label(): line for line in lines}
    legend = figure.legend(
        handles=list(handles.values()),
        loc="outside upper left",
        fontsize=SMALL,
        labelcolor=INK,
        frameon=False,
        ncols=4,
        title=title,
        alignment="left",
        title_fontproperties={"size": TEXT, "weight": "bold"},
    )
    legend.get_title().set_color(INK)
