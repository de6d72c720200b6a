"""Rows of image tiles with labels at their left: the paper that figures of images are drawn on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

__all__ = ["Sheet", "display", "number_text", "ratio", "stacked", "text_width"]

WIDTH, DPI = 6.0, 200  # inches: a page of text, and legible on a phone
TEXT, SMALL = 10, 9
INK, MUTED, GRID = "#1f2328", "#59636e", "#d8dee4"
BLUE, ORANGE = "#0072b2", "#d55e00"  # of Okabe and Ito: told apart in any colour vision
GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
GAP = 0.06  # between tiles, as a share of a tile


class Sheet:
    """Rows of tiles with labels at their left, in axes where one unit is the width of a tile.

    Args:
        labels: of the rows; a second line is a note.
        columns: number of tiles of a row.
        height: of a tile over its width.
        between: rows, in inches.
        above: all rows, in inches.
        below: all rows, in inches.
    """

    def __init__(
        self,
        labels: Sequence[str],
        columns: int,
        height: float,
        *,
        between: float = 0.0,
        above: float = 0.05,
        below: float = 0.05,
    ) -> None:
        self.left = max(text_width(line) for label in labels for line in label.split("\n")) + 0.2
        self.tile = tile = min((WIDTH - self.left - 0.05) / columns, 1.1)
        lines = 0.36 if any("\n" in label for label in labels) else 0.2
        self.ratio, self.step = height, max(height + between / tile, lines / tile)
        rows = len(labels) * self.step
        whole = above + rows * tile + below
        self.figure = Figure((WIDTH, whole), dpi=DPI, facecolor="white")
        place = (self.left / WIDTH, below / whole, columns * tile / WIDTH, rows * tile / whole)
        self.axes = self.figure.add_axes(place, xlim=(0, columns), ylim=(rows, 0))
        self.axes.axis("off")
        for row, label in enumerate(labels):
            name, _, note = label.partition("\n")
            middle = row * self.step + height / 2
            self._write(
                name, (0, middle), (-7, 6 if note else 0), ha="right", va="center", fontsize=TEXT
            )
            if note:
                self._write(note, (0, middle), (-7, -7), ha="right", va="center", color=MUTED)

    def draw(self, row: int, tiles: np.ndarray, **style: Any) -> None:
        """Draw ``(columns, y, x)`` in grey or ``(columns, y, x, 3)``, each tile as an image of its own."""
        top, style = row * self.step, GREY | style
        for column, tile in enumerate(tiles):
            extent = (column, column + 1 - GAP, top + self.ratio * (1 - GAP), top)
            self.axes.imshow(tile, extent=extent, aspect="auto", **style)
            width, height = 1 - GAP, self.ratio * (1 - GAP)
            self.axes.add_patch(
                Rectangle((column, top), width, height, fill=False, ec=GRID, lw=0.5)
            )

    def number(self, row: int, values: np.ndarray, *, under: bool = False) -> None:
        """Write a number above, or under, each tile of a row, or so many as there is room for."""
        y = row * self.step + (self.ratio * (1 - GAP) if under else 0)
        written = [number_text(value) for value in values]
        every = math.ceil(max(map(text_width, written)) / self.tile)
        for column, text in list(enumerate(written))[::every]:
            place = (column + (1 - GAP) / 2, y)
            self._write(text, place, (0, -2 if under else 2), va="top" if under else "bottom")

    def _write(
        self, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any
    ) -> None:
        """Write at a place in tiles, moved by an offset in points."""
        default: dict[str, Any] = {
            "ha": "center",
            "fontsize": SMALL,
            "color": INK,
            "annotation_clip": False,
        }
        self.axes.annotate(text, place, offset, textcoords="offset points", **(default | style))


def stacked(
    rows: Mapping[str, np.ndarray],
    *,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    title: str = "",
    below: float = 0.05,
    most: int = 10,
) -> Sheet:
    """The rows one above another, broken into blocks of equal length, ``most`` tiles or fewer."""
    first, above = next(iter(rows.values())), 0.4 if title else 0.05
    columns = math.ceil(len(first) / math.ceil(len(first) / most))
    blocks = range(0, len(first), columns)
    sheet = Sheet([*rows] * len(blocks), columns, ratio(first), above=above, below=below)
    for number, start in enumerate(blocks):
        for row, (label, tiles) in enumerate(rows.items(), number * len(rows)):
            sheet.draw(row, tiles[start : start + columns], **(styles or {}).get(label, {}))
    if title:
        place = (sheet.left / WIDTH, 1 - 0.2 / sheet.figure.get_figheight())
        sheet.figure.text(*place, title, fontsize=TEXT, weight="bold", va="center", color=INK)
    return sheet


def display(images: np.ndarray) -> np.ndarray:
    """Images ``(..., channel, y, x)`` as ``(..., y, x)`` in grey or ``(..., y, x, 3)``, within [0, 1]."""
    channels = images.shape[-3]
    if channels not in (1, 3):
        raise ValueError(f"expected images with 1 or 3 channels, got {channels}")
    images = np.clip(images, 0, 1)
    return images[..., 0, :, :] if channels == 1 else np.moveaxis(images, -3, -1)


def ratio(tiles: np.ndarray) -> float:
    """Height over width of tiles ``(columns, y, x, ...)``."""
    return tiles.shape[1] / tiles.shape[2]


def number_text(value: float, how: str = "g") -> str:
    """A number of two decimals at most; a dash for none."""
    return format(round(value, 2), how).replace("-", "−") if np.isfinite(value) else "–"


def text_width(text: str) -> float:
    """Width of a label in inches."""
    return TextPath((0, 0), text, size=TEXT).get_extents().width / 72 if text.strip() else 0.0
