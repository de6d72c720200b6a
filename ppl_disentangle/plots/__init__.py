"""Figures: each draws exactly the numbers that it is given."""

from ppl_disentangle.plots.panels import (
    plot_compression,
    plot_factor_map,
    plot_intervention,
    plot_rank_correlation,
    plot_reconstructions,
    plot_rows,
    plot_sweep,
    plot_terms,
    plot_traversals,
)

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
