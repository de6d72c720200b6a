"""Write ``docs/performance.md`` and ``docs/scaling.md`` from what the benchmarks printed.

python docs/templates/write_performance.py step.json fast.json …    # keeps them in measured/performance.json, writes
python docs/templates/write_performance.py                          # the pages, from what was kept
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.networks import study_decoder, study_encoder
from ppl_disentangle.runs.folder import processor
from ppl_disentangle.storage import atomic_path

DOCS = Path(__file__).parents[1]
KEPT = DOCS / "measured/performance.json"
PAGES = {
    name: (DOCS / f"templates/{name}.md.in", DOCS / f"{name}.md")
    for name in ("performance", "scaling")
}
MLP, STUDY, AGAIN = "small MLP, batch 128", "study network, batch 64", "hand-written again"
RUNS, STEPS = 12_600, 300_000
DISENTANGLING_VAE = 0.32
"""Speed of its loop relative to the hand-written one, on the small network; measured on another machine."""


def keep(paths: list[str]) -> None:
    """Keep what benchmarks printed, each file named by its benchmark."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept |= {Path(path).stem: json.loads(Path(path).read_text()) for path in paths}
    kept |= {"machine": f"{processor()}, 2 cores", "torch": torch.__version__}
    with atomic_path(KEPT) as path:
        path.write_text(json.dumps(kept, indent=1) + "\n")


