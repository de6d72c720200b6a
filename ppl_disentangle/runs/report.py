"""The report of a run: one HTML file with its numbers, figures and settings, and nothing outside it."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from ppl_disentangle.plots.panels import cost_title
from ppl_disentangle.runs.tables import node_columns, sentences
from ppl_disentangle.storage import atomic_path

__all__ = ["write_report"]

GROUPS = ("fit", "held_out", "metrics")
RUNGS = ("intervention", "counterfactual")
FIGURES = ("terms", "reconstructions", "traversals", "factor_map")
METRICS = {
    "mig": ("MIG", "how much more the best code tells about a factor than the second best"),
    "dci_disentanglement": (
        "DCI disentanglement",
        "whether each code serves to predict one factor only",
    ),
    "dci_completeness": ("DCI completeness", "whether each factor is predicted by one code only"),
    "dci_informativeness": (
        "DCI informativeness",
        "how well the factors are predicted from all codes",
    ),
    "factor_vae_score": (
        "FactorVAE score",
        "how often the code that varies least tells which factor was held fixed",
    ),
    "log_likelihood": ("Log likelihood", "of held-out pixels given their codes, in nats per datum"),
    "elbo": (
        "ELBO",
        "a lower bound on the log likelihood of held-out data, in nats per datum; at its ceiling every datum of"
        " the grid has the same probability",
    ),
    "active_units": ("Active units", "number of codes that vary with the data at all; not ranked"),
}
SPLITS = (  # sets of terms whose sum is the bound
    {"log_likelihood", "kl"},
    {"log_likelihood", "mutual_information", "total_correlation", "dimension_wise_kl"},
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number in a table, as written, and whether it is the best of its row."""

    text: str
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns after the first, rows by their label, and notes by label."""

    columns: list[str]
    rows: dict[str, list[Cell]]
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Intervention:
    """A sheet, and of nodes a table and what it says."""

    name: str
    image: str
    rung: str = "intervention"
    table: Table | None = None
    notes: list[str] = dataclasses.field(default_factory=list)


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a run, from what the folder holds.

    Read are ``config.json`` (compulsory), ``environment.json``, the groups ``fit``, ``held_out``, ``metrics`` and those
    of interventions of ``results.nc``, and ``figures/*.png``. The page says what is missing. It is one file without
    scripts that loads nothing from elsewhere; the same folder gives the same page.

    Args:
        folder: of the run.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no ``config.json``.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no run in {folder}: expected the file config.json there")
    engine = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = engine.from_string(
        (files("ppl_disentangle") / "report.html.jinja").read_text("utf-8")
    )
    page = template.render(_content(folder))
    path = folder / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8")
    return path


def _content(folder: Path) -> dict[str, Any]:
    """Everything that the template shows."""
    config, environment = (
        _read_json(folder / "config.json"),
        _read_json(folder / "environment.json"),
    )
    results = _read_results(folder / "results.nc")
    fit, held_out, metrics = (results.get(group) for group in GROUPS)
    story, data = config.get("story", {}), config.get("data", {})
    return {
        "title": f"{story.get('name', 'A story')} on {data.get('name', data.get('source', 'data'))}",
        "facts": dict(_facts(config, environment)),
        "summary": _summary(metrics, held_out),
        "metrics": None if metrics is None else _metrics_table(metrics),
        "metrics_settings": None if metrics is None else _attributes(metrics),
        "costs": _costs_table(fit, held_out),
        "last_steps": None if fit is None else _last_steps(fit),
        "held_out_settings": None if held_out is None else _attributes(held_out),
        "figures": {name: _inline(folder / "figures" / f"{name}.png") for name in FIGURES},
        "graph": _inline(folder / "figures" / "graph.png"),
        "interventions": [i for rung in RUNGS for i in _interventions(folder, rung, results)],
        "config": {k: dict(_flat(v)) for k, v in config.items() if isinstance(v, Mapping) and v},
        "environment": environment,
        "command": config.get("command"),
        "folder": folder.resolve().name,
    }


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _read_results(path: Path) -> dict[str, xr.Dataset]:
    """The groups of a run's results that a report shows, in memory."""
    if not path.is_file():
        return {}
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        shown = [
            name
            for name in tree.children
            if name in GROUPS or name.startswith(tuple(f"{r}_" for r in RUNGS))
        ]
        return {name: tree[name].to_dataset().load() for name in shown}


