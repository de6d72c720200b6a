"""Write ``docs/data.md`` from docstrings, catalogue and speeds: ``python docs/templates/write_data.py [pictures]``."""

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
from ppl_disentangle.data import CausalDataset, FactorDataset, FactorGrid, Sprites, catalogue

DOCS = Path(__file__).parents[1]
PAGE, IMAGES = DOCS / "data.md", DOCS / "images"
GROUPS = {
    "Drawn": (
        *("Sprites", "Room", "XYSquares", "TwoObjects", "Pendulum", "Flow", "ThicknessIntensity"),
        *("pendulum_grid", "flow_grid", "InputGrid", "digits"),
    ),
    "Read from your disk": (
        *("DSprites", "Shapes3D", "MPI3D", "Cars3D", "SmallNORB", "CelebA", "MorphoMNIST"),
        *("from_labelled_names", "from_idx"),
    ),
    "Your own": ("load_data", "from_arrays", "from_torch", "from_npz", "from_folder"),
    "Structural models": (
        "LinearSCM",
        "NonlinearSCM",
        "EquationSCM",
        "published_scm",
        "random_dag",
    ),
    "Colours and backgrounds": ("Coloured", "Noisy", "OnPicture", "swirls"),
    "Samples": (
        *(
            "iid",
            "correlated",
            "correlated_density",
            "pairs",
            "groups",
            "sharing",
            "triplets",
            "walks",
        ),
        *("laplace_transition", "interventional", "partial_labels", "with_conditions"),
    ),
    "Splits": ("split_combinations", "split_where"),
}
COLUMNS = 8


def page() -> str:
    """The page as it should be."""
    speeds = json.loads((DOCS / "measured/data_speed.json").read_text())
    contents, chapters = [], []
    for title, names in GROUPS.items():
        members = [getattr(data, name) for name in names]
        contents += [f"- {title}"] + [
            f"  - [`{m.__name__}`](#{m.__name__.lower()}): {first_line(m)}" for m in members
        ]
        chapters += [f"# {title}", *map(chapter, members)]
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
    """One data set or sampler: text and formula, picture, arguments with defaults, errors, sources."""
    text, sections = split(inspect.getdoc(member))
    parts = [f"## {member.__name__}", *map(paragraph, text)]
    if member.__name__ in SHEETS:
        rows = SHEETS[member.__name__][1]
        parts.append(f"![{first_line(member)}](images/{picture(member.__name__).name})\n\n{rows}")
    if "Args" in sections:
        parts.append(
            "| argument | default | |\n|---|---|---|\n"
            + "\n".join(arguments(member, sections["Args"]))
        )
    references = re.sub(r"\s+", " ", sections.get("References", "")).strip()
    if references:
        parts.append("Sources: " + re.sub(r" (?=\[\d+\])", "; ", references))
    return "\n\n".join(parts)


def catalogue_table() -> str:
    """All known data sets with what is known of them."""
    lines = [
        "| data | number | factors and their sizes | licence | source | call |",
        "|---|---|---|---|---|---|",
    ]
    for entry in catalogue():
        pairs = [
            f"{name} {size or ''}".strip()
            for name, size in zip(entry.factors, entry.sizes, strict=True)
        ]
        factors = (
            ", ".join(pairs) if len(pairs) < 10 else f"{len(pairs)} of {max(entry.sizes)} values"
        )
        source = f"<{entry.source}>" if entry.source.startswith("http") else entry.source
        number = f"{entry.num_data:,}" if entry.num_data else ""
        name = f"{entry.name} (here)" if entry.needs_no_file else entry.name
        lines.append(
            f"| {name} | {number} | {factors} | {entry.licence} | {source} | `{entry.call}` |"
        )
    return "\n".join(lines)


def speed_table(drawn: dict[str, Any]) -> str:
    """Milliseconds a batch and images a second of what is drawn."""
    lines = [
        "| data | ms for 64 images | images a second | s before the first |",
        "|---|---|---|---|",
    ]
    for name, row in drawn.items():
        if name != "what":
            speed = f"{row['ms']['median']:.2f} | {row['images_per_s']:,.0f} | {row['seconds_before']:.2f}"
            lines.append(f"| {name} | {speed} |")
    return "\n".join(lines)


def packed(row: dict[str, Any]) -> str:
    """The speed of the dSprites file, in a sentence."""
    return (
        f"{row['ms']['median']:.3f} ms for 64 images as floats, from {row['megabytes_kept']:.0f} MB, "
        f"after {row['seconds_to_load']:.1f} s of loading."
    )


def sampler_table(samplers: dict[str, Any]) -> str:
    """Speed of every sampler against independent draws."""
    lines = ["| samples | ms | speed |", "|---|---|---|"]
    lines += [
        f"| {name} | {row['cpu_ms']:.2f} | {row['speed']:.2f} |"
        for name, row in samplers.items()
        if name != "what"
    ]
    return "\n".join(lines)


def picture(name: str) -> Path:
    """Where the picture of a member is."""
    return IMAGES / f"data_{name.lower()}.png"


def grid_sheet(grid: FactorGrid, base: list[int]) -> torch.Tensor:
    """A row for each factor, which goes through its values while the others stay."""
    rows = []
    for k, size in enumerate(grid.factor_sizes):
        factors = torch.tensor([base] * COLUMNS)
        factors[:, k] = torch.linspace(0, size - 1, COLUMNS).round().long()
        rows.append(grid.to_float(grid.render(factors)))
    return tiled(rows)


def causal_sheet(
    scene: CausalDataset, unit: int, settings: dict[str, tuple[float, float]]
) -> torch.Tensor:
    """A row for each node, which is set to values in a range: what the unit would have been."""
    rows = []
    for node, (low, high) in settings.items():
        index = torch.full((COLUMNS,), unit)
        _, images = scene.counterfactual(index, {node: torch.linspace(low, high, COLUMNS)})
        rows.append(scene.to_float(images))
    return tiled(rows)


def first_sheet(some: FactorDataset, num: int) -> torch.Tensor:
    """Some of the data, one row."""
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


FACTORS = "A row for each factor, from its first to its last value while the others stay: {}."
NODES = (
    "What one unit would have been, had a node been set to values in its range; a row for each: {}."
)
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
    "digits": (lambda: first_sheet(data.digits(), 16), "Some of them, each pixel as 4 x 4."),
    "Coloured": (lambda: first_sheet(data.Coloured(Sprites()), COLUMNS), "Some sprites."),
    "Noisy": (lambda: first_sheet(data.Noisy(Sprites()), 5), "Some sprites."),
    "OnPicture": (lambda: first_sheet(data.OnPicture(Sprites()), 5), "Some sprites."),
}


if __name__ == "__main__":
    if sys.argv[1:] == ["pictures"]:
        for name, (sheet, _) in SHEETS.items():
            Image.fromarray(sheet().numpy()).save(picture(name), optimize=True)
    PAGE.write_text(page())
