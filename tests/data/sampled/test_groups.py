"""Groups, groups that share factors, and triplets."""

import torch

from ppl_disentangle.data import digits, groups, sharing, triplets
from tests.data.sampled.grids import SOURCES, assert_follows, counts, everything


@SOURCES
def test_groups_vary_one_factor_and_have_its_position_as_condition(data):
    drawn = groups(data, 5, num=4000, seed=2, conditions=True)
    members = everything(drawn)
    varies = (members != members[:, :1]).any(1)
    assert (varies.sum(1) == 1).all()
    varied = drawn.conditions(torch.arange(4000))["varied"]
    assert torch.equal(varied, varies.int().argmax(1))
    assert_follows(varied.bincount(minlength=4), torch.ones(4))
    turns = members[varied == 2][:, :, 2]
    assert_follows(counts(turns[:, :2], (5, 5)), torch.ones(5, 5).fill_diagonal_(0))
    assert_follows(counts(turns[:, [0, 4]], (5, 5)), torch.ones(5, 5))
    assert groups(data, 2, num=3).observation_shape == (2, 4)


@SOURCES
def test_groups_that_share_a_factor_are_free_in_all_others(data):
    members = everything(sharing(data, ["kind", "x"], 3, num=6000))
    assert (members[:, :, [0, 3]] == members[:, :1, [0, 3]]).all()
    assert_follows(
        counts(members[:, [0, 2]][:, :, [1, 2]].flatten(1), (4, 5, 4, 5)), torch.ones(400)
    )
    same_class = sharing(digits(), "digit", num=500)
    assert (
        digits().factors(same_class.members(torch.arange(500)).flatten()).view(-1, 2).diff(dim=1)
        == 0
    ).all()


@SOURCES
def test_triplets_share_the_factor_with_the_positive_only(data):
    anchor, positive, negative = everything(triplets(data, "size", num=6000)).unbind(1)
    assert torch.equal(anchor[:, 1], positive[:, 1])
    assert (anchor[:, 1] != negative[:, 1]).all()
    assert_follows(
        counts(torch.cat([positive[:, [0, 2]], negative[:, [0, 2]]], 1), (3, 5, 3, 5)),
        torch.ones(225),
    )
    assert_follows(
        counts(torch.stack([anchor, negative], -1)[:, 1], (4, 4)),
        torch.ones(4, 4).fill_diagonal_(0),
    )