def _interventions(
    folder: Path, rung: str, results: Mapping[str, xr.Dataset]
) -> Iterator[Intervention]:
    """The sheets of one rung, with what became of the nodes where there are any."""
    for path in sorted((folder / "figures").glob(f"{rung}_*.png")):
        image, result = _inline(path) or "", results.get(path.stem, xr.Dataset())
        name = path.stem.removeprefix(f"{rung}_")
        if "node" not in result.coords:
            yield Intervention(name, image)
            continue
        columns = node_columns(result) | {"moved": result["moved"]}
        rows = {
            f"{node} ({kind})": [
                Cell(
                    f"{c.sel(node=node).item():.0%}"
                    if n == "moved"
                    else _number(c.sel(node=node).item(), 3)
                )
                for n, c in columns.items()
            ]
            for node, kind in zip(result["node"].values, result["is"].values, strict=True)
        }
        told, outside = sentences(result), result.attrs.get("outside_data_range")
        notes = [*told, *([f"Outside of the data: {outside}."] if outside else [])]
        yield Intervention(name, image, rung, Table(list(columns), rows), notes)


def _inline(path: Path) -> str | None:
    """A PNG file as a data URI."""
    if not path.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _facts(config: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a reader wants to know first."""
    story, data, training = (config.get(part, {}) for part in ("story", "data", "training"))
    if "graph" in config:
        yield "Nodes", f"{len(config['graph']['nodes'])}"
    elif "latent_dim" in story:
        yield "Codes", f"{story['latent_dim']}"
    if "num_data" in data:
        shape = "×".join(map(str, data.get("observation_shape", [])))
        yield "Data", f"{data['num_data']:,}" + (f" of {shape}" if shape else "")
    if "steps" in training:
        yield "Steps", f"{training['steps']:,}"
    if "seed" in training:
        yield "Seed", f"{training['seed']}"
    if "seconds" in environment:
        yield "Wall time", _duration(float(environment["seconds"]))
    if "device" in environment:
        device = environment["device"]
        yield "Device", str(environment.get("cpu", device) if device == "cpu" else device)


def _summary(metrics: xr.Dataset | None, held_out: xr.Dataset | None) -> list[str]:
    """The run in one or two sentences."""
    sentences = []
    if metrics is not None:
        gains = [
            n for n in _names(metrics) if _is_ranked(metrics, n) and not _is_a_cost(metrics, n)
        ]
        if gains:
            sentences.append(_comparison(metrics, "mig" if "mig" in gains else gains[0]))
    if held_out is not None and "elbo" in held_out:
        sentences.append(f"Held-out ELBO {_nats(held_out['elbo'].item())} nats per datum.")
    return sentences or ["This run has neither metrics nor a held-out bound."]


def _comparison(metrics: xr.Dataset, name: str) -> str:
    """One metric beside its best baseline, chance and ceiling, in words."""
    row = metrics.sel(metric=name)
    estimate, ceiling, chance = (row[v].item() for v in ("estimate", "ceiling", "chance"))
    start, end = f"{_metric_title(name)} {_number(estimate, 3)}", f"ceiling {_number(ceiling, 3)}."
    if "baseline_estimate" not in row:
        return f"{start}; chance {_number(chance, 3)}, {end}"
    best = row["baseline_estimate"].idxmax("baseline").item()
    score = row["baseline_estimate"].sel(baseline=best).item()
    return f"{start}: {_relation(estimate, score)} the best baseline ({best}, {_number(score, 3)}); {end}"


def _relation(estimate: float, baseline: float) -> str:
    if baseline > 0 and estimate / baseline >= 1.05:
        ratio = estimate / baseline
        return f"{ratio:.0f} ×" if ratio >= 10 else f"{ratio:.1f} ×"
    if estimate > baseline:
        return "above" if baseline <= 0 else "level with"
    return "level with" if estimate >= 0.95 * baseline else "below"


def _metrics_table(metrics: xr.Dataset) -> Table:
    """A row a metric: the model, the baselines, chance and ceiling; the best of model and baselines is marked."""
    with_baselines = "baseline_estimate" in metrics
    baselines = list(map(str, metrics["baseline"].values)) if with_baselines else []
    rows, notes = {}, {}
    for name in _names(metrics):
        row = metrics.sel(metric=name)
        scores = [
            row["estimate"].item(),
            *(row["baseline_estimate"].values if with_baselines else ()),
        ]
        extreme = (min if _is_a_cost(metrics, name) else max)(scores)
        best = extreme if len(set(scores)) > 1 and _is_ranked(metrics, name) else math.inf
        decimals = (
            0 if max(scores) >= 2 and all(float(score).is_integer() for score in scores) else 3
        )
        cells = [
            Cell(_number(float(score), decimals), best=bool(score == best)) for score in scores
        ]
        cells += [
            Cell(_number(row[reference].item(), decimals)) for reference in ("chance", "ceiling")
        ]
        rows[_metric_title(name)] = cells
        if name in METRICS:
            notes[_metric_title(name)] = METRICS[name][1]
    return Table(["this model", *baselines, "chance", "ceiling"], rows, notes)


def _costs_table(fit: xr.Dataset | None, held_out: xr.Dataset | None) -> Table | None:
    """What the bound is made of, as costs: at the end of training and on held-out data."""
    columns = {}
    if fit is not None:
        columns["end of training"] = _training_costs(fit.isel(step=slice(-_last_steps(fit), None)))
    if held_out is not None:
        signs = {"elbo": -1, "log_likelihood": -1, "kl": 1}
        columns["held out"] = {n: s * held_out[n].item() for n, s in signs.items() if n in held_out}
    found = [name for column in columns.values() for name in column]
    names = [
        name for name in dict.fromkeys(["elbo", "log_likelihood", "kl", *found]) if name in found
    ]
    rows = {
        cost_title(n): [Cell(_nats(c.get(n, math.nan))) for c in columns.values()] for n in names
    }
    return Table(list(columns), rows) if columns else None


def _training_costs(steps: xr.Dataset) -> dict[str, float]:
    """Means over steps; the bound and its KL where the terms are known to add up to them."""
    means = {str(name): v.mean().item() for name, v in steps.items() if v.dims == ("step",)}
    costs = {name: -mean for name, mean in means.items() if name != "loss"}
    if set(costs) in SPLITS:
        total = sum(costs.values())
        costs |= {"elbo": total, "kl": total - costs["log_likelihood"]}
    return costs | {"loss": means["loss"]}


def _last_steps(fit: xr.Dataset) -> int:
    """Number of steps that the end of training is averaged over."""
    return max(fit.sizes["step"] // 20, 1)


def _names(metrics: xr.Dataset) -> list[str]:
    return [str(name) for name in metrics["metric"].values]


def _is_ranked(metrics: xr.Dataset, name: str) -> bool:
    """Whether one score is better than another; metrics without a ceiling only describe."""
    return math.isfinite(metrics["ceiling"].sel(metric=name).item())


def _is_a_cost(metrics: xr.Dataset, name: str) -> bool:
    """Whether less is better."""
    return name in str(metrics.attrs.get("lower_is_better", "")).split(", ")


def _metric_title(name: str) -> str:
    return METRICS[name][0] if name in METRICS else name


def _attributes(dataset: xr.Dataset) -> str:
    """How numbers were computed, as one line."""
    values = {k.replace("_", " "): v for k, v in dataset.attrs.items() if k != "units" and str(v)}
    return " · ".join(f"{name} {value}" for name, value in values.items())


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as lines, names joined by dots."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif isinstance(value, list):
            yield above + name, ", ".join(map(str, value))
        else:
            yield above + name, str(value)


def _nats(value: float) -> str:
    return _number(value, 2)


def _number(value: float, decimals: int) -> str:
    """Rounded, without the sign of a zero; a dash for none."""
    if not math.isfinite(value):
        return "–"
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds) // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {round(seconds) % 60} s" if minutes else f"{seconds:.1f} s"
