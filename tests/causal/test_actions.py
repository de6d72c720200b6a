"""Actions as text: they are read back as they were written, and wrong statements are errors."""

import numpy as np
import pytest
import torch
from pyro import distributions as dist

from ppl_disentangle.causal.action_text import FACTUAL, from_text, to_text
from ppl_disentangle.causal.actions import Shift, shift

ACTIONS = {
    "a number": {"light": 2.0},
    "a negative number": {"light": -0.25},
    "a number with many digits": {"light": 1 / 3},
    "a small and a large number": {"light": 1.5e-30, "angle": -2.5e30},
    "a tensor of one number": {"light": torch.tensor(0.1)},
    "an array of one number": {"light": np.float32(0.7)},
    "a whole number": {"light": 3},
    "a row": {"colour": torch.tensor([0.0, 0.0, 1.0])},
    "a row of fractions": {"colour": torch.tensor([0.1, -0.7, 0.2])},
    "an array": {"colour": np.array([0.5, 2.0])},
    "a coordinate": {"z[3]": 1.0},
    "a coordinate that has a name": {"hue": 0.5},
    "a shift": {"angle": shift(0.2)},
    "a negative shift": {"angle": shift(-0.2)},
    "a shift by a row": {"colour": shift(torch.tensor([0.0, 0.5]))},
    "a shift of a coordinate": {"z[0]": shift(1.0)},
    "several": {
        "light": 2.0,
        "colour": torch.tensor([0.0, 1.0]),
        "z[0]": shift(0.2),
        "z[1]": 1.0,
        "weather": torch.tensor([1.0, 0.0, 0.0]),
    },
    "none": {},
}


def amounts(actions):
    """Each action as its kind and its numbers, in single precision."""
    for name, action in actions.items():
        value = action.amount if isinstance(action, Shift) else action
        yield name, isinstance(action, Shift), torch.as_tensor(value).float().tolist()


@pytest.mark.parametrize("actions", ACTIONS.values(), ids=list(ACTIONS))
def test_actions_that_are_written_are_read_back(actions):
    text = to_text(actions)
    assert list(amounts(from_text(text))) == list(amounts(actions))
    assert to_text(from_text(text)) == text


def test_a_number_is_read_back_with_all_its_digits():
    assert from_text(to_text({"light": 1 / 3})) == {"light": 1 / 3}


def test_spaces_are_optional():
    compact = from_text("light=2,angle+=0.2,z[0]-=1,weather=[0, 0,1]")
    spaced = from_text(" light = 2, angle += 0.2, z[0] -= 1, weather = [0,0,1] ")
    assert to_text(compact) == to_text(spaced)
    assert to_text(spaced) == "light = 2, angle += 0.2, z[0] += -1, weather = [0,0,1]"


def test_actions_that_are_not_numbers_are_described():
    actions = {
        "light": dist.Normal(torch.zeros(1), 1.0).to_event(1),
        "angle": torch.square,
        "length": torch.zeros(30),
        "position": torch.zeros(7, 2),
    }
    assert to_text(actions) == (
        "light ~ Normal, angle = square(angle), length = values of shape (30,),"
        " position = values of shape (7, 2)"
    )
    assert to_text({}) == FACTUAL


ERRORS = {
    "no value": ("light", r"expected NAME=VALUE or NAME\+=VALUE, got 'light'"),
    "nothing": ("", "expected NAME=VALUE"),
    "a distribution": ("light ~ Normal", "expected NAME=VALUE"),
    "a function": ("angle = square(angle)", "expected a number for 'angle'"),
    "a word": ("light=bright", "expected a number for 'light', got 'bright'"),
    "a truth value": ("light=true", "expected a number for 'light', got 'true'"),
    "an empty row": ("light=[]", r"expected a number for 'light', got '\[\]'"),
    "rows of rows": ("light=[[1,2]]", "expected a number for 'light'"),
    "a sign": ("light=+0.2", r"to add to its value write light\+=0.2"),
    "twice": ("light=1, light+=2", "'light' is set twice"),
    "an infinite shift": ("light+=Infinity", "expected a finite amount to add, got inf"),
}


@pytest.mark.parametrize(("text", "message"), ERRORS.values(), ids=list(ERRORS))
def test_a_wrong_statement_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        from_text(text)
