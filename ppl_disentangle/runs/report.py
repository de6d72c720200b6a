"""The report of a run: one HTML file with its numbers, figures and settings, and nothing outside it."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import xarray as xr

from ppl_disentangle.plots.training import COST_SIGNS, cost_title
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.runs.tables import describe_nodes, node_columns, reasons_of
from ppl_disentangle.storage import atomic_path

__all__ = ["write_report"]

QUESTIONS = ("intervention", "counterfactual")
BOUNDS = ("log_likelihood", "elbo")
FIGURES = ("terms", "reconstructions", "traversals", "factor_map")
METRICS = {
    "mig": ("MIG", "by how much the best code knows more about a factor than the second best"),
    "dci_disentanglement": (
        "DCI disentanglement",
        "whether each code predicts one factor only",
    ),
    "dci_completeness": ("DCI completeness", "whether each factor is predicted by one code only"),
    "dci_informativeness": (
        "DCI informativeness",
        "how well the factors are predicted from all codes",
    ),
    "factor_vae_score": (
        "FactorVAE score",
        "how often the code that varies least reveals which factor was held fixed",
    ),
    "log_likelihood": ("Log likelihood", "of held-out pixels given their codes, in nats per datum"),
    "elbo": (
        "ELBO",
        "a lower bound on the log likelihood of held-out data, in nats per datum; at the ceiling, all"
        " data have the same probability",
    ),
    "active_units": (
        "Active units",
        "number of codes that vary with the data; more are not better",
    ),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number of a table as text, and whether it is the best of its row."""

    text: str
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: headings of the columns after the first, rows by label, and notes by label."""

    columns: list[str]
    rows: dict[str, list[Cell]]
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Intervention:
    """The figure of an intervention; for nodes also their table, and sentences about it."""

    name: str
    image: str
    rung: str = "intervention"
    table: Table | None = None
    notes: list[str] = dataclasses.field(default_factory=list)


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a run.

    The report shows ``config.json``, ``environment.json``, the groups ``fit``, ``held_out`` and
    ``metrics`` of the results, the figures, and the interventions. It says which of them are
    missing. The page is one file without scripts and loads nothing from elsewhere. The same folder
    gives the same page.

    Args:
        folder: Folder of the run.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: The folder has no ``config.json``.
    """
    run = Run.open(folder)
    engine = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files("ppl_disentangle.runs") / "report.html.jinja").read_text("utf-8")
    page = engine.from_string(template).render(_content(run))
    path = run.folder / "report.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8")
    return path


def _content(run: Run) -> dict[str, Any]:
    """Collect the values that the template shows."""
    environment = run.read_json("environment.json")
    groups = run.group_names()
    fit = run.read_group("fit") if "fit" in groups else None
    held_out = run.read_group("held_out") if "held_out" in groups else None
    metrics = run.read_group("metrics") if "metrics" in groups else None
    num_codes = None if metrics is None else metrics.attrs.get("num_codes")
    return {
        "title": _title(run.config),
        "facts": dict(_facts(run.config, environment, num_codes)),
        "summary": _summary(metrics, held_out),
        "metrics": None if metrics is None else _metrics_table(metrics),
        "metrics_settings": None if metrics is None else _attributes(metrics),
        "costs": _costs_table(fit, held_out),
        "last_steps": None if fit is None else _last_steps(fit),
        "held_out_settings": None if held_out is None else _attributes(held_out),
        "columns": _columns_table(run.read_group("columns")) if "columns" in groups else None,
        "figures": {name: _figure(run, name) for name in FIGURES},
        "graph": _figure(run, "graph"),
        "interventions": _interventions(run),
        "config": _settings(run.config),
        "environment": environment,
        "command": run.config.get("command"),
        "folder": run.folder.resolve().name,
    }


def _title(config: Mapping[str, Any]) -> str:
    """Name the story and the data."""
    story = config.get("story", {}).get("name", "A story")
    data = config.get("data", {})
    return f"{story} on {data.get('name', data.get('source', 'data'))}"


