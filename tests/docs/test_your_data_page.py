"""The page on own data: its programs run as they stand there, and it is as its script writes it."""

import json
import sys

import pytest
import torch

from tests import DOCS

sys.path.insert(0, str(DOCS / "templates"))

import write_your_data  # noqa: E402


def kept():
    return json.loads(write_your_data.RESULTS.read_text())["outputs"]


def test_the_page_is_as_its_script_writes_it():
    assert write_your_data.page() == write_your_data.PAGE.read_text(), (
        "run python docs/templates/write_your_data.py"
    )


def test_the_page_has_the_output_of_every_program():
    assert len(kept()) == len(write_your_data.programs())
    assert sum(map(bool, kept())) >= len(kept()) - 1  # the first program only writes files


@pytest.mark.slow
def test_every_program_runs_and_prints_as_many_lines_as_the_page_shows(tmp_path):
    torch.manual_seed(0)
    printed = write_your_data.outputs(tmp_path)
    assert [text.count("\n") for text in printed] == [text.count("\n") for text in kept()]
