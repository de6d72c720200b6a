"""The data sets as text, and a sheet of pictures of one data set."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid
from ppl_disentangle.data.catalogue import Entry, catalogue
from ppl_disentangle.data.load import NAMES, load_data
from ppl_disentangle.storage import atomic_path

__all__ = ["data_sheet", "description", "list_of_data_sets", "write_sheet"]

WIDTH_CHARACTERS = 100
MAX_FACTORS = 8
MAX_VALUES = 8
NUM_COLUMNS = 8
TILE_PIXELS = 128
GAP_PIXELS = 4
LABEL_PIXELS = 140
FONT_PIXELS = 16


def list_of_data_sets(entries: Sequence[Entry] | None = None) -> list[str]:
    """Lines of a list of data sets: the size of each, its factors, its licence and its source."""
    entries = catalogue() if entries is None else entries
    lines = ["Data sets that need no files; give their names:"]
    for entry in entries:
        if entry.needs_no_file:
            lines += _entry_lines(entry)
    lines += ["", "Data sets that you download; give the path of the file or folder:"]
    for entry in entries:
        if not entry.needs_no_file:
            lines += _entry_lines(entry)
    return lines


def _entry_lines(entry: Entry) -> list[str]:
    """The name and size of a data set, and paragraphs about it."""
    lines = [f"  {entry.name}" + (f"  ({entry.num_data:,})" if entry.num_data else "")]
    for text in (entry.description, _factors(entry), f"{entry.licence}. {entry.source}"):
        lines += _indented(text, "      ")
    return lines


def description(name: str) -> list[str]:
    """Lines that describe one data set: an entry of the catalogue, or the data at a path.

    Raises:
        ValueError: There is no data set of this name, and no such path.
    """
    entry = _entry(name)
    if entry is None:
        data = load_data(name)
        return [data.name, *_content_lines(data)]
    lines = [entry.name, *_indented(entry.description, "  ")]
    lines += [f"  licence: {entry.licence}", f"  source:  {entry.source}"]
    lines += [f"  call:    {entry.call}"]
    if entry.needs_no_file:
        return lines + _content_lines(load_data(entry.name))
    if entry.num_data:
        lines += [f"  published: {entry.num_data:,} data"]
    return lines + _indented(_factors(entry, most=len(entry.factors)), "  ")


def _content_lines(data: FactorDataset) -> list[str]:
    """The number and shape of the observations, and a line for each factor."""
    shape = data.observation_shape
    lines = [f"  {len(data):,} observations of shape {shape}, {data.maximum:g} means 1"]
    if isinstance(data, FactorGrid):
        lines.append("  every combination of the factors once, the last factor varying fastest:")
    width = max((len(name) for name in data.factor_names), default=0)
    for factor in data.space:
        values = _values(factor)
        lines.append(f"    {factor.name:<{width}}  {factor.size:>4} {factor.kind:<11}  {values}")
    return lines


def write_sheet(name: str, path: Path, *, seed: int = 0) -> None:
    """Write a picture of a data set, given by name or path, as a PNG file, atomically.

    Raises:
        ValueError: There are no such data, they are not images, the data set has to be given by the
            path of its files, or ``path`` does not end in ``.png``.
    """
    entry = _entry(name)
    if entry is not None and not entry.needs_no_file:
        raise ValueError(
            f"{entry.name!r} is read from your disk: give the path of its file or folder"
        )
    if path.suffix.lower() != ".png":
        raise ValueError(f"expected a .png file, got {str(path)!r}")
    sheet = data_sheet(load_data(entry.name if entry is not None else name), seed=seed)
    with atomic_path(path) as unfinished:
        sheet.save(unfinished, format="png")


def data_sheet(data: FactorDataset, *, seed: int = 0) -> Image.Image:
    """Draw a data set: two rows of random images and, for a grid, a row for each varying factor.

    Args:
        data: Images.
        seed: Seed of the choice of images.

    Raises:
        ValueError: The observations are not images of 1, 3 or 4 channels.
    """
    if len(data.observation_shape) != 3 or data.observation_shape[0] not in (1, 3, 4):
        raise ValueError(
            f"expected images, got observations of shape {data.observation_shape} of {data.name!r}"
        )
    rows = _labelled_rows(data, seed)
    pitch = TILE_PIXELS + GAP_PIXELS
    size = (LABEL_PIXELS + NUM_COLUMNS * pitch, len(rows) * pitch)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_PIXELS)
    for number, (label, images) in enumerate(rows):
        top = number * pitch
        middle = top + TILE_PIXELS // 2
        pen.text((GAP_PIXELS, middle), label, fill="black", font=font, anchor="lm")
        for column, image in enumerate(data.to_float(images)):
            sheet.paste(_tile(image), (LABEL_PIXELS + column * pitch, top))
    return sheet


def _labelled_rows(data: FactorDataset, seed: int) -> list[tuple[str, Tensor]]:
    """The rows of a sheet: labels, and images ``(columns, channels, height, width)``."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(data), (2, NUM_COLUMNS), generator=generator)
    rows = [("random", data.observations(index[0])), ("", data.observations(index[1]))]
    if isinstance(data, FactorGrid):
        classes = data.factors(index[0, :1])
        for position, factor in enumerate(data.space):
            rows.append((factor.name, data.render(_varied(classes, position, factor.size))))
    return rows


