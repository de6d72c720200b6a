"""A run: a folder with a configuration, weights, scores, figures and a report."""
