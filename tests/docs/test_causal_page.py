"""The page on causes: its programs run as they stand there, and it is as its script writes it."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

from ppl_disentangle.causal import mechanisms
from tests import DOCS

sys.path.insert(0, str(DOCS / "templates"))

import write_causal  # noqa: E402

SMALLER = {
    "steps=4000": "steps=5",
    "Pendulum(6000, size=32).split(1000)": "Pendulum(500, size=32).split(200)",
    "data.subset(torch.arange(1000))": "data",
}


@pytest.fixture(scope="module")
def ran():
    sources = write_causal.programs()
    for large, small in SMALLER.items():
        assert any(large in source for source in sources)
        sources = [source.replace(large, small) for source in sources]
    names = {"__name__": "page"}
    state = torch.get_rng_state()
    printed = list(write_causal.outputs(sources, names))
    torch.set_rng_state(state)
    return printed, names


def test_every_program_runs_and_says_something(ran):
    printed, _ = ran
    assert len(printed) == len(json.loads(write_causal.RESULTS.read_text())["outputs"])
    assert all(printed)


def test_what_was_kept_has_as_many_lines_as_what_the_programs_print(ran):
    kept = json.loads(write_causal.RESULTS.read_text())["outputs"]
    assert [text.count("\n") for text in ran[0]] == [text.count("\n") for text in kept]


def test_answers_say_which_rung_they_are_on_and_worlds_have_what_is_set(ran):
    _, names = ran
    assert names["what_if"].attrs["rung"] == "counterfactual"
    assert names["effect"].attrs["rung"] == "intervention"
    assert (names["drawn"]["light"][1] == 1.0).all()
    assert (names["drawn"]["light"][0] != 1.0).all()
    assert names["several"].names == (
        "factual",
        "light = 1",
        "angle += 0.2",
        "light ~ Normal, angle = 0",
    )


def test_the_kept_figures_say_what_the_text_says():
    """The shadow does not move the lamp; a unit keeps its own; the image errors are far below leaving images alone."""
    kept = json.loads(write_causal.RESULTS.read_text())["outputs"]
    rungs = [float(line.split("light ")[1].split(" ")[0]) for line in kept[1].splitlines()]
    truth = [float(line.split("light ")[1].split(" ")[0]) for line in kept[2].splitlines()]
    assert np.abs(np.subtract(rungs, truth)).max() < 0.25
    assert rungs[0] > 0.7
    assert abs(rungs[1]) < 0.2
    ink = {
        line.split()[1]: float(line.split()[2])
        for line in kept[9].splitlines()
        if line.startswith("ink")
    }
    assert min(ink["total"], ink["indirect"]) > 0.005  # a longer shadow is more ink
    errors = [float(line.split()[-1]) for line in kept[7].splitlines() if "image" in line]
    assert errors[0] < errors[1] / 10


def test_every_mechanism_that_can_be_built_is_in_the_table():
    table = write_causal.mechanism_table()
    abstract = {"Mechanism", "InvertibleMechanism", "AffineMechanism"}
    assert set(mechanisms.__all__) - abstract == {
        row.split("`")[1] for row in table.splitlines()[2:]
    }
    assert issubclass(mechanisms.Categorical, nn.Module)
    assert "| `Categorical` |" in table
    assert "| a draw |" in next(row for row in table.splitlines() if "Categorical" in row)


def test_the_page_is_as_its_script_writes_it():
    assert write_causal.page() == write_causal.PAGE.read_text(), (
        "run python docs/templates/write_causal.py"
    )


def test_every_picture_and_file_that_the_page_names_is_there():
    for path in re.findall(r"\]\(([^):]+)\)", write_causal.PAGE.read_text()):
        assert (DOCS / path).exists(), path
