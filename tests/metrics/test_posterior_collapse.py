"""The mask of collapsed coordinates."""

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import (
    collapsed,
)


def test_collapsed_coordinates_are_those_whose_mean_divergence_is_below_the_threshold():
    kls = np.array([[0.0, 0.015, 5.0, 0.019], [0.0, 0.0, 3.0, 0.003]])
    assert collapsed(kls).tolist() == [True, True, False, False]
    assert collapsed(torch.tensor(kls.mean(0)), threshold=0.012).tolist() == [
        True,
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match=r"expected kls of shape .*, got \(\)"):
        collapsed(3.0)
    with pytest.raises(ValueError, match="got NaN"):
        collapsed([0.1, np.nan])
