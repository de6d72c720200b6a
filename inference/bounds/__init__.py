"""Bounds on log p(x) of fitted stories, and their decompositions."""
