"""Write ``docs/data.md`` from docstrings, catalogue and measured speeds.

``python docs/templates/write_data.py`` writes the page, ``python docs/templates/write_data.py pictures`` the pictures
too.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from write_objectives import arguments, first_line, paragraph, split

from ppl_disentangle import data
from ppl_disentangle.data import CausalDataset, Entry, FactorDataset, FactorGrid, Sprites, catalogue

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "data.md"
IMAGES = DOCS / "images"
GROUPS = {
    "Data sets that are drawn": """
        Sprites Room XYSquares TwoObjects Pendulum Flow ThicknessIntensity pendulum_grid flow_grid InputGrid digits
    """.split(),
    "Data sets that are read from files": """
        DSprites Shapes3D MPI3D Cars3D SmallNORB CelebA MorphoMNIST from_labelled_names from_idx
    """.split(),
    "Your own data": """
        load_data as_dataset from_arrays from_torch from_sequences from_table to_frame encode_rows from_npz
        from_npy from_folder
    """.split(),
    "Structural causal models": "LinearSCM NonlinearSCM EquationSCM published_scm random_dag".split(),
    "Colours and backgrounds": "Coloured Noisy OnPicture swirls".split(),
    "Samples from a data set": """
        iid correlated correlated_density pairs groups sharing triplets walks laplace_transition interventional
        partial_labels with_conditions
    """.split(),
    "Splits": "split_combinations split_where".split(),
}
COLUMNS = 8
MANY_FACTORS = 10


def page() -> str:
    """The text of the page."""
    speeds = json.loads((DOCS / "measured/data_speed.json").read_text())
    contents = []
    chapters = []
    for title, names in GROUPS.items():
        contents.append(f"- {title}")
        chapters.append(f"# {title}")
        for name in names:
            member = getattr(data, name)
            contents.append(f"  - [`{name}`](#{name.lower()}): {first_line(member)}")
            chapters.append(chapter(member))
    fields = {
        "CATALOGUE": catalogue_table(),
        "CONTENTS": "\n".join(contents),
        "CHAPTERS": "\n\n".join(chapters),
        "MACHINE": f"torch {speeds['torch']}, {speeds['machine']}.",
        "SPEED": speed_table(speeds["drawn"]),
        "PACKED": packed(speeds["packed"]),
        "SAMPLERS": sampler_table(speeds["samplers"]),
    }
    text = (DOCS / "templates/data.md.in").read_text()
    for name, value in fields.items():
        text = text.replace(f"@{name}@", value)
    return text


def chapter(member: Callable[..., Any]) -> str:
    """The section of one data set or sampler: text, picture, arguments with defaults, sources."""
    text, sections = split(inspect.getdoc(member))
    parts = [f"## {member.__name__}", *map(paragraph, text)]
    if member.__name__ in SHEETS:
        rows = SHEETS[member.__name__][1]
        parts.append(f"![{first_line(member)}](images/{picture(member.__name__).name})\n\n{rows}")
    if "Args" in sections:
        rows = arguments(member, sections["Args"])
        parts.append("\n".join(["| argument | default | |", "|---|---|---|", *rows]))
    references = re.sub(r"\s+", " ", sections.get("References", "")).strip()
    if references:
        parts.append("Sources: " + re.sub(r" (?=\[\d+\])", "; ", references))
    return "\n\n".join(parts)


def catalogue_table() -> str:
    """A table of all known data sets."""
    lines = [
        "| data | number | factors and their sizes | licence | source | call |",
        "|---|---|---|---|---|---|",
    ]
    for entry in catalogue():
        source = f"<{entry.source}>" if entry.source.startswith("http") else entry.source
        cells = [
            f"{entry.name} (no file)" if entry.needs_no_file else entry.name,
            f"{entry.num_data:,}" if entry.num_data else "",
            factors_and_sizes(entry),
            entry.licence,
            source,
            f"`{entry.call}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def factors_and_sizes(entry: Entry) -> str:
    """The factors of a data set with their numbers of values, or only their number if there are many."""
    if len(entry.factors) >= MANY_FACTORS:
        return f"{len(entry.factors)} factors of {max(entry.sizes)} values"
    pairs = zip(entry.factors, entry.sizes, strict=True)
    return ", ".join(f"{name} {size or ''}".strip() for name, size in pairs)


def speed_table(drawn: dict[str, Any]) -> str:
    """Milliseconds per batch and images per second of the drawn data sets."""
    lines = [
        "| data | ms for 64 images | images per second | s before the first batch |",
        "|---|---|---|---|",
    ]
    for name, row in drawn.items():
        if name != "what":
            speed = f"{row['ms']['median']:.2f} | {row['images_per_s']:,.0f} | {row['seconds_before']:.2f}"
            lines.append(f"| {name} | {speed} |")
    return "\n".join(lines)


def packed(row: dict[str, Any]) -> str:
    """The speed of the dSprites file, as a sentence."""
    return (
        f"{row['ms']['median']:.3f} ms for 64 images as floats, from {row['megabytes_kept']:.0f} MB, "
        f"after {row['seconds_to_load']:.1f} s of loading."
    )


def sampler_table(samplers: dict[str, Any]) -> str:
    """Speed of each sampler relative to independent draws."""
    lines = ["| samples | ms | speed |", "|---|---|---|"]
    lines += [
        f"| {name} | {row['cpu_ms']:.2f} | {row['speed']:.2f} |"
        for name, row in samplers.items()
        if name != "what"
    ]
    return "\n".join(lines)


def picture(name: str) -> Path:
    """Path of the picture of a data set."""
    return IMAGES / f"data_{name.lower()}.png"


def grid_sheet(grid: FactorGrid, base: list[int]) -> torch.Tensor:
    """A row for each factor, which takes its values in turn while the others are constant."""
    rows = []
    for k, size in enumerate(grid.factor_sizes):
        factors = torch.tensor([base] * COLUMNS)
        factors[:, k] = torch.linspace(0, size - 1, COLUMNS).round().long()
        rows.append(grid.to_float(grid.render(factors)))
    return tiled(rows)


def causal_sheet(
    scene: CausalDataset, unit: int, settings: dict[str, tuple[float, float]]
) -> torch.Tensor:
    """A row of counterfactuals for each node, which is set to values in a range."""
    rows = []
    for node, (low, high) in settings.items():
        index = torch.full((COLUMNS,), unit)
        _, images = scene.counterfactual(index, {node: torch.linspace(low, high, COLUMNS)})
        rows.append(scene.to_float(images))
    return tiled(rows)


def random_sheet(some: FactorDataset, num: int) -> torch.Tensor:
    """One row of random data, enlarged to at least 32 pixels."""
    index = torch.randperm(len(some), generator=torch.Generator().manual_seed(0))[:num]
    images = some.to_float(some.observations(index))
    return tiled(
        [torch.nn.functional.interpolate(images, scale_factor=max(1, 32 // images.shape[-1]))]
    )


def tiled(rows: list[torch.Tensor]) -> torch.Tensor:
    """Images ``(columns, channels, height, width)`` in rows, white lines between: uint8 ``(height, width, 3)``."""
    padded = [
        torch.nn.functional.pad(row.expand(-1, 3, -1, -1), (1, 1, 1, 1), value=1) for row in rows
    ]
    grid = torch.cat([torch.cat(list(row), -1) for row in padded], -2)
    return grid.mul(255).round().to(torch.uint8).permute(1, 2, 0)


FACTORS = (
    "A row for each factor, from its first to its last value while the others are constant: {}."
)
NODES = "Counterfactuals of one unit; a row for each node, which is set to values in its range: {}."
SHEETS: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "Sprites": (
        lambda: grid_sheet(Sprites(), [2, 4, 3, 16, 16]),
        FACTORS.format("shape, scale, orientation, x, y"),
    ),
    "Room": (
        lambda: grid_sheet(data.Room(), [1, 6, 4, 5, 0, 5]),
        FACTORS.format("hue of floor, wall and object, scale, shape, orientation"),
    ),
    "XYSquares": (
        lambda: grid_sheet(data.XYSquares(), [1, 1, 4, 3, 6, 5]),
        FACTORS.format("x and y of red, green and blue"),
    ),
    "TwoObjects": (
        lambda: grid_sheet(data.TwoObjects(), [0, 4, 3, 3, 2, 1, 5, 4]),
        FACTORS.format("shape, hue, x and y of the back, and of the front"),
    ),
    "Pendulum": (
        lambda: causal_sheet(
            data.Pendulum(),
            1700,
            {
                "angle": (-40, 43),
                "light": (60, 147),
                "shadow_length": (0, 12),
                "shadow_position": (2, 18),
            },
        ),
        NODES.format("angle, light, length and position of the shadow"),
    ),
    "Flow": (
        lambda: causal_sheet(
            data.Flow(),
            5000,
            {"ball": (5, 34), "height": (1, 5), "hole": (6, 14), "flow": (1.5, 6.5)},
        ),
        NODES.format("ball, height of the water, hole, flow"),
    ),
    "ThicknessIntensity": (
        lambda: causal_sheet(
            data.ThicknessIntensity(100), 4, {"thickness": (1, 5), "intensity": (80, 250)}
        ),
        NODES.format("thickness, intensity"),
    ),
    "digits": (
        lambda: random_sheet(data.digits(), 16),
        "Random digits, each pixel enlarged to 4 x 4.",
    ),
    "Coloured": (lambda: random_sheet(data.Coloured(Sprites()), COLUMNS), "Random sprites."),
    "Noisy": (lambda: random_sheet(data.Noisy(Sprites()), 5), "Random sprites."),
    "OnPicture": (lambda: random_sheet(data.OnPicture(Sprites()), 5), "Random sprites."),
}


if __name__ == "__main__":
    if sys.argv[1:] == ["pictures"]:
        for name, (sheet, _) in SHEETS.items():
            Image.fromarray(sheet().numpy()).save(picture(name), optimize=True)
    PAGE.write_text(page())
