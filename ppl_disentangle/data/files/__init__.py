"""Data sets that are read from files in their published formats, and readers of user files."""
