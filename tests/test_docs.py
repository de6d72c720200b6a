"""Pages that are written by a script are as the script writes them."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

import write_objectives  # noqa: E402

from ppl_disentangle import inference  # noqa: E402


def test_the_page_of_objectives_is_as_its_docstrings_have_it():
    assert write_objectives.page() == write_objectives.PAGE.read_text(), "run python docs/write_objectives.py"


def test_every_objective_tells_its_formula_terms_defaults_source_and_what_it_avoids():
    for cls in write_objectives.objectives():
        chapter = write_objectives.chapter(cls)
        pieces = ("```math", "| argument | default |", "Sources: [1]", "**What it avoids.** ")
        assert all(piece in chapter for piece in pieces), cls.__name__
        assert '`"' in chapter, f"{cls.__name__} names no terms"


def test_every_objective_of_the_package_is_on_the_page():
    names = {c.__name__ for c in write_objectives.objectives()}
    assert {"BetaELBO", "TCELBO", "FactorELBO", "AdversarialMI"} <= names
    assert "AggregateELBO" not in names
    assert len(names) == 16
    assert names <= set(inference.__all__)
