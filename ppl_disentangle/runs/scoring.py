"""Scores of a run: metrics of its codes and bounds on held-out data, beside baselines."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from pyro.distributions import Bernoulli, Independent
from torch import Tensor

from ppl_disentangle import metrics
from ppl_disentangle.conditions import programs
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.inference import elbo_per_datum
from ppl_disentangle.representation import encode, encoder
from ppl_disentangle.runs.folder import Fitted
from ppl_disentangle.sites import observed_sites, paired_traces
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["NothingToMeasureError", "evaluate"]

NUM_BASELINE_DATA = 5000
"""Training data from which the linear baselines and the mean of each pixel are computed."""
BASELINE_SEED = 1
BOUNDS = ["log_likelihood", "elbo"]


class NothingToMeasureError(ValueError):
    """The data have no factors and the story has no bound."""


def evaluate(fitted: Fitted, **options: Any) -> xr.Dataset:
    """Score the codes and the bound, beside chance, baselines and the score of a perfect code.

    The scores are written to the group ``metrics`` of the run.

    Args:
        fitted: The run with its fitted story.
        **options: Options of :func:`~ppl_disentangle.metrics.evaluate` that replace the
            options in the configuration of the run.

    Raises:
        NothingToMeasureError: The data have no factors and the story has no bound.
    """
    data = fitted.data
    story = fitted.story
    if not data.varying and not story.has_bound:
        raise NothingToMeasureError(
            f"nothing to measure: {data.name} has no factors, and {type(story).__name__} no bound"
        )
    untrained = fitted.untrained()
    first = fitted.conditioned(data.subset(torch.arange(1)))
    sample = _baseline_sample(fitted.training)
    num_codes = min(encode(untrained, first).sizes["code"], sample[0].numel())
    linear = {"PCA": metrics.pca(sample, num_codes), "ICA": metrics.ica(sample, num_codes)}
    tables = []
    if data.varying:
        baselines = {**linear, "untrained": _untrained_encoder(fitted, untrained, first)}
        tables.append(_scores_or_reason(fitted, baselines, options))
    if story.has_bound:
        tables.append(_bound_scores(fitted, untrained, linear, sample))
    table = xr.concat(tables, "metric", combine_attrs="override")
    table = table.assign_attrs(_rows_of_scores(fitted) | _active_codes(fitted))
    fitted.run.write_group("metrics", table)
    return table


def _rows_of_scores(fitted: Fitted) -> dict[str, str]:
    """Say which rows each kind of score was computed on."""
    num_held_out = len(fitted.held_out)
    rows = f"bounds: the {num_held_out:,} held-out data"
    if fitted.data.varying:
        rows = f"codes: all {len(fitted.data):,} data, training rows included; {rows}"
    return {"rows": rows}


def _active_codes(fitted: Fitted) -> dict[str, int]:
    """Count the codes, and those that vary with held-out data, as `active_units` counts them."""
    held_out = fitted.held_out_with_conditions
    subset = held_out.subset(torch.arange(min(NUM_BASELINE_DATA, len(held_out))))
    codes = encode(fitted.story, subset)["mean"].transpose("data", "code").values
    return {"num_codes": codes.shape[1], "num_active_codes": metrics.active_units(codes)}


def _scores_or_reason(
    fitted: Fitted, baselines: Mapping[str, Any], options: Mapping[str, Any]
) -> xr.Dataset:
    """Score the codes; where that is not possible, a table without metrics that says why.

    Data whose factors have too few rows, say, must not end a run that has a bound. Options that
    replace those of the run were asked for: their errors are raised.
    """
    try:
        return _code_scores(fitted, baselines, options)
    except ValueError as error:
        if options or not fitted.story.has_bound:
            raise
        reason = {"metrics of the codes": " ".join(str(error).split())}
        return _no_scores(list(baselines)).assign_attrs(reasons=json.dumps(reason))


def _no_scores(baselines: Sequence[str]) -> xr.Dataset:
    """A table of scores without a metric."""
    names = xr.DataArray([], dims="metric")
    empty = {name: names.astype(float) for name in ("estimate", "chance", "ceiling")}
    columns = np.zeros((len(baselines), 0))
    table = xr.Dataset(empty | {"baseline_estimate": (("baseline", "metric"), columns)})
    return table.assign_coords(metric=np.array([], dtype=str), baseline=list(baselines))


def _code_scores(
    fitted: Fitted, baselines: Mapping[str, Any], options: Mapping[str, Any]
) -> xr.Dataset:
    """Score the codes by the metrics of the configuration, with options that replace its own."""
    settings = {**fitted.run.config["evaluation"], **options}
    progress = fitted.run.progress
    data = fitted.conditioned(fitted.data)
    return metrics.evaluate(fitted.story, data, baselines=baselines, progress=progress, **settings)


def _baseline_sample(training: FactorDataset) -> Tensor:
    """Draw the stored observations from which the baselines are computed."""
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(BASELINE_SEED))
    return training.observations(order[:NUM_BASELINE_DATA])


def _untrained_encoder(
    fitted: Fitted, untrained: GenerativeStory, first: FactorDataset
) -> Callable[[Tensor], Tensor] | GenerativeStory:
    """Return the encoder of the untrained story, in the precision of the training.

    Args:
        fitted: The run.
        untrained: The untrained story. It stands for itself if the data have conditions, which
            encoders do not take.
        first: The first datum with its conditions.
    """
    if first.conditions(torch.arange(1)):
        return untrained
    precision = fitted.run.config["training"].get("precision", "float32")
    return encoder(untrained, fitted.data, precision=precision)


def _bound_scores(
    fitted: Fitted,
    untrained: GenerativeStory,
    linear: Mapping[str, metrics.LinearCode],
    sample: Tensor,
) -> xr.Dataset:
    """Score the held-out log likelihood and bound in nats per datum, in the columns of metrics.

    Chance, ceiling and the linear baselines are known for Bernoulli pixels only.
    """
    held_out = fitted.held_out_with_conditions
    references = References({}, {}, dict.fromkeys(linear, {}))
    if observes_bernoulli_pixels(fitted.story, held_out):
        num_data = fitted.run.config["data"]["num_data"]
        references = _pixel_references(held_out, sample, linear, num_data)
    baselines = {**references.baselines, "untrained": _mean_bounds(untrained, held_out)}
    rows = [_by_bound(scores) for scores in baselines.values()]
    names = xr.DataArray(list(baselines), dims="baseline", name="baseline")
    return xr.Dataset(
        {
            "estimate": _by_bound(_mean_bounds(fitted.story, held_out)),
            "chance": _by_bound(references.chance),
            "ceiling": _by_bound(references.ceiling),
            "baseline_estimate": xr.concat(rows, names),
        }
    )


class References(NamedTuple):
    """Bounds to compare a story with, by ``"log_likelihood"`` and ``"elbo"``; others are unknown.

    Attributes:
        chance: Bounds of a model without a code, which predicts each pixel by its mean.
        ceiling: Largest bounds.
        baselines: Bounds of linear codes by name.
    """

    chance: Mapping[str, float]
    ceiling: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]


def _pixel_references(
    held_out: FactorDataset,
    sample: Tensor,
    linear: Mapping[str, metrics.LinearCode],
    num_data: int,
) -> References:
    """Compute the references of Bernoulli pixels."""
    pixels = held_out.observations(torch.arange(len(held_out)))
    x = held_out.to_float(pixels)
    marginal = metrics.marginal_log_likelihood(x, held_out.to_float(sample)).mean().item()
    baselines = {}
    for name, code in linear.items():
        likelihood = metrics.linear_log_likelihood(pixels, code, held_out.maximum).mean().item()
        baselines[name] = {"log_likelihood": likelihood}
    chance = {"log_likelihood": marginal, "elbo": marginal}
    return References(chance, _best_bounds(x, num_data), baselines)


def _mean_bounds(story: GenerativeStory, data: FactorDataset) -> dict[str, float]:
    """Average the log likelihood and the bound over data, by name."""
    means = elbo_per_datum(story, data)[BOUNDS].mean()
    return {name: means[name].item() for name in BOUNDS}


def _best_bounds(x: Tensor, num_data: int) -> dict[str, float]:
    """Return the largest log likelihood of pixels, and the largest bound where it is known.

    Pixels of 0 and 1 have the log likelihood 0 at best. A model that spreads its probability
    evenly over all data has the bound -log num_data then.
    """
    best = metrics.best_log_likelihood(x).mean().item()
    bounds = {"log_likelihood": best}
    if best == 0:
        bounds["elbo"] = -math.log(num_data)
    return bounds


def _by_bound(scores: Mapping[str, float]) -> xr.DataArray:
    """Put scores in a column over ``metric``; NaN where a score is not known."""
    return xr.DataArray([scores.get(name, math.nan) for name in BOUNDS], {"metric": BOUNDS})


def observes_bernoulli_pixels(story: GenerativeStory, data: FactorDataset) -> bool:
    """Whether the story explains an observation by Bernoulli pixels alone.

    A story that observes labels beside the pixels has another likelihood: baselines that know
    pixels only cannot be compared with it. Nor can they where pixels are missing.
    """
    if data.has_missing:
        return False
    with evaluating(story) as device:
        x, conditions = next(iter(conditioned_batches(data.subset(torch.arange(1)), 1, device)))
        model_trace, _ = paired_traces(
            *programs(story, conditions), (x,), conditions, reparameterised=False
        )
    observed = list(observed_sites(model_trace).values())
    likelihood = observed[0].fn
    pixels = likelihood.base_dist if isinstance(likelihood, Independent) else likelihood
    covers_observation = len(observed) == 1 and likelihood.event_shape == x.shape[1:]
    return covers_observation and isinstance(pixels, Bernoulli)
