"""Distance of an estimated causal graph from the true graph."""

from __future__ import annotations

from typing import Literal

import networkx as nx
import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array

__all__ = ["graph_scores", "shd"]


def shd(
    estimated: nx.DiGraph | ArrayLike, true: nx.DiGraph | ArrayLike, *, reversal: Literal[1, 2] = 1
) -> int:
    r"""Structural Hamming distance [1]: the number of edges in which two graphs differ.

    .. math:: \#\{i < j : (E_{ij}, E_{ji}) \ne (T_{ij}, T_{ji})\} \quad \text{or} \quad \#\{i, j : E_{ij} \ne T_{ij}\}

    where E and T are the adjacency matrices of the estimated and the true graph. Both definitions
    are in use, so say which one you report. The first, which gCastle uses, counts pairs of nodes: a
    reversed edge counts once. The second is the number of false positives plus false negatives: a
    reversed edge counts twice.

    Range: 0 for equal graphs, to d (d - 1) / 2 or d (d - 1) for d nodes. Both definitions are
    metrics in the mathematical sense. The graph without edges scores the number of true edges;
    report that number beside the distance.

    Args:
        estimated: Estimated graph, or its adjacency matrix, whose entry (i, j) is not zero if there
            is an edge from i to j.
        true: True graph in the same form: graphs over the same nodes, or matrices over the same
            order of nodes.
        reversal: Contribution of a reversed edge, 1 or 2.

    Raises:
        ValueError: ``reversal`` is neither 1 nor 2, the graphs have different nodes, or an
            adjacency matrix is not square, is not finite or has a node that causes itself.
        TypeError: One argument is a graph and the other a matrix.

    References:
        [1] Tsamardinos et al., 2006. https://doi.org/10.1007/s10994-006-6889-7

    Example:
        >>> true = nx.DiGraph([("light", "shadow"), ("angle", "shadow")])
        >>> estimated = nx.DiGraph([("shadow", "light"), ("angle", "shadow")])
        >>> shd(estimated, true), shd(estimated, true, reversal=2)
        (1, 2)
    """
    if reversal not in (1, 2):
        raise ValueError(f"expected reversal to be 1 or 2, got {reversal!r}")
    estimated_edges, true_edges = _adjacencies(estimated, true)
    differ = estimated_edges != true_edges
    if reversal == 2:
        return int(differ.sum())
    return int(np.triu(differ | differ.T).sum())


def graph_scores(
    estimated: nx.DiGraph | ArrayLike, true: nx.DiGraph | ArrayLike
) -> dict[str, float]:
    r"""Distances and rates of an estimated graph, by name.

    ============================= ==================================================================
    ``shd``                       :func:`shd`; a reversed edge counts once
    ``shd_reversal_counts_two``   :func:`shd`; a reversed edge counts twice
    ``precision, recall, f1``     rates of directed edges; a reversed edge is wrong
    ``tpr, fdr``                  recall; the share of the estimated edges that are wrong
    ``fpr``                       wrong edges, divided by the number of pairs without a true edge;
                                  above 1 if many edges are reversed
    ``adjacency_…``               precision, recall and F1 of joined pairs, whatever the direction
    ``orientation_…``             the same rates; a pair also needs the right direction
    ============================= ==================================================================

    For two acyclic graphs the orientation scores equal the scores of directed edges. A rate with
    denominator zero is 0: the graph without edges has precision 0 and false discovery rate 0. These
    conventions follow gCastle, which leaves precision and F1 undefined in that case, and causica
    for adjacency and orientation.

    Args:
        estimated: Estimated graph or adjacency matrix; see :func:`shd`.
        true: True graph or adjacency matrix; see :func:`shd`.

    Raises:
        ValueError: The graphs or matrices are invalid; see :func:`shd`.
        TypeError: One argument is a graph and the other a matrix.

    Example:
        >>> true = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
        >>> scores = graph_scores([[0, 1, 0], [0, 0, 0], [0, 1, 0]], true)
        >>> scores["shd"], scores["precision"], scores["adjacency_f1"]
        (1, 0.5, 1.0)
    """
    estimated_edges, true_edges = _adjacencies(estimated, true)
    adjacency, orientation = _pair_rates(estimated_edges, true_edges)
    return {
        "shd": shd(estimated_edges, true_edges),
        "shd_reversal_counts_two": shd(estimated_edges, true_edges, reversal=2),
        **_edge_rates(estimated_edges, true_edges),
        **{f"adjacency_{name}": value for name, value in adjacency.items()},
        **{f"orientation_{name}": value for name, value in orientation.items()},
    }


