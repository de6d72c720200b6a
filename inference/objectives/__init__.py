"""Objectives, one paper a file."""
