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

WIDTH = 6.0
"""Width of a figure in inches: the width of a page of text."""
DPI = 130
"""Pixels to an inch: tiles of 64 pixels keep their size, and text is legible on a phone."""
TEXT = 10
"""Size of labels in points."""
SMALL = 9
"""Size of numbers and legends in points."""
INK = "#1f2328"
MUTED = "#59636e"
GRID = "#d8dee4"
BLUE = "#0072b2"
"""With orange, of the palette of Okabe and Ito, which all kinds of colour vision distinguish."""
ORANGE = "#d55e00"
GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
TILE_GAP = 0.06
"""Distance of two tiles, as a share of a tile."""
MOST_TILE_INCHES = 1.1
LINE_INCHES = 0.2
"""Least height of a row with a label of one line."""
TWO_LINES_INCHES = 0.36
TITLE_INCHES = 0.4


class Sheet:
    """Rows of tiles with labels at their left, in axes where one unit is the width of a tile.

    Args:
        labels: Label of each row; a second line is a note in smaller letters.
        columns: Number of tiles in a row.
        height: Height of a tile over its width.
        between: Room between two rows in inches.
        above: Room above all rows in inches.
        below: Room below all rows in inches.

    Attributes:
        figure: The figure.
        axes: Axes of the tiles.
        left: Width of the labels in inches.
        tile: Width of a tile in inches.
        ratio: Height of a tile over its width.
        step: Distance from row to row, over the width of a tile.
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
        self.left = _labels_width(labels)
        self.tile = min((WIDTH - self.left - 0.05) / columns, MOST_TILE_INCHES)
        label_height = TWO_LINES_INCHES if any("\n" in label for label in labels) else LINE_INCHES
        self.ratio = height
        self.step = max(height + between / self.tile, label_height / self.tile)
        rows = len(labels) * self.step
        whole = above + rows * self.tile + below
        self.figure = Figure((WIDTH, whole), dpi=DPI, facecolor="white")
        place = (
            self.left / WIDTH,
            below / whole,
            columns * self.tile / WIDTH,
            rows * self.tile / whole,
        )
        self.axes = self.figure.add_axes(place, xlim=(0, columns), ylim=(rows, 0))
        self.axes.axis("off")
        for row, label in enumerate(labels):
            self._label(row, label)

    def _label(self, row: int, label: str) -> None:
        """Write the label of a row, and its note in a second line."""
        name, _, note = label.partition("\n")
        middle = (0.0, row * self.step + self.ratio / 2)
        self._write(name, middle, (-7, 6 if note else 0), ha="right", va="center", fontsize=TEXT)
        if note:
            self._write(note, middle, (-7, -7), ha="right", va="center", color=MUTED)

    def draw(self, row: int, tiles: np.ndarray, **style: Any) -> None:
        """Draw the tiles of a row.

        Args:
            row: Number of the row.
            tiles: Grey images ``(columns, y, x)`` or colour images ``(columns, y, x, 3)``.
            **style: Further options of matplotlib's ``imshow``.
        """
        top = row * self.step
        width = 1 - TILE_GAP
        height = self.ratio * (1 - TILE_GAP)
        for column, tile in enumerate(tiles):
            extent = (column, column + width, top + height, top)
            self.axes.imshow(tile, extent=extent, aspect="auto", **(GREY | style))
            corner = (column, top)
            self.axes.add_patch(Rectangle(corner, width, height, fill=False, ec=GRID, lw=0.5))

    def number(self, row: int, values: np.ndarray, *, under: bool = False) -> None:
        """Write numbers above or under the tiles of a row.

        Only every second, third, … number is written where all of them do not fit.

        Args:
            row: Number of the row.
            values: One number for each tile.
            under: Whether the numbers stand under the tiles instead of above them.
        """
        y = row * self.step + (self.ratio * (1 - TILE_GAP) if under else 0)
        offset = (0, -2 if under else 2)
        texts = [number_text(value) for value in values]
        every = math.ceil(max(map(text_width, texts)) / self.tile)
        for column in range(0, len(texts), every):
            place = (column + (1 - TILE_GAP) / 2, y)
            self._write(texts[column], place, offset, va="top" if under else "bottom")

    def _write(
        self, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any
    ) -> None:
        """Write a text at a place in tiles, moved by an offset in points."""
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
    """Draw rows of tiles under one another.

    Rows that are longer than ``most`` are broken into blocks of equal length.

    Args:
        rows: Tiles of each row, by its label.
        styles: Options of matplotlib's ``imshow``, by label.
        title: Title of the sheet; an empty title takes no room.
        below: Room below all rows in inches.
        most: Largest number of tiles in a row.
    """
    styles = styles or {}
    first = next(iter(rows.values()))
    num_blocks = math.ceil(len(first) / most)
    columns = math.ceil(len(first) / num_blocks)
    starts = range(0, len(first), columns)
    above = TITLE_INCHES if title else 0.05
    sheet = Sheet([*rows] * len(starts), columns, ratio(first), above=above, below=below)
    for block, start in enumerate(starts):
        for row, (label, tiles) in enumerate(rows.items(), block * len(rows)):
            sheet.draw(row, tiles[start : start + columns], **styles.get(label, {}))
    if title:
        x = sheet.left / WIDTH
        y = 1 - TITLE_INCHES / 2 / sheet.figure.get_figheight()
        sheet.figure.text(x, y, title, fontsize=TEXT, weight="bold", va="center", color=INK)
    return sheet


def display(images: np.ndarray) -> np.ndarray:
    """Convert images ``(..., channel, y, x)`` to the layout of matplotlib, cut to [0, 1].

    Returns:
        Grey images ``(..., y, x)`` for one channel, colour images ``(..., y, x, 3)`` for three.

    Raises:
        ValueError: Another number of channels.
    """
    channels = images.shape[-3]
    if channels not in (1, 3):
        raise ValueError(f"expected images with 1 or 3 channels, got {channels}")
    images = np.clip(images, 0, 1)
    return images[..., 0, :, :] if channels == 1 else np.moveaxis(images, -3, -1)


def ratio(tiles: np.ndarray) -> float:
    """Return the height over the width of tiles ``(columns, y, x, ...)``."""
    return tiles.shape[1] / tiles.shape[2]


def number_text(value: float, how: str = "g") -> str:
    """Write a number with two decimals at most; a dash stands for a number that is not finite.

    Args:
        value: The number.
        how: Format of the rounded number.
    """
    return format(round(value, 2), how).replace("-", "−") if np.isfinite(value) else "–"


def text_width(text: str) -> float:
    """Return the width of a label in inches."""
    return TextPath((0, 0), text, size=TEXT).get_extents().width / 72 if text.strip() else 0.0


def _labels_width(labels: Sequence[str]) -> float:
    """Return the room in inches that the widest line of all labels needs."""
    lines = "\n".join(labels).split("\n")
    return max(map(text_width, lines)) + 0.2
