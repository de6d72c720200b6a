"""Data sets that know their causes: each has a graph, interventions and true counterfactuals."""
