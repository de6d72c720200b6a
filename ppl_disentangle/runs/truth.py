"""The errors of counterfactuals, for data whose true counterfactuals are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.actions import Action
from ppl_disentangle.causal.labels import NodeScales
from ppl_disentangle.data import CausalDataset

__all__ = ["with_truth"]

NODE_ERRORS = ("true_change", "error", "error_of_doing_nothing")


def with_truth(
    result: xr.Dataset, data: CausalDataset, actions: Mapping[str, Action], scales: NodeScales
) -> xr.Dataset:
    """Add the true counterfactuals and the errors of a result, where the data know them.

    Args:
        result: Counterfactuals of all units of ``data``, from
            :func:`~ppl_disentangle.runs.before_after.units_before_after`.
        data: The units.
        actions: Actions by node, in the scales of the nodes of the story.
        scales: Mean and scale of the nodes that have labels.

    Returns:
        ``result`` with ``truth``, images over ``data``. Over ``node``: ``true_change`` and the root
        mean squared errors ``error`` of the story and ``error_of_doing_nothing``, which takes the
        factual values. The mean squared errors of images are attributes of the same two names.
        Where the truth is not known, the attribute ``truth`` says why.
    """
    known_actions = _actions_in_data(data, actions, scales)
    if len(known_actions) < len(actions):
        return result.assign_attrs(
            truth="not known, as no labels tie what was set to the nodes of the data"
        )
    try:
        values, images = data.counterfactual(torch.arange(len(data)), known_actions)
    except ValueError as error:
        return result.assign_attrs(truth=f"not known: in the units of the data, {error}")
    factual = scales.standardised(data, data.values)
    counterfactual = scales.standardised(data, values)
    errors = {
        node: _node_errors(result, node, factual[node], counterfactual[node]) for node in factual
    }
    nodes = [str(node) for node in result["node"].values]
    for column in NODE_ERRORS:
        result = result.assign({column: ("node", [_cell(errors, node, column) for node in nodes])})
    return _with_true_images(result, data, data.to_float(images))


def _actions_in_data(
    data: CausalDataset, actions: Mapping[str, Action], scales: NodeScales
) -> dict[str, Tensor | float]:
    """Express actions in the scales of the data; actions without a known scale are left out."""
    in_data = {}
    for name, action in actions.items():
        if name in scales.mean:
            natural = data.values[:, data.names.index(name)]
            value = scales.in_data(name, action, natural)
            if value is not None:
                in_data[name] = value
    return in_data


def _node_errors(
    result: xr.Dataset, node: str, factual: Tensor, counterfactual: Tensor
) -> dict[str, float]:
    """Compare the counterfactual values ``(batch,)`` of one node with the truth."""
    if node not in result["node"].values:
        return {}
    predicted = torch.from_numpy(result["nodes_after"].sel(node=node).values)
    return {
        "true_change": (counterfactual - factual).mean().item(),
        "error": _root_mean_square(predicted - counterfactual).item(),
        "error_of_doing_nothing": _root_mean_square(factual - counterfactual).item(),
    }


def _cell(errors: Mapping[str, Mapping[str, float]], node: str, column: str) -> float:
    """Look up an error; NaN for a node that the data do not have."""
    return errors[node][column] if node in errors else np.nan


def _with_true_images(result: xr.Dataset, data: CausalDataset, truth: Tensor) -> xr.Dataset:
    """Add the true images and the mean squared errors of the images."""
    observed = data.to_float(data.observations(torch.arange(len(data))))
    predicted = torch.from_numpy(result["after"].values)
    return result.assign(truth=(result["before"].dims, truth.numpy())).assign_attrs(
        truth="known",
        error=_root_mean_square(predicted - truth).item() ** 2,
        error_of_doing_nothing=_root_mean_square(observed - truth).item() ** 2,
    )


def _root_mean_square(difference: Tensor) -> Tensor:
    return difference.square().mean().sqrt()
