"""Bounds on the log evidence of data, and their decompositions."""
