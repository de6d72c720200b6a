"""A run: a folder with a configuration, weights, and everything that was measured and drawn from them."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle import metrics
from ppl_disentangle.causal.actions import Action
from ppl_disentangle.causal.interventions import takes_numbers
from ppl_disentangle.causal.labels import NodeScales, needed_labels, with_labels, with_needed_labels
from ppl_disentangle.data import CausalDataset, FactorDataset, load_data
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.inference.distributed.processes import rank
from ppl_disentangle.representation import encode, encoder, reconstruct
from ppl_disentangle.results import to_datatree
from ppl_disentangle.runs.before_after import codes_before_after, nodes_before_after
from ppl_disentangle.storage import atomic_path, load_tensors, save_tensors
from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.traversal import aggregate_quantiles, traverse
from ppl_disentangle.zoo import build

__all__ = ["NothingToMeasureError", "Run"]

FIRST, CODES, SHOWN, QUANTILES = (
    torch.tensor([0]),
    2000,
    20,
    (0.02, 0.14, 0.26, 0.38, 0.5, 0.62, 0.74, 0.86, 0.98),
)


class NothingToMeasureError(ValueError):
    """Neither the data have factors nor the story a bound."""


@dataclasses.dataclass
class Run:
    """A story fitted to data, in a folder.

    ``config.json``, ``environment.json``; ``checkpoint.safetensors`` to resume from; ``model.safetensors``, the
    weights; ``results.nc``, a tree of labelled arrays; ``figures/*.png`` and ``report.html``. No file is ever a
    pickle, and a folder that exists is never taken for a new run.

    Attributes:
        folder: where it is.
        config: what was asked for: ``story``, ``data``, ``training`` and ``evaluation`` options and the ``command``.
        progress: show bars.
    """

    folder: Path
    config: dict[str, Any]
    progress: bool = True

    @classmethod
    def create(cls, folder: str | Path, config: Mapping[str, Any], *, progress: bool = True) -> Run:
        """A new run.

        Raises:
            FileExistsError: the folder exists.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(
                f"{folder} exists, and a run is never overwritten; choose another --out, or --resume it"
            )
        folder.mkdir(parents=True)
        run = cls(folder, dict(config), progress)
        run.write_json("config.json", run.config)
        return run

    @classmethod
    def open(cls, folder: str | Path, *, progress: bool = True) -> Run:
        """An existing run.

        Raises:
            FileNotFoundError: there is none.
        """
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"no run in {folder}: there is no {path}")
        return cls(Path(folder), json.loads(path.read_text()), progress)

    def data(self) -> FactorDataset:
        """The data that it is about."""
        return load_data(self.config["data"]["source"])

    def split(self, data: FactorDataset) -> tuple[FactorDataset, FactorDataset]:
        """Training data, and those held out."""
        return data.split(min(self.config["data"]["held_out"], len(data) // 5))

    def untrained(self, data: FactorDataset, *, seed: int | None = None) -> GenerativeStory:
        """The story with its initial weights, or those of another seed."""
        story = dict(self.config["story"])
        return build(story.pop("name"), data, **(story if seed is None else story | {"seed": seed}))

    def labelled(
        self, story: GenerativeStory, training: FactorDataset
    ) -> tuple[FactorDataset, NodeScales]:
        """Training data with the labels that the run was given, and what these make nodes be counted in."""
        fraction = self.config["data"].get("labels")
        if fraction is None or not isinstance(training, CausalDataset):
            return training, NodeScales()
        return with_labels(story, training, fraction)

    def told(
        self, story: GenerativeStory, training: FactorDataset, held_out: FactorDataset
    ) -> FactorDataset:
        """Held-out data, with what the story must be told of each."""
        return story.held_out_data(
            with_needed_labels(story, held_out, self.labelled(story, training)[1])
        )

    def story(self, data: FactorDataset) -> GenerativeStory:
        """The fitted story.

        Raises:
            FileNotFoundError: its training has not ended.
        """
        if not (self.folder / "model.safetensors").is_file():
            raise FileNotFoundError(
                f"{self.folder} has no fitted weights yet; go on with: ppl-disentangle train --resume {self.folder}"
            )
        story = self.untrained(data)
        story.load_state_dict(load_tensors(self.folder / "model.safetensors")[0])
        return story

    def train(self) -> GenerativeStory:
        """Fit, or go on fitting, and save weights and history; of several processes, the first saves."""
        training = dict(self.config["training"])
        data, held_out = self.split(self.data())
        story = self.untrained(data)
        data, held_out = (
            story.training_data(self.labelled(story, data)[0]),
            self.told(story, data, held_out),
        )
        start = time.time()
        history = fit(
            story,
            data,
            held_out=held_out if story.has_bound else None,
            checkpoint=self.folder / "checkpoint.safetensors",
            resume=True,
            progress=self.progress,
            **training,
        )
        if rank() > 0:
            return story
        self.write_json(
            "environment.json", environment(history.attrs["device"], time.time() - start)
        )
        save_tensors(
            self.folder / "model.safetensors", story.state_dict(), {"story": self.config["story"]}
        )
        tree = to_datatree(story, held_out, history)
        self.write_tree({name: group.to_dataset() for name, group in tree.children.items()})
        if story.has_bound:
            self.write_tree({"held_out": elbo_per_datum(story, held_out).sum("code").mean()})
        return story

    def evaluate(self, **options: Any) -> xr.Dataset:
        """Score codes and bound, where there is one, beside chance, baselines and what a perfect code would get.

        Args:
            **options: of :func:`~ppl_disentangle.metrics.evaluate`, in place of the configured ones.

        Raises:
            NothingToMeasureError: there is neither a factor nor a bound.
        """
        data = self.data()
        story, other = self.story(data), self.untrained(data, seed=self.config["story"]["seed"] + 1)
        training, held_out = self.split(data)
        held_out = self.told(story, training, held_out)
        sample = training.observations(
            torch.randperm(len(training), generator=torch.Generator().manual_seed(1))[:5000]
        )
        precision = self.config["training"].get("precision", "float32")
        untrained = encoder(other, data, precision=precision)
        num_codes = min(untrained(sample[:1]).shape[1], sample[0].numel())
        linear = {"PCA": metrics.pca(sample, num_codes), "ICA": metrics.ica(sample, num_codes)}
        parts = []
        if data.varying:
            baselines: dict[str, Any] = linear | {"untrained": untrained}
            settings = self.config["evaluation"] | options
            parts.append(
                metrics.evaluate(
                    story, data, baselines=baselines, progress=self.progress, **settings
                )
            )
        if story.has_bound:
            parts.append(self._bound_scores(story, other, linear, sample, held_out))
        if not parts:
            no_bound = f"{type(story).__name__} no bound"
            raise NothingToMeasureError(
                f"nothing to measure: {data.name} has no factors, and {no_bound}"
            )
        scores = xr.concat(parts, "metric", combine_attrs="override")
        self.write_tree({"metrics": scores})
        return scores

    def _bound_scores(
        self,
        story: GenerativeStory,
        untrained: GenerativeStory,
        linear: Mapping[str, metrics.LinearCode],
        training: Tensor,
        held_out: FactorDataset,
    ) -> xr.Dataset:
        """Log likelihood and bound of held-out data in nats per datum; references for Bernoulli pixels only."""
        names = ["log_likelihood", "elbo"]
        estimate, other = (elbo_per_datum(s, held_out)[names].mean() for s in (story, untrained))
        rows = {
            name: [estimate[name].item(), np.nan, np.nan, np.nan, np.nan, other[name].item()]
            for name in names
        }
        if (
            self.config["story"].get("likelihood", "bernoulli") == "bernoulli"
            and not story.needs_labels
            and ".py:" not in self.config["story"]["name"]
        ):
            stored = held_out.observations(torch.arange(len(held_out)))
            x, maximum = held_out.to_float(stored), held_out.maximum
            chance = metrics.marginal_log_likelihood(x, held_out.to_float(training)).mean().item()
            best = metrics.best_log_likelihood(x).mean().item()
            by_code = [
                metrics.linear_log_likelihood(stored, code, maximum).mean().item()
                for code in linear.values()
            ]
            rows["log_likelihood"][1:5] = [chance, best, *by_code]
            rows["elbo"][1:3] = [
                chance,
                -np.log(self.config["data"]["num_data"]) if best == 0 else np.nan,
            ]
        columns = np.array([rows[name] for name in names]).T
        coordinates = {"metric": names, "baseline": [*linear, "untrained"]}
        variables = {
            n: ("metric", c)
            for n, c in zip(("estimate", "chance", "ceiling"), columns, strict=False)
        }
        return xr.Dataset(
            variables | {"baseline_estimate": (("baseline", "metric"), columns[3:])}, coordinates
        )

    def draw(self) -> None:
        """All figures."""
        from ppl_disentangle import plots
        from ppl_disentangle.plots.dag import plot_dag

        data = self.data()
        story = self.story(data)
        held_out = self.told(story, *self.split(data))
        tree = self.read_tree()
        self.write_figure("terms", plots.plot_terms(tree["fit"].to_dataset()))
        index = torch.arange(min(10, len(held_out)))
        x, labels = (
            held_out.to_float(held_out.observations(index)),
            needed_labels(story, held_out, index),
        )
        if len(data.observation_shape) == 3:
            self.write_figure(
                "reconstructions", plots.plot_reconstructions(x, reconstruct(story, x, **labels))
            )
        codes, factors = self.codes(story, held_out)
        self.traverse(story, held_out, codes, factors)
        if factors is not None:
            self.write_figure("factor_map", plots.plot_factor_map(factors))
        if story.dag is not None:
            self.write_figure("graph", plot_dag(story.dag))

    def codes(
        self, story: GenerativeStory, data: FactorDataset
    ) -> tuple[xr.Dataset, xr.DataArray | None]:
        """Codes of some data with their mean KL, and their mutual information with each factor over its entropy."""
        part = data.subset(torch.arange(min(CODES, len(data))))
        codes = encode(story, part)
        divergence = (
            elbo_per_datum(story, part)["kl"].mean("data")
            if story.has_bound
            else codes["mean"][0] * np.nan
        )
        codes = codes.assign(
            kl=divergence.reindex(code=codes["code"].values)
        )  # NaN: none, or none of each code
        classes = part.factors(torch.arange(len(part)))
        several = [k for k in range(len(data.space)) if classes[:, k].unique().numel() > 1]
        if not several:
            return codes, None
        information = metrics.mutual_information(codes["mean"], classes[:, several])
        information = information / metrics.entropies(classes[:, several])
        coords = {"code": codes["code"].values, "factor": [data.factor_names[k] for k in several]}
        return codes, xr.DataArray(information, coords, ("code", "factor"))

    def traverse(
        self,
        story: GenerativeStory,
        data: FactorDataset,
        codes: xr.Dataset,
        factors: xr.DataArray | None,
    ) -> xr.DataArray | None:
        """One coordinate of the first datum at a time over quantiles of its aggregate posterior, 20 of the largest KL.

        Coordinates of classes, which take no other numbers, are left out; ``None`` if there are no others.
        """
        from ppl_disentangle import plots

        names = codes["code"].values[np.argsort(-codes["kl"].values, kind="stable")]
        names = np.array([name for name in names if takes_numbers(story, str(name))][:SHOWN])
        if not names.size:
            return None
        quantiles = aggregate_quantiles(codes, QUANTILES).sel(code=names)
        x, labels = data.to_float(data.observations(FIRST)), needed_labels(story, data, FIRST)
        images = traverse(
            story, x, {n: quantiles.sel(code=n).values.tolist() for n in names}, **labels
        )
        kl = dict(zip(names, codes["kl"].sel(code=names).values.tolist(), strict=True))
        notes = {n: "" if np.isnan(kl[n]) else f"KL {kl[n]:.1f}" for n in names}
        if factors is not None:
            best, told = factors.idxmax("factor"), factors.max("factor") > 0.05
            live = [n for n in names if told.sel(code=n) and not kl[n] <= 0.05]
            notes |= {
                n: " · ".join(filter(None, (notes[n], str(best.sel(code=n).item())))) for n in live
            }
        self.write_figure("traversals", plots.plot_traversals(images, notes=notes))
        self.write_tree(
            {"traversals": images.to_dataset(name="x").assign(kl=codes["kl"].sel(code=names))}
        )
        return images

    def intervene(
        self,
        actions: Mapping[str, Action],
        *,
        num: int = 8,
        counterfactual: bool = False,
        seed: int = 0,
    ) -> xr.Dataset:
        """What an intervention does to images and nodes; writes a sheet and a group of ``results.nc``.

        Of a story with a graph: units drawn from it, with the same noise before and after (the second rung), or
        held-out units that would have been otherwise (the third), beside the truth where the data know it. Of other
        stories: held-out images, and the codes that the encoder reads back.

        Args:
            actions: numbers, rows of numbers, and what :func:`~ppl_disentangle.causal.shift` returns, by node in
                the units of the run; those are what labels were standardised to.
            num: number of units to show.
            counterfactual: the third rung instead of the second.
            seed: of the draws.

        Raises:
            KeyError: as in :func:`~ppl_disentangle.causal.do`.
            ValueError: as in ``do``, or a counterfactual of a story without a graph.
            TypeError: as in ``do``.
        """
        data = self.data()
        story = self.story(data)
        training, held_out = self.split(data)
        if story.dag is None:
            if counterfactual:
                raise ValueError(
                    f"{self.folder} has no nodes: the codes of {type(story).__name__} follow from no graph"
                )
            x = held_out.to_float(held_out.observations(torch.arange(min(num, len(held_out)))))
            result = codes_before_after(story, x, actions)
        else:
            units = self.labelled(story, training)[1]
            ask = partial(nodes_before_after, story, training, held_out, actions, units)
            result = ask(counterfactual=counterfactual, num_shown=num, seed=seed)
        rung = "counterfactual" if counterfactual else "intervention"
        name = f"{rung}_{result.attrs['do'].replace(', ', '_').replace(' ', '')}"
        if len(data.observation_shape) == 3:
            self.write_figure(name, self._sheet(result))
        self.write_tree({name: result})
        return result

    def _sheet(self, result: xr.Dataset) -> Any:
        from ppl_disentangle import plots

        others = {name: result[name].values for name in ("observed", "truth") if name in result}
        title = f"{result.attrs.get('rung', '')} do({result.attrs['do']})".strip()
        return plots.plot_intervention(
            result["before"].values, result["after"].values, title=title, **others
        )

    def report(self) -> Path:
        """Write ``report.html`` from what is in the folder."""
        from ppl_disentangle.runs.report import write_report

        return write_report(self.folder)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file of the folder, atomically."""
        with atomic_path(self.folder / name) as path:
            path.write_text(json.dumps(content, indent=2) + "\n")

    def write_figure(self, name: str, figure: Any) -> None:
        """Write a PNG in ``figures/``, atomically."""
        with atomic_path(self.folder / "figures" / f"{name}.png") as path:
            figure.savefig(path, format="png")

    def read_tree(self) -> xr.DataTree:
        """All results so far."""
        with xr.open_datatree(self.folder / "results.nc", engine="h5netcdf") as tree:
            return tree.load()

    def write_tree(self, groups: Mapping[str, xr.Dataset]) -> None:
        """Add or replace groups of ``results.nc``, atomically."""
        path = self.folder / "results.nc"
        kept = (
            {n: g.to_dataset() for n, g in self.read_tree().children.items()}
            if path.is_file()
            else {}
        )
        tree = xr.DataTree.from_dict(kept | dict(groups))
        with atomic_path(path) as temporary:
            tree.to_netcdf(temporary, engine="h5netcdf")


def environment(device: str, seconds: float) -> dict[str, str]:
    """Versions and machine of a run."""
    packages = ("ppl-disentangle", "torch", "pyro-ppl", "numpy", "xarray", "arviz", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
        "cpu": f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "device": device,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "seconds": f"{seconds:.0f}",
    }


def processor(lines: Iterable[str] | None = None) -> str:
    """The name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = lines or (path.read_text().splitlines() if path.exists() else ())
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def free_folder(stem: Path) -> Path:
    """The first of ``stem-1``, ``stem-2``, … that does not exist."""
    number = 1
    while (folder := stem.with_name(f"{stem.name}-{number}")).exists():
        number += 1
    return folder


def format_scores(scores: xr.Dataset, *, own: str = "this model") -> Sequence[str]:
    """The metrics as lines of text: this model, how sure its scores are, its baselines, chance and ceiling."""
    columns = {own: scores["estimate"]}
    if "standard_error" in scores:
        columns["std error"] = scores["standard_error"]
    if "baseline_estimate" in scores:
        columns |= {
            str(b): scores["baseline_estimate"].sel(baseline=b) for b in scores["baseline"].values
        }
    columns |= {"chance": scores["chance"], "ceiling": scores["ceiling"]}
    width = max(len(str(m)) for m in scores["metric"].values)
    lines = [" ".join([" " * width, *(f"{name:>{max(9, len(name))}}" for name in columns)])]
    for metric in scores["metric"].values:
        cells = [f"{c.sel(metric=metric).item():{max(9, len(n))}.3f}" for n, c in columns.items()]
        lines.append(" ".join([f"{metric!s:<{width}}", *cells]).replace("nan", "  –"))
    return lines
