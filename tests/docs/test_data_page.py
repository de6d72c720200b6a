"""The page of data sets equals the output of its script, its pictures are current, and nothing is missing."""

import sys

import numpy as np
import pytest
from PIL import Image

from tests import DOCS

sys.path.insert(0, str(DOCS / "templates"))

import write_data  # noqa: E402

from ppl_disentangle import data  # noqa: E402

PARTS = {  # of data sets, or what is on the page without a chapter
    *(
        "ArrayDataset",
        "CausalDataset",
        "Factor",
        "FactorDataset",
        "FactorGrid",
        "Labels",
        "Subset",
        "SyntheticSCM",
    ),
    *("Entry", "PUBLISHED_SCMS", "Tuples", "catalogue"),
}


def test_the_page_of_data_is_as_its_docstrings_have_it():
    assert write_data.page() == write_data.PAGE.read_text(), (
        "run python docs/templates/write_data.py"
    )


def test_all_data_of_the_package_are_on_the_page():
    names = [name for names in write_data.GROUPS.values() for name in names]
    assert len(names) == len(set(names))
    assert set(names) == set(data.__all__) - PARTS


def test_what_is_published_names_its_source():
    for name in write_data.GROUPS["Data sets that are read from files"]:
        assert "Sources: [1]" in write_data.chapter(getattr(data, name)), name


@pytest.mark.parametrize("name", write_data.SHEETS)
def test_a_picture_shows_what_the_data_look_like(name):
    path = write_data.picture(name)
    assert path.stat().st_size < 100_000
    with Image.open(path) as file:
        shown = np.asarray(file).astype(int)
    drawn = write_data.SHEETS[name][0]().numpy().astype(int)
    assert shown.shape == drawn.shape
    assert np.abs(shown - drawn).mean() < 0.01, "run python docs/templates/write_data.py pictures"
