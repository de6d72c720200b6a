"""Write ``docs/performance.md`` and ``docs/scaling.md`` from the output of the benchmarks.

python docs/templates/write_performance.py step.json fast.json …    # keeps them in measured/performance.json, writes
python docs/templates/write_performance.py                          # writes the pages
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
from ppl_disentangle.runs.training import processor
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
"""Speed of its loop relative to the hand-written loop on the small network, from another machine."""


def keep(paths: list[str]) -> None:
    """Keep the output of benchmarks; each file bears the name of its benchmark."""
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
    """A table with a row for each variant and two columns for each measurement."""
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
    """A table of the targets, the measured values, and whether they meet the targets."""
    mlp, fast, rows = kept["step"][MLP], kept["fast"], []

    def add(
        name: str, wanted: float, found: float, *, below: bool = False, form: str = ".2f"
    ) -> None:
        enough = found <= wanted if below else found >= wanted
        rows.append(
            [
                name,
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
        add(f"{title}, small network: eager", 0.7, found["fit"])
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
    add("β-VAE, small network: compiled / disentangling-vae's loop (other machine)", 7, ratio)
    ratio = kept["peers"]["study"]["factor_vae"]["pythae"]["times_as_fast"]
    add("FactorVAE, convolutional: eager / pythae's loop", 1.4, ratio)
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
    return table("quantity | target | measured | met", rows)


def precision(found: dict[str, Any]) -> str:
    """A table of medians and spreads over the seeds in each precision."""

    def cell(values: list[float]) -> str:
        return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    kinds = ("float32", "bfloat16")
    names = found["float32"][0]
    rows = [[f"`{n}`", *(cell([run[n] for run in found[kind]]) for kind in kinds)] for n in names]
    return table("held out | float32 | bfloat16", rows)


def by_batch(objectives: dict[str, Any]) -> str:
    """A table with a row for each objective and a group of columns for each batch size."""
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
    """A table of milliseconds per step for each loop, and the speed-up of the first row."""
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
    """The share of a compiled step that its graph takes, and the time of its arithmetic alone."""
    whole, alone = (
        [small[k][n]["cpu_ms"] for k in ("beta_vae", "beta_tcvae")]
        for n in ("fit, compiled", "its graph alone")
    )
    floor = small["floor"]
    return (
        f"A compiled step of the β-VAE takes {whole[0]:.3f} ms, of which its graph takes {alone[0]:.3f} ms; for the"
        f" β-TCVAE these are {whole[1]:.3f} and {alone[1]:.3f} ms. The difference is the choice of the batch and the"
        f" record of the terms. At the rate of large matrix products"
        f" ({floor['gflop_per_s']:.0f} GFLOP/s), the products alone would take {floor['ms']:.3f} ms."
    )


def gflop() -> tuple[float, float]:
    """GFLOP of one image forward, and of a step of 64 images, with the network of the study."""
    story = BetaVAE(Gaussian(study_encoder(20)), Bernoulli(study_decoder(10)), 10)
    x, loss = torch.zeros(64, 1, 64, 64), story.objective()(story.model, story.guide)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        loss(x)
    with FlopCounterMode(display=False) as step:
        loss(x).backward()
    return forward.get_total_flops() / 64e9, step.get_total_flops() / 1e9


def fields(kept: dict[str, Any]) -> dict[str, str]:
    """The values of the fields in the templates."""
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
        "ENCODING": f"{encoding['hand-written']['cpu_ms'] / 1e3:.2f} s with a hand-written loop in batches of"
        f" 256, {encoding['encode, float32']['cpu_ms'] / 1e3:.2f} with `encode`, and"
        f' {encoding["encode, bfloat16"]["cpu_ms"] / 1e3:.2f} s with `encode(precision="bfloat16")`',
        "LARGE": f"{large['cpu_s']:.1f} s and {large['megabytes']:.0f} MB more; all pairs at once would need"
        f" {large['all_pairs_megabytes']:.0f} MB before any gradient",
        "START": table("a fresh process | CPU seconds | megabytes, at most", every),
        "DATA": "A batch of 64 of the 737,280 images of dSprites is read from"
        f" {data['packed']['megabytes_kept']:.0f} MB in {data['packed']['ms']['median']:.3f} ms. The times of drawn"
        " data are on [the page about data](data.md).",
        "SHARING": f"A convolutional step of 64 images of a β-TCVAE takes {shared['1']:.0f} ms of wall time in one"
        f" process of one thread, {shared['2']:.0f} ms in two processes that share the batch over gloo:"
        f" {shared['1'] / shared['2']:.2f} times as fast.",
        "FLOPS": f"The network of the study on 64x64 images of one channel takes {forward * 1e3:.1f} MFLOP per"
        f" image forward and {step:.1f} GFLOP per step of 64 images, as torch counts them.",
        "RATE": f"Measured here on one core: {usual:.0f} ms per step with the usual loop in float32,"
        f" {step / usual * 1e3:.0f} GFLOP/s; {quick:.0f} ms in the fast mode, {step / quick * 1e3:.0f} GFLOP/s.",
        "LAUNCH": f"{launch['fit']['cpu_ms']:.2f} ms eager, {launch['fit, graph']['cpu_ms']:.2f} ms as a graph,"
        f" {launch['fit, compiled']['cpu_ms']:.2f} ms compiled.",
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
        + "\n\nTwo workers are less than twice as fast. The causes were not separated; one of them is the start of"
        " each worker, which imports the library.",
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
    """Keep new measurements, if any are named, and write the pages."""
    if len(sys.argv) > 1:
        keep(sys.argv[1:])
    for name, (_, path) in PAGES.items():
        with atomic_path(path) as temporary:
            temporary.write_text(page(name))


if __name__ == "__main__":
    main()
