"""Counterfactual images of the pendulum beside the true ones, by model: ``python -m benchmarks.pendulum 0 1 2``.

Every row of every seed that ``docs/measured/pendulum.json`` lacks is trained on one thread; then
``docs/measured/pendulum.table.md`` and
``docs/images/pendulum_counterfactuals.png`` are written from it. The held-out units are the published split's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pendulum_scores import axioms, baselines, errors, information
from benchmarks.pendulum_sheet import draw_sheet
from benchmarks.pendulum_table import table
from ppl_disentangle import StructuralPrior
from ppl_disentangle.causal.mechanisms import AdditiveNoise, LinearGaussian
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Pendulum, with_conditions
from ppl_disentangle.data.arrays import from_arrays
from ppl_disentangle.data.causal.dataset import Labels
from ppl_disentangle.data.conditioned import ConditionedDataset
from ppl_disentangle.inference import fit
from ppl_disentangle.models import CausalVAE, CausalVAEPaper
from ppl_disentangle.runs.training import processor
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.story import GenerativeStory

DOCS = Path(__file__).parents[1] / "docs"
RESULTS, TABLE = DOCS / "measured/pendulum.json", DOCS / "measured/pendulum.table.md"
SHEET = DOCS / "images" / "pendulum_counterfactuals.png"

HIDDEN, LABEL_SCALE, BATCH_SIZE = 256, 0.03, 128
SCHEDULE = ((1500, 2e-3), (1000, 5e-4), (500, 1e-4))
"""Steps, and their learning rate."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of model, and the conditions of the units that it learns from."""

    mechanism: type[nn.Module] | None  # None: the paper's objective, whose mechanisms are its own
    labelled: float = 1.0
    interventional: float = 0.0


ROWS = {
    "CausalVAE": Row(AdditiveNoise),
    "CausalVAE, 20 % of the units interventional": Row(AdditiveNoise, interventional=0.2),
    "CausalVAE, 10 % of the units labelled": Row(AdditiveNoise, labelled=0.1),
    "CausalVAE, linear mechanisms": Row(LinearGaussian),
    "CausalVAE as published": Row(None),
}


def units(row: Row, size: int, seed: int) -> tuple[Pendulum, Pendulum, Labels, ConditionedDataset]:
    """Units to learn from and to be judged by, the scale of their labels, and the former as a story is told of them.

    Of an interventional unit one node, drawn uniformly, has been set to a value drawn uniformly between the lowest and
    the highest of the training units; what follows is the truth's.
    """
    pendulum = Pendulum(size=size)
    train, test = (pendulum.units(index) for index in pendulum.published_split())
    labels = train.labels(fraction=row.labelled, seed=seed)
    values, generator = train.values, torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(train), generator=generator)[
        : round(row.interventional * len(train))
    ]
    node = torch.randint(len(train.names), (len(chosen),), generator=generator)
    low, high = values.min(0).values[node], values.max(0).values[node]
    settings = torch.full_like(values, math.nan)
    settings[chosen, node] = torch.lerp(low, high, torch.rand(len(chosen), generator=generator))
    values = train.intervene(
        torch.arange(len(train)), dict(zip(train.names, settings.unbind(-1), strict=True))
    )
    known = ((values - labels.mean) / labels.scale).masked_fill(~labels.known[:, None], math.nan)
    told = {"labels": known}
    if row.interventional:
        told["interventions"] = (settings - labels.mean) / labels.scale
    images = from_arrays(train.render_values(values), maximum=train.maximum, name=train.name)
    return train, test, labels, with_conditions(images, columns=train.names, **told)


class Moving(nn.Module):
    """The pixels that are not the same in all images; the others are left out, or put back as they are."""

    where: Tensor
    background: Tensor

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.register_buffer("where", (images != images[:1]).any(0).flatten().nonzero().squeeze(-1))
        self.register_buffer("background", images[0])

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.where]


class Still(Moving):
    """The logits of whole images, from the logits of the pixels that move."""

    def forward(self, logits: Tensor) -> Tensor:
        still = torch.logit(self.background.flatten(), eps=1e-5).expand(len(logits), -1)
        return still.index_copy(1, self.where, logits).unflatten(1, self.background.shape)


def network(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Linear(inputs, HIDDEN),
        nn.SiLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.SiLU(),
        nn.Linear(HIDDEN, outputs),
    ]


def build(row: Row, train: Pendulum, images: Tensor) -> GenerativeStory:
    """The story, with MLPs to and from the pixels that move."""
    moving, dim = Moving(images), len(train.names) * (4 if row.mechanism is None else 1)
    encoder = Gaussian(nn.Sequential(moving, *network(len(moving.where), 2 * dim)))
    decoder = Bernoulli(nn.Sequential(*network(dim, len(moving.where)), Still(images)))
    if row.mechanism is None:
        return CausalVAEPaper(train.dag, encoder, decoder)
    return CausalVAE(
        StructuralPrior(train.dag, row.mechanism), encoder, decoder, label_scale=LABEL_SCALE
    )


def run(
    name: str, seed: int, *, size: int = 64, schedule: tuple[tuple[int, float], ...] = SCHEDULE
) -> dict[str, Any]:
    """Train one row, and score it."""
    row, start = ROWS[name], time.process_time()
    train, test, labels, data = units(row, size, seed)
    torch.manual_seed(seed)
    story = build(row, train, data.to_float(data.observations(torch.arange(len(data)))))
    for steps, lr in schedule:
        fit(story, data, steps=steps, lr=lr, batch_size=BATCH_SIZE, seed=seed, progress=False)
    seconds = time.process_time() - start
    if row.interventional and size == 64:
        draw_sheet(story, test, labels, SHEET)
    return {
        "row": name,
        "seed": seed,
        "training_cpu_s": round(seconds),
        "errors": errors(story, test, labels),
        "information": information(story, test),
        "axioms": axioms(story, test, labels),
    }


def setting(size: int) -> dict[str, Any]:
    """The settings that all runs share."""
    _, test, labels, _ = units(Row(None), size, 0)
    return {
        "size": size,
        "hidden": HIDDEN,
        "label_scale": LABEL_SCALE,
        "batch_size": BATCH_SIZE,
        "schedule": SCHEDULE,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": processor(),
        "baselines": baselines(test, labels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    results = (
        json.loads(RESULTS.read_text())
        if RESULTS.exists()
        else {"setting": setting(64), "runs": []}
    )
    done = {(r["row"], r["seed"]) for r in results["runs"]}
    for seed in seeds:
        for name in ROWS:
            if (name, seed) not in done:
                results["runs"].append(run(name, seed))
                write(RESULTS, json.dumps(results, indent=1) + "\n")
    write(TABLE, table(results))
    print(json.dumps(results))


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()
