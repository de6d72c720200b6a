"""Data sets that are drawn at any index: nothing is downloaded."""
