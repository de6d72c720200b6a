"""Figures: each draws exactly the numbers that it is given."""

from ppl_disentangle.plots.images import (
    plot_compression,
    plot_intervention,
    plot_reconstructions,
    plot_rows,
    plot_traversals,
)
from ppl_disentangle.plots.scores import plot_factor_map, plot_rank_correlation, plot_sweep
from ppl_disentangle.plots.training import plot_terms

__all__ = [
    "plot_compression",
    "plot_factor_map",
    "plot_intervention",
    "plot_rank_correlation",
    "plot_reconstructions",
    "plot_rows",
    "plot_sweep",
    "plot_terms",
    "plot_traversals",
]
