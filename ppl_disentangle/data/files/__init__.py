"""Data sets that are read from files in their published formats, and readers of your own files."""