def _varied(classes: Tensor, position: int, size: int) -> Tensor:
    """Factor classes ``(columns, factors)``: one factor takes its values in turn, the others stay.

    Args:
        classes: Classes of one datum, of shape ``(1, factors)``.
        position: Position of the factor to vary.
        size: Number of its classes. A row shows all of them, or as many as it has columns.
    """
    num = min(size, NUM_COLUMNS)
    varied = classes.repeat(num, 1)
    varied[:, position] = torch.linspace(0, size - 1, num).round().long()
    return varied


def _tile(image: Tensor) -> Image.Image:
    """An image ``(channels, height, width)`` in [0, 1], scaled to fit into a tile.

    Small images are enlarged by a whole number, so that their pixels stay sharp.
    """
    pixels = (255 * image.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    largest = max(picture.size)
    if largest > TILE_PIXELS:
        width = picture.width * TILE_PIXELS // largest
        height = picture.height * TILE_PIXELS // largest
        return picture.resize((width, height), Image.Resampling.BOX)
    times = TILE_PIXELS // largest
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def _entry(name: str) -> Entry | None:
    """The entry of the catalogue with this name, in upper or lower case; None if it is a path.

    Raises:
        ValueError: The catalogue has no such name, and there is no such path.
    """
    entries = {entry.name.casefold(): entry for entry in catalogue()}
    key = name.casefold()
    path_exists = Path(name).exists()
    if name in NAMES or (key in entries and not path_exists):
        return entries[key]
    if path_exists:
        return None
    close = get_close_matches(key, entries, 1)
    hint = f"; did you mean {entries[close[0]].name!r}?" if close else ""
    raise ValueError(f"no data set or path {name!r}; see the list of `ppl-disentangle data`{hint}")


def _factors(entry: Entry, *, most: int = MAX_FACTORS) -> str:
    """The names and sizes of the factors as text, at most so many of them."""
    texts = []
    for name, size in zip(entry.factors, entry.sizes, strict=True):
        texts.append(f"{name} {size}" if size else name)
    if not texts:
        return ""
    num_more = len(texts) - most
    return f"factors: {', '.join(texts[:most])}" + (f" and {num_more} more" if num_more > 0 else "")


def _values(factor: Factor) -> str:
    """The values of a factor as text; only the first and the last if there are many."""
    texts = [value if isinstance(value, str) else f"{value:g}" for value in factor.values]
    return ", ".join(texts) if len(texts) <= MAX_VALUES else f"{texts[0]} … {texts[-1]}"


def _indented(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH_CHARACTERS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
