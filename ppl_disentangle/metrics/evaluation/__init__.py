"""Score a story by all metrics, beside chance, baselines and the ceiling."""
