"""Training of a run: fit the story, save its weights, history and draws, and note the machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import torch
import xarray as xr
from pyro import poutine

from ppl_disentangle.conditions import conditions_of_guide
from ppl_disentangle.inference import BetaELBO, DecomposedELBO, elbo_per_datum, fit
from ppl_disentangle.inference.distributed.processes import rank
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.missing import for_missing
from ppl_disentangle.results import Predictive, to_datatree
from ppl_disentangle.runs.folder import Fitted, Run, round_images
from ppl_disentangle.runs.preparation import build_story, load_run_data, split_data
from ppl_disentangle.runs.recipes import Plan
from ppl_disentangle.sites import observed_sites
from ppl_disentangle.storage import save_tensors
from ppl_disentangle.story import evaluating, fork_randomness

__all__ = ["environment", "processor", "train"]

PACKAGES = ("ppl-disentangle", "torch", "pyro-ppl", "numpy", "xarray", "arviz", "scikit-learn")
NUM_SUMMARISED_DATA = 10
"""Data whose predictive summaries are written: as many as the figure of reconstructions shows."""


def train(
    run: Run,
    plan: Plan | None = None,
    *,
    draws: bool = True,
    predictive: Predictive = "summary",
) -> Fitted:
    """Fit the story of a run, or resume its training, and save weights and history.

    Where several processes share the training, the first one saves.

    Args:
        run: The run.
        plan: Data and story of the run, where they are in memory already; by default they are
            loaded and built from the configuration of the run.
        draws: Whether draws from posterior and prior are written beside the history. They can be
            made again from the weights by :func:`~ppl_disentangle.to_datatree`.
        predictive: Whether predictive groups hold summaries of the draws or the draws themselves.
            Draws of images take 20 to 130 MB.

    Returns:
        The run with its fitted story, on the CPU.
    """
    data = load_run_data(run.config, run.folder) if plan is None else plan.data
    story = build_story(run.config, data, folder=run.folder) if plan is None else plan.story
    fitted = Fitted(run, story, data, *split_data(run.config, story, data))
    held_out = fitted.held_out_with_conditions
    start = time.time()
    history = fit(
        story,
        story.training_data(fitted.training),
        held_out=held_out if story.has_bound else None,
        checkpoint=run.checkpoint_path,
        resume=True,
        progress=run.progress,
        **run.config["training"],
    )
    if rank() == 0:
        run.write_json(
            "environment.json", environment(history.attrs["device"], time.time() - start)
        )
        save_tensors(run.weights_path, story.state_dict(), {"story": run.config["story"]})
        _write_results(fitted, history, draws=draws, predictive=predictive)
    story.to("cpu")  # where the weights are after loading, too
    return fitted


def _write_results(
    fitted: Fitted, history: xr.Dataset, *, draws: bool, predictive: Predictive
) -> None:
    """Write the history, the held-out bound and, unless unwanted, draws."""
    run = fitted.run
    held_out = fitted.held_out_with_conditions
    bound_terms = _bound_terms(fitted, history)
    run.write_group("fit", history.assign_attrs(bound_terms=", ".join(bound_terms)))
    if fitted.story.has_bound:
        bound = elbo_per_datum(fitted.story, held_out).sum("code").mean()
        run.write_group("held_out", bound)
    if draws:
        _write_draws(fitted, predictive)


def _write_draws(fitted: Fitted, predictive: Predictive) -> None:
    """Write the draws from posterior and prior, a group of results each."""
    tree = to_datatree(fitted.story, fitted.held_out_with_conditions, predictive=predictive)
    for name, group in tree.children.items():
        dataset = group.to_dataset()
        if predictive == "summary" and name.endswith("_predictive"):
            shown = {"data": slice(NUM_SUMMARISED_DATA)}
            dataset = round_images(dataset.isel(shown, missing_dims="ignore"))
        fitted.run.write_group(name, dataset)


def _bound_terms(fitted: Fitted, history: xr.Dataset) -> list[str]:
    """Name the terms of a history that add up to the evidence lower bound.

    Penalties of the objective and ``pyro.factor`` statements of the guide are not part of the
    bound. An ELBO of Pyro records no terms.
    """
    story = fitted.story
    with fork_randomness():  # some objectives make the weights of a critic
        objective = story.objective() or BetaELBO(1.0)
    if not story.has_bound or not isinstance(objective, DecomposedELBO):
        return []
    others = {"loss", *objective.penalties, *objective.critics, *_guide_statements(fitted)}
    terms = [str(name) for name, values in history.items() if values.dims == ("step",)]
    return [name for name in terms if name not in others]


def _guide_statements(fitted: Fitted) -> set[str]:
    """Name the ``pyro.factor`` statements of the guide, from one training batch."""
    story = fitted.story
    data = story.training_data(fitted.training)
    with evaluating(story) as device:
        batch_size = fitted.run.config["training"]["batch_size"]
        batches = Batches(data, batch_size, seed=0, device=device, part=(0, 1))
        guide = for_missing(story, data).guide
        given = conditions_of_guide(story, batches.conditions(0))
        trace = poutine.trace(guide).get_trace(batches(0), **given)
    return set(observed_sites(trace))


def environment(device: str, seconds: float) -> dict[str, str]:
    """Describe the versions and the machine that a run was made with.

    Args:
        device: Name of the device that trained the story.
        seconds: Duration of the training.
    """
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": f"{processor()}, {threads}",
        "device": device,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "seconds": f"{seconds:.0f}",
    }


def processor(lines: Iterable[str] | None = None) -> str:
    """Return the name of the processor.

    Args:
        lines: Lines of ``/proc/cpuinfo``; by default they are read where the file exists. Without a
            model name the result is the architecture.
    """
    path = Path("/proc/cpuinfo")
    if not lines:
        lines = path.read_text().splitlines() if path.exists() else ()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
