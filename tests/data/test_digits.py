"""The digits of scikit-learn."""

import torch

from ppl_disentangle.data import digits


def test_digits_equal_scikit_learns():
    data = digits()
    index = torch.arange(len(data))
    assert (len(data), data.observation_shape, data.maximum) == (1797, (1, 8, 8), 16)
    assert data.factor_names == ("digit",)
    assert data.space[0].kind == "categorical"
    assert data.observations(index).dtype == torch.uint8
    assert data.observations(index).max() == 16
    assert data.observations(index[:1])[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert data.factors(index).flatten().bincount().tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]
