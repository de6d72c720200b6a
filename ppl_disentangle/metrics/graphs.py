"""How far an estimated causal graph is from the true one."""

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
    r"""Structural Hamming distance [1]: by how many edges two graphs differ.

    .. math:: \#\{i < j : (E_{ij}, E_{ji}) \ne (T_{ij}, T_{ji})\} \quad \text{or} \quad \#\{i, j : E_{ij} \ne T_{ij}\}

    The first, gCastle's, counts pairs of nodes, hence a reversed edge once. The second, false positives plus false
    negatives, counts entries of the adjacency matrices E and T, hence a reversed edge twice. Both are in use; say
    which.

    Range: 0 for equal graphs, to d (d - 1) / 2 or d (d - 1). Both are metrics. The graph without edges scores the
    number of true edges: state it beside the distance.

    Args:
        estimated: a graph, or an adjacency matrix whose entry (i, j) is not zero where there is an edge from i to j.
        true: as ``estimated``: both are graphs over the same nodes, or both are matrices over the same order of nodes.
        reversal: what a reversed edge counts.

    Raises:
        ValueError: ``reversal`` is neither 1 nor 2, the graphs have other nodes, or an adjacency matrix is not square,
            not finite or has a node that causes itself.
        TypeError: a graph beside a matrix.

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
    ours, theirs = _adjacencies(estimated, true)
    differ = ours != theirs
    return int(differ.sum() if reversal == 2 else np.triu(differ | differ.T).sum())


def graph_scores(
    estimated: nx.DiGraph | ArrayLike, true: nx.DiGraph | ArrayLike
) -> dict[str, float]:
    r"""Distances and rates of an estimated graph, by name.

    ===================================== =========================================================================
    ``shd``                               :func:`shd`, a reversed edge once
    ``shd_reversal_counts_two``           :func:`shd`, a reversed edge twice
    ``precision``, ``recall``, ``f1``     of directed edges: a reversed edge is wrong
    ``tpr``, ``fdr``                      recall; the share of the estimated edges that are wrong
    ``fpr``                               wrong edges by the number of pairs without a true edge; above 1 if many are
                                          reversed
    ``adjacency_…``                       precision, recall and F1 of pairs that an edge joins, whatever its direction
    ``orientation_…``                     the same of such pairs with the edge in its direction
    ===================================== =========================================================================

    For two acyclic graphs the orientation scores are those of directed edges. A rate of nothing is 0: the graph without
    edges has precision 0 and false discovery rate 0. These are the conventions of gCastle, which leaves precision and
    F1 undefined there, and of causica for adjacency and orientation.

    Args:
        estimated: as in :func:`shd`.
        true: as in :func:`shd`.

    Raises:
        ValueError: as in :func:`shd`.
        TypeError: as in :func:`shd`.

    Example:
        >>> scores = graph_scores([[0, 1, 0], [0, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
        >>> scores["shd"], scores["precision"], scores["adjacency_f1"]
        (1, 0.5, 1.0)
    """
    ours, theirs = _adjacencies(estimated, true)
    wrong, empty_pairs = (
        int((ours & ~theirs).sum()),
        len(ours) * (len(ours) - 1) // 2 - int(theirs.sum()),
    )
    edges = _rates(int((ours & theirs).sum()), int(ours.sum()), int(theirs.sum()))
    upper = np.triu_indices(len(ours), 1)
    joined, truly_joined = (ours | ours.T)[upper], (theirs | theirs.T)[upper]
    same = (ours == theirs)[upper] & (ours == theirs).T[upper]
    sizes = int(joined.sum()), int(truly_joined.sum())
    adjacency = _rates(int((joined & truly_joined).sum()), *sizes)
    orientation = _rates(int((joined & same).sum()), *sizes)
    return {
        "shd": shd(ours, theirs),
        "shd_reversal_counts_two": shd(ours, theirs, reversal=2),
        **edges,
        "tpr": edges["recall"],
        "fdr": wrong / max(int(ours.sum()), 1),
        "fpr": wrong / max(empty_pairs, 1),
        **{f"adjacency_{name}": value for name, value in adjacency.items()},
        **{f"orientation_{name}": value for name, value in orientation.items()},
    }


def _rates(hits: int, found: int, sought: int) -> dict[str, float]:
    return {
        "precision": hits / max(found, 1),
        "recall": hits / max(sought, 1),
        "f1": 2 * hits / max(found + sought, 1),
    }


def _adjacencies(
    estimated: nx.DiGraph | ArrayLike, true: nx.DiGraph | ArrayLike
) -> tuple[ndarray, ndarray]:
    """Both as bool matrices over one order of nodes."""
    if isinstance(estimated, nx.DiGraph) != isinstance(true, nx.DiGraph):
        raise TypeError(
            "expected two graphs or two adjacency matrices, got one of each: the order of nodes is unknown"
        )
    if isinstance(estimated, nx.DiGraph) and isinstance(true, nx.DiGraph):
        if set(estimated) != set(true):
            raise ValueError(
                f"expected the same nodes in both graphs, got {list(estimated)} and {list(true)}"
            )
        order = list(true)
        estimated, true = (
            nx.to_numpy_array(graph, nodelist=order, weight=None) for graph in (estimated, true)
        )
    ours, theirs = _checked(estimated), _checked(true)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"expected as many nodes in both graphs, got {len(ours)} and {len(theirs)}"
        )
    return ours, theirs


def _checked(adjacency: ArrayLike) -> ndarray:
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
