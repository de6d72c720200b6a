"""The known data sets as text, and a sheet of pictures of any."""

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

__all__ = ["data_sheet", "described", "listed", "write_sheet"]

_WIDTH, _SHOWN = 100, 8
_TILE, _GAP, _LABEL = 128, 4, 140  # pixels


def listed(entries: Sequence[Entry] | None = None) -> list[str]:
    """Lines of a list of data sets: number, factors, licence, and where to get them."""
    entries = catalogue() if entries is None else entries
    lines = []
    for needs_no_file, title in (
        (True, "at hand, by name"),
        (False, "read from your disk, by path"),
    ):
        lines.append(f"{title}:")
        for entry in (e for e in entries if e.needs_no_file == needs_no_file):
            lines.append(f"  {entry.name}" + (f"  ({entry.num_data:,})" if entry.num_data else ""))
            told = [entry.description, _factors(entry), f"{entry.licence}. {entry.source}"]
            lines += [line for text in told if text for line in _indented(text, "      ")]
    return lines


def described(name: str) -> list[str]:
    """Lines that tell all of one data set: an entry of the catalogue, or what lies at a path.

    Raises:
        ValueError: no such name or path.
    """
    entry = _entry(name)
    lines = []
    if entry is not None:
        lines += [entry.name, *_indented(entry.description, "  ")]
        lines += [
            f"  licence: {entry.licence}",
            f"  source:  {entry.source}",
            f"  call:    {entry.call}",
        ]
        if not entry.needs_no_file:
            lines += _indented(
                f"published: {entry.num_data:,} data" if entry.num_data else "", "  "
            )
            return lines + _indented(_factors(entry, most=len(entry.factors)), "  ")
    data = load_data(entry.name if entry is not None else name)
    lines += [] if entry is not None else [data.name]
    lines.append(
        f"  {len(data):,} observations of shape {data.observation_shape}, {data.maximum:g} means 1"
    )
    if isinstance(data, FactorGrid):
        lines.append("  every combination of the factors once, the last varying fastest:")
    width = max((len(n) for n in data.factor_names), default=0)
    return lines + [
        f"    {f.name:<{width}}  {f.size:>4} {f.kind:<11}  {_values(f)}" for f in data.space
    ]


def write_sheet(name: str, path: Path, *, seed: int = 0) -> None:
    """Write the sheet of a data set, by name or path, as a PNG file; atomically.

    Raises:
        ValueError: no such data, no images, or data that are read from disk, without their path.
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
    """A picture of a data set: two rows of random images, and for each factor of a grid one in which it alone varies.

    Raises:
        ValueError: observations that are no images of 1, 3 or 4 channels.
    """
    if len(data.observation_shape) != 3 or data.observation_shape[0] not in (1, 3, 4):
        raise ValueError(
            f"expected images, got observations of shape {data.observation_shape} of {data.name!r}"
        )
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(data), (2, _SHOWN), generator=generator)
    rows = [("random", data.observations(index[0])), ("", data.observations(index[1]))]
    if isinstance(data, FactorGrid):
        centre = data.factors(index[0, :1])
        rows += [
            (f.name, data.render(_through(centre, k, f.size))) for k, f in enumerate(data.space)
        ]
    sheet = Image.new(
        "RGB", (_LABEL + _SHOWN * (_TILE + _GAP), len(rows) * (_TILE + _GAP)), "white"
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for r, (label, images) in enumerate(rows):
        pen.text(
            (_GAP, r * (_TILE + _GAP) + _TILE // 2), label, fill="black", font=font, anchor="lm"
        )
        for column, image in enumerate(data.to_float(images)):
            sheet.paste(_tile(image), (_LABEL + column * (_TILE + _GAP), r * (_TILE + _GAP)))
    return sheet


def _through(centre: Tensor, k: int, size: int) -> Tensor:
    """Factor classes, those of ``centre`` but for factor k, which goes through its values."""
    num = min(size, _SHOWN)
    classes = centre.repeat(num, 1)
    classes[:, k] = torch.linspace(0, size - 1, num).round().long()
    return classes


def _tile(image: Tensor) -> Image.Image:
    """An image ``(channels, height, width)`` in [0, 1], scaled so that it fits a tile, small ones by a whole number."""
    pixels = (255 * image.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    largest = max(picture.size)
    if largest > _TILE:
        return picture.resize(
            (picture.width * _TILE // largest, picture.height * _TILE // largest),
            Image.Resampling.BOX,
        )
    times = _TILE // largest
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def _entry(name: str) -> Entry | None:
    """The entry of that name, whatever its case; none for a path.

    Raises:
        ValueError: neither.
    """
    names = {entry.name.casefold(): entry for entry in catalogue()}
    if name in NAMES or (name.casefold() in names and not Path(name).exists()):
        return names[name.casefold()]
    if Path(name).exists():
        return None
    close = get_close_matches(name.casefold(), names, 1)
    hint = f"; did you mean {names[close[0]].name!r}?" if close else ""
    raise ValueError(f"no data set or path {name!r}; see the list of `ppl-disentangle data`{hint}")


def _factors(entry: Entry, *, most: int = 8) -> str:
    """Names and sizes of the factors."""
    pairs = [f"{n} {s}" if s else n for n, s in zip(entry.factors, entry.sizes, strict=True)]
    more = f" and {len(pairs) - most} more" if len(pairs) > most else ""
    return f"factors: {', '.join(pairs[:most])}{more}" if pairs else ""


def _values(factor: Factor) -> str:
    """The values of a factor, or the first and the last where they are many."""
    shown = [v if isinstance(v, str) else f"{v:g}" for v in factor.values]
    return ", ".join(shown) if len(shown) <= _SHOWN else f"{shown[0]} … {shown[-1]}"


def _indented(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