def _edge_rates(estimated: ndarray, true: ndarray) -> dict[str, float]:
    """Rates of directed edges."""
    num_estimated = int(estimated.sum())
    num_true = int(true.sum())
    num_wrong = int((estimated & ~true).sum())
    num_pairs = len(true) * (len(true) - 1) // 2
    rates = _rates(int((estimated & true).sum()), num_estimated, num_true)
    return {
        **rates,
        "tpr": rates["recall"],
        "fdr": num_wrong / max(num_estimated, 1),
        "fpr": num_wrong / max(num_pairs - num_true, 1),
    }


def _pair_rates(estimated: ndarray, true: ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Rates of joined pairs of nodes, whatever the direction, and with the right direction."""
    upper = np.triu_indices(len(true), 1)
    joined = (estimated | estimated.T)[upper]
    truly_joined = (true | true.T)[upper]
    equal = estimated == true
    same_direction = (equal & equal.T)[upper]
    num_joined = int(joined.sum())
    num_truly_joined = int(truly_joined.sum())
    adjacency = _rates(int((joined & truly_joined).sum()), num_joined, num_truly_joined)
    orientation = _rates(int((joined & same_direction).sum()), num_joined, num_truly_joined)
    return adjacency, orientation


def _rates(num_correct: int, num_estimated: int, num_true: int) -> dict[str, float]:
    return {
        "precision": num_correct / max(num_estimated, 1),
        "recall": num_correct / max(num_true, 1),
        "f1": 2 * num_correct / max(num_estimated + num_true, 1),
    }


def _adjacencies(
    estimated: nx.DiGraph | ArrayLike, true: nx.DiGraph | ArrayLike
) -> tuple[ndarray, ndarray]:
    """Both as bool matrices over one order of nodes."""
    if isinstance(estimated, nx.DiGraph) != isinstance(true, nx.DiGraph):
        raise TypeError(
            "expected two graphs or two adjacency matrices, got one of each: "
            "the order of nodes is unknown"
        )
    if isinstance(estimated, nx.DiGraph) and isinstance(true, nx.DiGraph):
        if set(estimated) != set(true):
            raise ValueError(
                f"expected the same nodes in both graphs, got {list(estimated)} and {list(true)}"
            )
        order = list(true)
        estimated = nx.to_numpy_array(estimated, nodelist=order, weight=None)
        true = nx.to_numpy_array(true, nodelist=order, weight=None)
    estimated_edges = _checked(estimated)
    true_edges = _checked(true)
    if estimated_edges.shape != true_edges.shape:
        sizes = f"{len(estimated_edges)} and {len(true_edges)}"
        raise ValueError(f"expected as many nodes in both graphs, got {sizes}")
    return estimated_edges, true_edges


def _checked(adjacency: ArrayLike) -> ndarray:
    """A bool matrix of the edges; a matrix that is not an adjacency matrix is an error."""
    matrix = as_array(adjacency)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"expected an adjacency matrix of shape (d, d), got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("the adjacency matrix is not finite")
    loops = np.flatnonzero(matrix.diagonal())
    if loops.size:
        raise ValueError(
            f"expected a diagonal of zeros, but node {loops[0]} causes itself; set it to zero"
        )
    return matrix != 0
