"""The catalogue describes the data."""

import math

import pytest

from ppl_disentangle.data import catalogue
from ppl_disentangle.data.load import NAMES


@pytest.mark.parametrize("entry", [e for e in catalogue() if e.needs_no_file], ids=lambda e: e.name)
def test_the_catalogue_describes_the_data(entry):
    data = NAMES[entry.name]()
    assert (data.name, len(data)) == (entry.name, entry.num_data)
    assert (data.factor_names, data.factor_sizes) == (entry.factors, entry.sizes)
    assert (math.prod(entry.sizes) == entry.num_data) == (
        entry.name not in ("pendulum", "flow", "thickness_intensity", "digits")
    )


def test_the_catalogue_has_each_name_once_and_all_that_load_data_knows():
    names = [entry.name for entry in catalogue()]
    assert len(names) == len(set(names))
    assert [entry.name for entry in catalogue() if entry.needs_no_file] == list(NAMES)
    for entry in catalogue():
        assert len(entry.factors) == len(entry.sizes)
        assert entry.description.endswith(".")
        assert entry.licence
        assert entry.source