def _settings(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """List the settings of each part of the configuration, without empty parts."""
    settings = {}
    for part, values in config.items():
        if isinstance(values, Mapping) and values:
            settings[part] = dict(_flat(values))
    return settings


def _figure(run: Run, name: str) -> str | None:
    """Read a PNG file of the run as a data URI; ``None`` where it is missing."""
    path = run.folder / "figures" / f"{name}.png"
    if not path.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _interventions(run: Run) -> list[Intervention]:
    """Read the figures of interventions, then of counterfactuals, with their tables of nodes."""
    groups = run.group_names()
    shown = []
    for question in QUESTIONS:
        for path in sorted((run.folder / "figures").glob(f"{question}_*.png")):
            result = run.read_group(path.stem) if path.stem in groups else xr.Dataset()
            name = path.stem.removeprefix(f"{question}_")
            image = _figure(run, path.stem) or ""
            if "node" in result.coords:
                shown.append(
                    Intervention(name, image, question, _nodes_table(result), _notes(result))
                )
            else:
                notes = _warning_notes(result)
                shown.append(Intervention(name, image, notes=notes))
    return shown


def _nodes_table(result: xr.Dataset) -> Table:
    """Make the table of nodes before and after an intervention."""
    columns = node_columns(result)
    rows = {}
    for node, relation in zip(result["node"].values, result["is"].values, strict=True):
        cells = [Cell(_number(values.sel(node=node).item(), 3)) for values in columns.values()]
        moved = result["moved"].sel(node=node).item()
        rows[f"{node} ({relation})"] = [*cells, Cell(f"{moved:.0%}")]
    return Table([*columns, "moved"], rows)


def _notes(result: xr.Dataset) -> list[str]:
    """Describe an intervention on nodes, and say where it leaves the range of the data."""
    return [*describe_nodes(result), *_warning_notes(result)]


def _warning_notes(result: xr.Dataset) -> list[str]:
    outside = result.attrs.get("outside_data_range")
    return [f"Outside of the data: {outside}."] if outside else []


def _facts(
    config: Mapping[str, Any], environment: Mapping[str, str], num_codes: int | None
) -> Iterator[tuple[str, str]]:
    """Name the facts at the head of the report: size, data, steps, seed, time and device."""
    story = config.get("story", {})
    data = config.get("data", {})
    training = config.get("training", {})
    if "graph" in config:
        yield "Nodes", f"{len(config['graph']['nodes'])}"
    elif codes := story.get("latent_dim") or num_codes:
        yield "Codes", f"{codes}"
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
        yield "Device", _device(environment)


def _device(environment: Mapping[str, str]) -> str:
    """Name the accelerator, or the processor where no accelerator was used."""
    device = environment["device"]
    return str(environment.get("cpu", device) if device == "cpu" else device)


def _summary(metrics: xr.Dataset | None, held_out: xr.Dataset | None) -> list[str]:
    """Summarise the run in one or two sentences."""
    sentences = []
    if metrics is not None:
        gains = [name for name in _names(metrics) if _is_gain(metrics, name)]
        gains = [name for name in gains if _is_known(metrics, name)]
        if gains:
            sentences.append(_comparison(metrics, "mig" if "mig" in gains else gains[0]))
        sentences += _warnings_of(metrics)
    if held_out is not None and "elbo" in held_out:
        sentences.append(f"Held-out ELBO: {_nats(held_out['elbo'].item())} nats per datum.")
    return sentences or ["This run has neither metrics nor a held-out bound."]


def _is_known(metrics: xr.Dataset, name: str) -> bool:
    """Whether a metric could be computed for the model and for a baseline, if there is one."""
    row = metrics.sel(metric=name)
    baselines = row["baseline_estimate"].notnull().any() if "baseline_estimate" in row else True
    return bool(row["estimate"].notnull() and baselines)


def _warnings_of(metrics: xr.Dataset) -> Iterator[str]:
    """Name the weaknesses of the model: codes that have collapsed, and scores below PCA."""
    num_codes = metrics.attrs.get("num_codes", 0)
    num_active = metrics.attrs.get("num_active_codes", num_codes)
    if num_active <= num_codes / 2 and num_codes:
        yield (
            f"Most codes have collapsed: {num_active} of {num_codes} vary with the data."
            if num_active
            else f"All {num_codes} codes have collapsed: none varies with the data."
        )
    worse = list(_worse_than_pca(metrics))
    if worse:
        yield f"Worse than PCA with as many codes: {'; '.join(worse)}."


def _worse_than_pca(metrics: xr.Dataset) -> Iterator[str]:
    """Scores of which PCA has a better one, with both numbers."""
    if "baseline_estimate" not in metrics or "PCA" not in metrics["baseline"].values:
        return
    for name in _names(metrics):
        row = metrics.sel(metric=name)
        own = row["estimate"].item()
        linear = row["baseline_estimate"].sel(baseline="PCA").item()
        is_worse = own > linear if _is_cost(metrics, name) else own < linear
        if name != "active_units" and is_worse and math.isfinite(own - linear):
            decimals = 2 if name in BOUNDS else 3
            numbers = f"{_number(own, decimals)} against {_number(linear, decimals)}"
            yield f"{_metric_title(name)} {numbers}"


def _comparison(metrics: xr.Dataset, name: str) -> str:
    """Compare one metric with its best baseline, chance and ceiling, in words."""
    row = metrics.sel(metric=name)
    estimate = row["estimate"].item()
    chance = _number(row["chance"].item(), 3)
    start = f"{_metric_title(name)} {_number(estimate, 3)}"
    end = f"ceiling {_number(row['ceiling'].item(), 3)}."
    if "baseline_estimate" not in row:
        return f"{start}; chance {chance}, {end}"
    best = row["baseline_estimate"].idxmax("baseline").item()
    score = row["baseline_estimate"].sel(baseline=best).item()
    relation = _relation(estimate, score)
    return f"{start}: {relation} the best baseline ({best}, {_number(score, 3)}); {end}"


def _relation(estimate: float, baseline: float) -> str:
    """Say how a score compares with a baseline: as a ratio from 5 % above it."""
    if baseline > 0 and estimate / baseline >= 1.05:
        ratio = estimate / baseline
        return f"{ratio:.0f} ×" if ratio >= 10 else f"{ratio:.1f} ×"
    if estimate > baseline:
        return "above" if baseline <= 0 else "level with"
    return "level with" if estimate >= 0.95 * baseline else "below"


def _metrics_table(metrics: xr.Dataset) -> Table:
    """Make the table of metrics: the model, the baselines, chance and the ceiling."""
    baselines = []
    if "baseline_estimate" in metrics:
        baselines = [str(name) for name in metrics["baseline"].values]
    reasons = reasons_of(metrics)
    rows = {}
    notes = {}
    for name in _names(metrics):
        title = _metric_title(name)
        rows[title] = _metric_cells(metrics, name)
        parts = [METRICS[name][1]] if name in METRICS else []
        if name in reasons:
            parts.append(f"Not computed: {reasons[name]}.")
        if parts:
            notes[title] = " ".join(parts)
    return Table(["this model", *baselines, "chance", "ceiling"], rows, notes)


def _metric_cells(metrics: xr.Dataset, name: str) -> list[Cell]:
    """Write the numbers of one metric; the best of model and baselines is marked."""
    row = metrics.sel(metric=name)
    scores = [row["estimate"].item()]
    if "baseline_estimate" in row:
        scores += row["baseline_estimate"].values.tolist()
    known = [score for score in scores if not math.isnan(score)] or [math.nan]
    best = min(known) if _is_cost(metrics, name) else max(known)
    marked = len(set(scores)) > 1 and _is_ranked(metrics, name)
    decimals = 0 if _are_counts(scores) else 3
    cells = [Cell(_number(score, decimals), best=marked and score == best) for score in scores]
    chance = Cell(_number(row["chance"].item(), decimals))
    ceiling = Cell(_number(row["ceiling"].item(), decimals))
    return [*cells, chance, ceiling]


def _are_counts(scores: Sequence[float]) -> bool:
    """Whether scores are whole numbers, beyond the 0 and 1 of a share."""
    return max(scores) >= 2 and all(score.is_integer() for score in scores)


def _costs_table(fit: xr.Dataset | None, held_out: xr.Dataset | None) -> Table | None:
    """Make the table of the bound and its terms, as costs: after training and on held-out data."""
    columns = {}
    if fit is not None:
        columns["end of training"] = _training_costs(fit)
    if held_out is not None:
        columns["held out"] = {
            name: sign * held_out[name].item()
            for name, sign in COST_SIGNS.items()
            if name in held_out
        }
    if not columns:
        return None
    names = list(COST_SIGNS)  # the bound and its two parts first
    for costs in columns.values():
        names += [name for name in costs if name not in names]
    rows = {}
    for name in names:
        values = [costs.get(name, math.nan) for costs in columns.values()]
        if not all(map(math.isnan, values)):
            rows[cost_title(name)] = [Cell(_nats(value)) for value in values]
    return Table(list(columns), rows)


def _columns_table(columns: xr.Dataset) -> Table:
    """Make the table of the columns of a table: types, missing cells, errors of reconstructions."""
    rows = {}
    for name in columns["column"].values:
        column = columns.sel(column=name)
        errors = [_number(column[error].item(), 3) for error in ("error", "error_of_constant")]
        cells = [column["likelihood"].item(), f"{column['missing'].item():.0%}", *errors]
        rows[f"{name} ({column['type'].item()})"] = [Cell(cell) for cell in cells]
    return Table(["likelihood", "missing", "error", "error of a constant"], rows)


def _training_costs(fit: xr.Dataset) -> dict[str, float]:
    """Average the terms of the objective over the last steps, as costs.

    The history says which terms add up to the evidence lower bound. The bound and its KL are left
    out where it does not.
    """
    last = fit.isel(step=slice(-_last_steps(fit), None))
    means = {str(name): v.mean().item() for name, v in last.items() if v.dims == ("step",)}
    loss = means.pop("loss")
    costs = {name: -mean for name, mean in means.items()}
    bound_terms = [name for name in str(fit.attrs.get("bound_terms", "")).split(", ") if name]
    if bound_terms and set(bound_terms) <= set(costs):
        costs["elbo"] = sum(costs[name] for name in bound_terms)
        costs["kl"] = costs["elbo"] - costs["log_likelihood"]
    return {**costs, "loss": loss}


def _last_steps(fit: xr.Dataset) -> int:
    """Return the number of steps over which the end of training is averaged: a twentieth."""
    return max(fit.sizes["step"] // 20, 1)


def _names(metrics: xr.Dataset) -> list[str]:
    """Name the metrics of a table of scores."""
    return [str(name) for name in metrics["metric"].values]


def _is_ranked(metrics: xr.Dataset, name: str) -> bool:
    """Whether one score is better than another; metrics without a ceiling only describe."""
    return math.isfinite(metrics["ceiling"].sel(metric=name).item())


def _is_gain(metrics: xr.Dataset, name: str) -> bool:
    """Whether the largest score is the best."""
    return _is_ranked(metrics, name) and not _is_cost(metrics, name)


def _is_cost(metrics: xr.Dataset, name: str) -> bool:
    """Whether the smallest score is the best."""
    return name in str(metrics.attrs.get("lower_is_better", "")).split(", ")


def _metric_title(name: str) -> str:
    """Return the title of a metric; a metric of the user is shown by its name."""
    return METRICS[name][0] if name in METRICS else name


def _attributes(dataset: xr.Dataset) -> str:
    """Write the settings that scores were computed with, as one line."""
    hidden = ("units", "reasons")  # stand elsewhere on the page
    shown = {
        name: value for name, value in dataset.attrs.items() if name not in hidden and str(value)
    }
    return " · ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List nested settings, their names joined by dots."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, ", ".join(map(str, value))
        elif value is not None:
            yield prefix + name, str(value)


def _nats(value: float) -> str:
    """Round an information."""
    return _number(value, 2)


def _number(value: float, decimals: int) -> str:
    """Round a number, without the sign of a zero; a dash stands for a missing number."""
    if not math.isfinite(value):
        return "–"
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def _duration(seconds: float) -> str:
    """Write a duration in hours and minutes, minutes and seconds, or seconds."""
    hours, minutes = divmod(round(seconds) // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {round(seconds) % 60} s" if minutes else f"{seconds:.1f} s"
