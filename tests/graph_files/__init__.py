"""Tests of the readers of graphs."""
