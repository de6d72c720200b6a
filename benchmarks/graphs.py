"""How well graphs are learned from simulated data, beside NOTEARS and baselines.

python -m benchmarks.graphs > docs/measured/graphs.json
python -m benchmarks.graphs table > docs/measured/graphs.table.md

NOTEARS is gCastle's implementation: ``pip install --no-deps gcastle``. Without it, its rows are
left out.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student
from sklearn.linear_model import LassoLarsIC, LinearRegression

from ppl_disentangle.causal.learned_adjacency import learned_dag
from ppl_disentangle.data import LinearSCM, NonlinearSCM, from_arrays, random_dag
from ppl_disentangle.inference import fit
from ppl_disentangle.metrics.graphs import graph_scores
from ppl_disentangle.models import LinearGraphStory, NonlinearGraphStory

NODES, DEGREE, UNITS, SEEDS = 10, 4, 1000, range(10)
KINDS = {"linear": LinearSCM, "nonlinear": NonlinearSCM}
TABLE = Path(__file__).parents[1] / "docs" / "measured" / "graphs.json"


def columns(kind, seed):
    """The graph, the names of its columns, and centred data."""
    dag = random_dag(NODES, expected_degree=DEGREE, seed=seed)
    scm = KINDS[kind](dag, num_data=UNITS, seed=seed)
    return scm.dag, list(scm.names), scm.values.float() - scm.values.float().mean(0)


def ours(story, *phases):
    def learn(x, names):
        torch.manual_seed(0)
        learner = story(names)
        objective = learner.objective()
        for steps, lr in phases:
            fit(
                learner,
                from_arrays(x),
                steps=steps,
                lr=lr,
                objective=objective,
                batch_size=250,
                progress=False,
            )
        dag = learned_dag(learner)
        return np.array([[dag.has_edge(a, b) for b in names] for a in names])

    return learn


def notears(name, **options):
    def learn(x, names):
        os.environ["CASTLE_BACKEND"] = "pytorch"
        logging.disable(logging.INFO)
        from castle import algorithms

        torch.manual_seed(0)
        np.random.seed(0)
        learner = getattr(algorithms, name)(**options)
        torch.set_default_dtype(torch.float64)  # which gCastle sets when it is imported
        learner.learn(x.double().numpy())
        torch.set_default_dtype(torch.float32)
        return np.asarray(learner.causal_matrix) != 0

    return learn


def empty(x, names):
    return np.zeros((len(names), len(names)), bool)


def by_variance(x, names):
    """Regress each column on those before it in variance, by an adaptive Lasso [Reisach et al., 2021]."""
    x, edges = x.double().numpy(), empty(x, names)
    order = np.argsort(x.var(0))
    for k in range(1, len(order)):
        before, column = order[:k], order[k]
        weight = np.abs(LinearRegression().fit(x[:, before], x[:, column]).coef_)
        edges[before, column] = (
            LassoLarsIC("bic").fit(x[:, before] * weight, x[:, column]).coef_ != 0
        )
    return edges


METHODS = {
    "linear": {
        "LinearGraphStory": ours(LinearGraphStory, (3500, 0.02), (1000, 0.002)),
        "NOTEARS, linear (gCastle)": notears("Notears"),
        "order of variances": by_variance,
        "no edges": empty,
    },
    "nonlinear": {
        "NonlinearGraphStory": ours(NonlinearGraphStory, (2000, 0.02)),
        "NOTEARS, MLP (gCastle)": notears("NotearsNonlinear", rho_max=1e3),
        "order of variances": by_variance,
        "no edges": empty,
    },
}
"""gCastle's MLP goes on to a penalty of 1e16 by default, which takes it more than five minutes a graph."""


def main():
    """Scores and seconds of each method for each graph, by kind of equations."""
    torch.set_num_threads(1)
    results = {}
    for kind, methods in METHODS.items():
        found = importlib.util.find_spec("castle") is not None
        results[kind] = {name: [] for name in methods if found or "gCastle" not in name}
        for seed in SEEDS:
            dag, names, x = columns(kind, seed)
            truth = np.array([[dag.has_edge(a, b) for b in names] for a in names])
            for method, rows in results[kind].items():
                start = time.perf_counter()
                scores = graph_scores(methods[method](x, names), truth)
                seconds = round(time.perf_counter() - start, 1)
                rows.append({k: round(scores[k], 4) for k in ("shd", "f1")} | {"seconds": seconds})
                print(kind, seed, method, rows[-1], file=sys.stderr, flush=True)
    return {"nodes": NODES, "expected_degree": DEGREE, "units": UNITS, "results": results}


def interval(values):
    """Mean, and half of its 95 % interval by Student's t."""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return np.mean(values), half


def table(measured):
    """Means over graphs with 95 % intervals, a row a method."""
    lines = ["| equations | | SHD | F1 of edges | seconds |", "|---|---|---|---|---|"]
    for kind, methods in measured["results"].items():
        for method, rows in methods.items():
            shd, f1 = ("{:.{}f} ± {:.{}f}".format(m, d, h, d) for (m, h), d in scores(rows))
            lines.append(
                f"| {kind} | {method} | {shd} | {f1} | {np.mean([row['seconds'] for row in rows]):.1f} |"
            )
    return "\n".join(lines)


def scores(rows):
    """Distance and F1 with their intervals, and how many digits to show."""
    return [
        (interval([row[name] for row in rows]), digits) for name, digits in (("shd", 1), ("f1", 2))
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["table"]:
        print(table(json.loads(TABLE.read_text())))
    else:
        print(json.dumps(main(), indent=1))
