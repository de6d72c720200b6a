"""The steps after training: scores, figures, interventions and the report."""

from __future__ import annotations

import importlib.util
from typing import Any

import networkx as nx

from ppl_disentangle.causal.interventions import takes_numbers
from ppl_disentangle.runs.before_after import intervene
from ppl_disentangle.runs.drawing import draw
from ppl_disentangle.runs.folder import Fitted
from ppl_disentangle.runs.report import write_report
from ppl_disentangle.runs.scoring import NothingToMeasureError, evaluate
from ppl_disentangle.runs.tables import format_scores

__all__ = ["finish", "show_interventions"]

NODE_VALUE_SCALES = 1.5
"""Value that a node without a traversal is set to, in standard deviations."""
METRICS_WITHOUT_LIGHTGBM = ["mig", "factor_vae_score", "active_units"]


def finish(fitted: Fitted) -> None:
    """Measure, draw and report a fitted run, and print its scores and the path of the report."""
    try:
        lines = format_scores(evaluate(fitted, **_available_metrics(fitted)))
    except NothingToMeasureError as error:
        lines = [str(error)]
    draw(fitted)
    show_interventions(fitted)
    print("\n".join(lines))
    print(f"report: {write_report(fitted.run.folder)}")


def _available_metrics(fitted: Fitted) -> dict[str, Any]:
    """Leave DCI out where its predictor is not installed, and say so."""
    wants_lightgbm = fitted.run.config["evaluation"]["dci_predictor"] == "lightgbm"
    if not wants_lightgbm or importlib.util.find_spec("lightgbm") is not None:
        return {}
    print('DCI is left out: it needs pip install "ppl-disentangle[fast-metrics]"')
    return {"metrics": METRICS_WITHOUT_LIGHTGBM, "dci_predictor": "gbt"}


def show_interventions(fitted: Fitted) -> None:
    """Draw an example intervention.

    With a graph, the node with the most descendants is set, as an intervention and as a
    counterfactual. Without a graph, the code of the largest divergence is set. The value is the
    last one of the traversal. A story of classes alone has no example.
    """
    if "traversals" not in fitted.run.group_names():
        return
    last_values = _last_traversed_values(fitted)
    if "graph" not in fitted.run.config:
        first = next(iter(last_values))
        intervene(fitted, {first: last_values[first]})
        return
    by_node = {code.partition("[")[0]: value for code, value in last_values.items()}
    node = _most_influential(fitted)
    if node is not None:
        action = {node: by_node.get(node, NODE_VALUE_SCALES)}
        intervene(fitted, action)
        intervene(fitted, action, counterfactual=True)


def _last_traversed_values(fitted: Fitted) -> dict[str, float]:
    """Read the largest value of each traversed code, rounded, by falling divergence."""
    traversals = fitted.run.read_group("traversals")
    values = traversals["value"].isel(position=-1)
    return {str(code): round(float(values.sel(code=code)), 1) for code in values["code"].values}


def _most_influential(fitted: Fitted) -> str | None:
    """Find the node with the most descendants among the nodes that take numbers."""
    graph = nx.DiGraph(fitted.run.config["graph"]["edges"])
    graph.add_nodes_from(fitted.run.config["graph"]["nodes"])
    numbers = [name for name in graph if takes_numbers(fitted.story, name)]
    return max(numbers, key=lambda name: len(nx.descendants(graph, name)), default=None)
