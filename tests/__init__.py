"""Tests, in the folders of the library; a module's tests bear its name."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
IMAGES = ROOT / "tests" / "data" / "images"
DOCS = ROOT / "docs"
