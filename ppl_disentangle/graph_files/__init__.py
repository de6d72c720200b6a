"""Readers of graphs that other programs write: DOT, DAGitty, Tetrad's text and GraphML."""
