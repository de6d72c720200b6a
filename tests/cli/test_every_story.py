"""Every story of the zoo trains on every data set that fits it, and no name of a factor is in the way."""

import pytest

from ppl_disentangle.cli.main import main
from ppl_disentangle.data.load import NAMES
from ppl_disentangle.zoo import stories

QUICK = ["--steps", "3", "--batch-size", "8", "--held-out", "20", "--network", "mlp"]
GRAPHS = {"sprites": "x -> y", "xy_squares": "x_R -> y_R", "room": "scale -> shape"}
GRAPHS |= {"two_objects": "back_x -> front_x", "digits": "digit"}
GRAPHS |= {"pendulum_grid": "angle -> light", "flow_grid": "ball -> water"}
"""A graph among factors, for data that have none."""
NEED_A_GRAPH = (
    "causal_vae",
    "causal_vae_paper",
    "dear",
    "deep_scm",
    "graph_vae",
    "structural_ivae",
)
OPTIONS = {"darla": ["feature_steps=3"]}

DOES_NOT_FIT = ("needs", "expected data with", "expected factors")


def train(story, data, folder, capsys):
    """Train through the command line; whether the story fits the data."""
    settings = list(OPTIONS.get(story, ()))
    if story in NEED_A_GRAPH and data in GRAPHS:
        settings.append(f"graph={GRAPHS[data]}")
    options = [part for setting in settings for part in ("--set", setting)]
    command = ["train", story, "--data", data, *QUICK, *options, "--no-evaluate", "--quiet"]
    status = main([*command, "--out", str(folder / "run")])
    message = capsys.readouterr().err
    if status:
        assert message.count("\n") == 1
        assert any(words in message for words in DOES_NOT_FIT), message
    return status == 0


NAMED = ["supervised_vae", "causal_vae"]


@pytest.mark.parametrize("story", NAMED)
def test_stories_with_named_coordinates_train_on_data_with_a_factor_x(story, tmp_path, capsys):
    assert train(story, "sprites", tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("data", NAMES)
@pytest.mark.parametrize("story", stories())
def test_every_story_trains_on_every_data_set_or_says_what_it_needs(story, data, tmp_path, capsys):
    train(story, data, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("story", [name for name in stories() if name != "ada_gvae"])
def test_every_story_fits_one_of_the_data_sets(story, tmp_path, capsys):
    places = ("pendulum", "sprites")
    assert any(train(story, data, tmp_path / data, capsys) for data in places)
