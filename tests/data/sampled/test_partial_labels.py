"""Labels of some of the data."""

import torch

from ppl_disentangle.data import correlated, partial_labels, with_conditions
from tests.data.sampled.grids import GRID, assert_follows, counts, everything


def test_partial_labels_are_known_and_wrong_as_often_as_stated():
    data = correlated(GRID, {("size", "turn"): 0.3}, num=40000)
    truth = everything(data)
    values, known, mean, scale = partial_labels(
        data, ["turn", "kind"], fraction=0.3, wrong=0.25, seed=1
    )
    assert known.sum() == 12000
    assert torch.equal(values.isnan(), ~known[:, None].expand(-1, 2))
    assert (mean.tolist(), scale.tolist()) == ([0, 0], [1, 1])
    shift = (values[known] - truth[known][:, [2, 0]]).long() % torch.tensor([5, 3])
    assert_follows(shift[:, 0].bincount(), torch.tensor([0.75, *[0.25 / 4] * 4]))
    assert_follows(shift[:, 1].bincount(), torch.tensor([0.75, 0.125, 0.125]))
    assert_follows(counts((shift > 0).long(), (2, 2)), torch.tensor([9.0, 3, 3, 1]))
    more = partial_labels(data, fraction=0.5, seed=1)
    assert (known <= more.known).all()
    assert torch.equal(more.values[more.known].long(), truth[more.known])
    told = with_conditions(data, labels=values)
    index = torch.tensor([5, 9])
    torch.testing.assert_close(told.conditions(index)["labels"], values[index], equal_nan=True)
