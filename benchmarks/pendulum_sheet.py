"""A sheet of pendulums: as they are, as they would be by the model and in truth, and by how much these two differ."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.pendulum_scores import images_under, standard
from ppl_disentangle.data import Pendulum
from ppl_disentangle.data.causal.dataset import Labels
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.story import GenerativeStory

UNITS = (500, 1400)
ACTIONS = {
    "angle": (-30.0, 35.0),
    "light": (140.0, 70.0),
    "shadow_length": (9.0, 4.0),
    "shadow_position": (15.0, 5.0),
}


def draw_sheet(story: GenerativeStory, test: Pendulum, labels: Labels, path: Path) -> None:
    """One row for each intervention, two units side by side."""
    index = torch.tensor(UNITS)
    x = test.to_float(test.observations(index))
    figure = Figure(figsize=(8.4, 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(ACTIONS), 4 * len(UNITS))
    for number, (node, values) in enumerate(ACTIONS.items()):
        row = axes[number]
        setting = torch.tensor(values)
        found = images_under(story, x, {node: standard(setting, node, test, labels)[:, None]})
        true = test.to_float(test.counterfactual(index, {node: setting})[1])
        for u in range(len(UNITS)):
            titles = ("as it is", "model", "truth", "difference")
            images = (
                x[u],
                found[u],
                true[u],
                1 - (found[u] - true[u]).abs().mean(0, keepdim=True).expand(3, -1, -1),
            )
            for axis, title, image in zip(row[4 * u :], titles, images, strict=False):
                axis.imshow(image.permute(1, 2, 0), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                if number == 0:
                    axis.set_title(title, fontsize=8)
            row[4 * u + 1].set_xlabel(f"{node} = {values[u]:g}", fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