def table(head: str, rows: list[list[str]]) -> str:
    """A table in Markdown."""
    columns = head.split(" | ")
    lines = [
        f"| {head} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def speeds(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row for each variant, two columns for each measurement."""
    names = list(dict.fromkeys(name for part in measured.values() for name in part))
    empty = {"cpu_ms": float("nan"), "speed": float("nan")}
    rows = []
    for name in names:
        cells = [part.get(name, empty) for part in measured.values()]
        rows.append(
            [name, *(f"{c['cpu_ms']:.2f} | {c['speed']:.2f}".replace("nan", "–") for c in cells)]
        )
    return table("step | " + " | ".join(f"{name}, ms | speed" for name in measured), rows)


def targets(kept: dict[str, Any], objectives: dict[str, Any], data: dict[str, Any]) -> str:
    """What was asked for, what was measured, and whether that is enough."""
    mlp, fast, rows = kept["step"][MLP], kept["fast"], []

    def add(
        what: str, wanted: float, found: float, *, below: bool = False, form: str = ".2f"
    ) -> None:
        enough = found <= wanted if below else found >= wanted
        rows.append(
            [
                what,
                f"{'≤' if below else '≥'} {wanted:g}",
                f"{found:{form}}",
                "yes" if enough else "**no**",
            ]
        )

    for name, title in (("beta_vae", "β-VAE"), ("beta_tcvae", "β-TCVAE")):
        found = {variant: row["speed"] for variant, row in mlp[name].items()}
        add(f"{title}, small network: compiled / hand-written", 2.3, found["fit, compiled"])
        ratio = found["fit, compiled"] / found["hand-written, compiled"]
        add(f"{title}, small network: compiled / hand-written compiled", 1.5, ratio)
        add(f"{title}, small network: whole step in one graph", 4, found["fit, compiled"])
        add(f"{title}, small network: graph, no compiler", 1.15, found["fit, graph"])
        add(f"{title}, small network: as it is", 0.7, found["fit"])
    ratio = (
        mlp["beta_vae"]["fit, compiled"]["speed"]
        / mlp["beta_vae"]["SVI as in the tutorial"]["speed"]
    )
    add("β-VAE, small network: compiled / Pyro's tutorial", 6, ratio)
    for batch, found in objectives.items():
        slowest = min(row["fit"]["speed"] for row in found.values())
        add(f"convolutional, {batch}: every objective", 0.99, slowest)
    for peer, wanted in (("pythae", 4), ("disent", 12)):
        ratio = kept["peers"]["mlp"]["beta_vae"][peer]["times_as_fast"]
        add(f"β-VAE, small network: compiled / {peer}'s loop", wanted, ratio)
    ratio = mlp["beta_vae"]["fit, compiled"]["speed"] / DISENTANGLING_VAE
    add("β-VAE, small network: compiled / disentangling-vae's loop, as recorded", 7, ratio)
    ratio = kept["peers"]["study"]["factor_vae"]["pythae"]["times_as_fast"]
    add("FactorVAE, convolutional: as it is / pythae's loop", 1.4, ratio)
    for batch, wanted in (("batch 64", 2.4), ("batch 256", 3.5)):
        add(f"fast mode, {batch}", wanted, fast[batch]["fit, bfloat16, memory kept"]["speed"])
    add("codes in bfloat16 / eager float32", 5, fast["encoding"]["encode, bfloat16"]["speed"])
    add("dSprites, ms a batch of 64", 0.07, data["packed"]["ms"]["median"], below=True, form=".3f")
    add("dSprites, megabytes", 400, data["packed"]["megabytes_kept"], below=True, form=".0f")
    add("seconds to `--help`", 0.3, kept["start"]["ppl-disentangle --help"]["cpu_s"], below=True)
    add(
        "seconds to import `fit`",
        2,
        kept["start"]["from ppl_disentangle.inference import fit"]["cpu_s"],
        below=True,
    )
    return table("what | asked for | measured | met", rows)


def precision(found: dict[str, Any]) -> str:
    """Medians and spreads over seeds, in either precision."""

    def cell(values: list[float]) -> str:
        return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    kinds = ("float32", "bfloat16")
    names = found["float32"][0]
    rows = [[f"`{n}`", *(cell([run[n] for run in found[kind]]) for kind in kinds)] for n in names]
    return table("held out | float32 | bfloat16", rows)


def by_batch(objectives: dict[str, Any]) -> str:
    """A row for each objective, a group of columns for each size of batch."""
    rows = []
    for name in next(iter(objectives.values())):
        cells = [found[name] for found in objectives.values()]
        columns = [
            f"{c['hand-written']['cpu_ms']:.0f} | {c[AGAIN]['speed']:.3f} | {c['fit']['speed']:.3f}"
            for c in cells
        ]
        rows.append([f"`{name}`", *columns])
    return table(
        "objective | "
        + " | ".join(f"{batch}: hand-written, ms | again | fit" for batch in objectives),
        rows,
    )


def peers(found: dict[str, Any]) -> str:
    """Milliseconds a step by each loop, and how much faster the first row is."""
    titles = {"mlp": "small network, batch 128", "study": "convolutional, batch 64"}
    kinds = {"beta_vae": "β-VAE", "beta_tcvae": "β-TCVAE", "factor_vae": "FactorVAE"}
    parts = []
    for size, by_kind in found.items():
        names = list(dict.fromkeys(name for rows in by_kind.values() for name in rows))
        first = names[0]
        head = " | ".join(f"{kinds[kind]}, ms | *{first}* is faster by" for kind in by_kind)
        missing = {"cpu_ms": float("nan"), "times_as_fast": float("nan")}
        rows = []
        for name in names:
            cells = [by_kind[kind].get(name, missing) for kind in by_kind]
            rows.append(
                [
                    name,
                    *(
                        f"{c['cpu_ms']:.2f} | {c['times_as_fast']:.2f}".replace("nan", "–")
                        for c in cells
                    ),
                ]
            )
        parts.append(table(f"{titles[size]} | {head}", rows))
    return "\n\n".join(parts)


def rest(small: dict[str, Any]) -> str:
    """What the graph of a compiled step is of it, and the arithmetic of the graph."""
    whole, alone = (
        [small[k][n]["cpu_ms"] for k in ("beta_vae", "beta_tcvae")]
        for n in ("fit, compiled", "its graph alone")
    )
    floor = small["floor"]
    return (
        f"Of the {whole[0]:.3f} ms of a compiled step of the β-VAE its graph takes {alone[0]:.3f}, of the"
        f" {whole[1]:.3f} of the β-TCVAE {alone[1]:.3f}; the rest is the choice of the batch and the record of the"
        f" terms. Matrix products would take {floor['ms']:.3f} at the rate of large ones,"
        f" {floor['gflop_per_s']:.0f} GFLOP/s."
    )


def gflop() -> tuple[float, float]:
    """Of an image forward, and of a step of 64 images of the study's network, in 10^9."""
    story = BetaVAE(Gaussian(study_encoder(20)), Bernoulli(study_decoder(10)), 10)
    x, loss = torch.zeros(64, 1, 64, 64), story.objective()(story.model, story.guide)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        loss(x)
    with FlopCounterMode(display=False) as step:
        loss(x).backward()
    return forward.get_total_flops() / 64e9, step.get_total_flops() / 1e9


def fields(kept: dict[str, Any]) -> dict[str, str]:
    """What the templates leave open."""
    objectives = json.loads((DOCS / "measured/objectives_speed.json").read_text())
    data = json.loads((DOCS / "measured/data_speed.json").read_text())
    fast, sharing, start = kept["fast"], kept["sharing"], kept["start"]
    large, encoding = fast["large batch"], fast["encoding"]
    quick, usual = (
        fast["batch 64"][n]["cpu_ms"] for n in ("fit, bfloat16, memory kept", "hand-written")
    )
    shared, study = sharing["ms_per_shared_step"], sharing["study"]
    launch, small = kept["step"][MLP]["beta_vae"], kept["step"][MLP]
    took = small["capture_s"]["beta_vae"]
    one, (forward, step) = study["1"]["wall_s"], gflop()
    days = RUNS * STEPS * quick / 1e3 / 86_400
    every = [
        [f"`{name}`", f"{row['cpu_s']:.2f}", f"{row['megabytes']:.0f}"]
        for name, row in start.items()
    ]
    return {
        "MACHINE": kept["machine"],
        "TORCH": kept["torch"],
        "TARGETS": targets(kept, objectives, data),
        "MLP": speeds(
            {"β-VAE": kept["step"][MLP]["beta_vae"], "β-TCVAE": kept["step"][MLP]["beta_tcvae"]}
        ),
        "STUDY": speeds(
            {"β-VAE": kept["step"][STUDY]["beta_vae"], "β-TCVAE": kept["step"][STUDY]["beta_tcvae"]}
        ),
        "FLOOR": rest(small),
        "CAPTURE": f"takes {took['fit, graph']:.1f} seconds of wall time, and compiling {took['fit, compiled']:.1f}",
        "OBJECTIVES": by_batch(objectives),
        "PEERS": peers(kept["peers"]),
        "FAST": speeds({name: fast[name] for name in ("batch 64", "batch 256")}),
        "DIGITS": precision(kept["precision"]["digits"]),
        "SPRITES": precision(kept["precision"]["sprites"]),
        "ENCODING": f"{encoding['hand-written']['cpu_ms'] / 1e3:.2f} s by the loop that one would write, in batches of"
        f" 256, {encoding['encode, float32']['cpu_ms'] / 1e3:.2f} by `encode`, and"
        f' {encoding["encode, bfloat16"]["cpu_ms"] / 1e3:.2f} by `encode(precision="bfloat16")`',
        "LARGE": f"{large['cpu_s']:.1f} s and {large['megabytes']:.0f} MB more, where all pairs at once are"
        f" {large['all_pairs_megabytes']:.0f} MB before any gradient",
        "START": table("a fresh process | CPU seconds | megabytes, at most", every),
        "DATA": "A batch of 64 of the 737,280 images of dSprites is read from"
        f" {data['packed']['megabytes_kept']:.0f} MB in {data['packed']['ms']['median']:.3f} ms; those that are drawn"
        " are on [the page of data](data.md).",
        "SHARING": f"A convolutional step of 64 images of a β-TCVAE takes {shared['1']:.0f} ms of wall time in one"
        f" process of one thread, {shared['2']:.0f} in two that share the batch by gloo:"
        f" {shared['1'] / shared['2']:.2f} times as fast.",
        "FLOPS": f"The study's network on 64x64 images of one channel takes {forward * 1e3:.1f} MFLOP an image forward,"
        f" a step of 64 images {step:.1f} GFLOP, as torch counts them.",
        "RATE": f"Measured here on one core: {usual:.0f} ms a step by the usual loop in float32,"
        f" {step / usual * 1e3:.0f} GFLOP/s; {quick:.0f} ms in the fast mode, {step / quick * 1e3:.0f} GFLOP/s.",
        "LAUNCH": f"{launch['fit']['cpu_ms']:.2f} ms as it is, {launch['fit, graph']['cpu_ms']:.2f} by a graph,"
        f" {launch['fit, compiled']['cpu_ms']:.2f} compiled.",
        "POINTS": table(
            "workers | wall seconds of 12 runs | times as fast | expected of 2 cores",
            [
                [
                    n,
                    f"{p['wall_s']:.0f}",
                    f"{one / p['wall_s']:.2f}",
                    f"{min(int(n), sharing['cores']):d}",
                ]
                for n, p in study.items()
            ],
        )
        + "\n\nWhat two workers lack of twice was not taken apart; the start of each, which imports everything, is"
        " part of it.",
        "FULL": table(
            "cores | days",
            [[f"{n:,}", f"{days / n:,.1f}"] for n in (1, 64, 1024, RUNS)],
        ),
    }


def page(name: str) -> str:
    """A page as it should be."""
    text = PAGES[name][0].read_text()
    for field, value in fields(json.loads(KEPT.read_text())).items():
        text = text.replace(f"@{field}@", value)
    return text


def main() -> None:
    """Keep what was measured, if anything was, and write the pages."""
    if len(sys.argv) > 1:
        keep(sys.argv[1:])
    for name, (_, path) in PAGES.items():
        with atomic_path(path) as temporary:
            temporary.write_text(page(name))


if __name__ == "__main__":
    main()
