"""Checks that ruff and mypy lack: the English of docstrings and pages, and the size of functions."""
