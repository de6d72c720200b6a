"""Indices and classes are taken in many forms, or refused by name."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ppl_disentangle.data import Sprites, digits, from_arrays, pairs, with_conditions
from ppl_disentangle.data.indices import trusted_indices

X = torch.arange(12.0).reshape(6, 2) / 12
DATA = from_arrays(X, torch.arange(6) % 3, name="six")


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        ([4, 0], [4, 0]),
        (np.array([4, 0], np.uint8), [4, 0]),
        (torch.tensor([4, 0], dtype=torch.int32), [4, 0]),
        (slice(1, None, 2), [1, 3, 5]),
        (slice(None, None, -2), [5, 3, 1]),
        (slice(4, 2), []),
        (range(2), [0, 1]),
        ([], []),
        ([True, False, False, False, True, False], [0, 4]),
        (torch.arange(6) > 3, [4, 5]),
    ],
)
def test_an_index_may_be_a_list_an_array_a_slice_or_a_mask(index, rows):
    assert torch.equal(DATA.observations(index), X[rows])
    assert DATA.factors(index).flatten().tolist() == [row % 3 for row in rows]
    assert DATA.rows(index).tolist() == rows
    x, classes = DATA[index] if not isinstance(index, range) else DATA[list(index)]
    assert torch.equal(x, X[rows])
    assert torch.equal(classes, DATA.factors(index))


@pytest.mark.parametrize("method", ["observations", "factors", "conditions", "rows", "row_labels"])
@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([0.0], TypeError, "index of 'six' of integers, got torch.float64"),
        (["a"], TypeError, "as a tensor, array or list of integers, got list"),
        ([6], IndexError, "index 6 is out of range for 6 data of 'six'"),
        ([-1], IndexError, "index -1 is out of range for 6 data of 'six'"),
        ([[0]], ValueError, r"shape \(batch,\), got \(1, 1\)"),
        (3, ValueError, r"got \(\); data\[i\] is one datum"),
        ([True], IndexError, "a mask of the 6 data of 'six', got 1 entries"),
    ],
)
def test_other_indices_are_refused_by_name(method, index, error, message):
    with pytest.raises(error, match=message):
        getattr(DATA, method)(index)


def test_brackets_count_negative_integers_from_the_end():
    assert torch.equal(DATA[-1][0], X[5])
    assert torch.equal(DATA[[-1, 0]][0], X[[5, 0]])
    assert torch.equal(DATA.subset([-1, 0]).observations([0, 1]), X[[5, 0]])
    for wrong in (6, -7, [6]):
        with pytest.raises(IndexError, match="out of range for 6 data"):
            DATA[wrong]
    with pytest.raises(TypeError, match="integers"):
        DATA[1.0]


def test_a_class_beyond_its_factor_is_not_another_image():
    sprites = Sprites()
    for function in (sprites.index, sprites.render):
        with pytest.raises(
            IndexError, match=r"classes of factor 'scale' in \[0, 6\), got 6 in row 0"
        ):
            function([[0, 6, 0, 0, 0]])
        with pytest.raises(IndexError, match="'y' in .*, got -1 in row 1"):
            function(np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, -1]]))
        with pytest.raises(TypeError, match="classes of the factors of integers"):
            function([[0.0, 1, 0, 0, 0]])
        with pytest.raises(ValueError, match=r"of shape \(batch, 5\), got \(5,\)"):
            function([0, 0, 0, 0, 0])
    assert sprites.index([[0, 5, 0, 0, 0]]).tolist() == [5 * 40 * 32 * 32]
    assert torch.equal(
        sprites.render([[1, 2, 3, 4, 5]]), sprites.render(torch.tensor([[1, 2, 3, 4, 5]]))
    )


def test_a_training_loop_may_skip_the_checks():
    with trusted_indices(), pytest.raises(IndexError):
        DATA.observations(torch.tensor([6]))  # torch's own error
    with pytest.raises(IndexError, match="'six'"):
        DATA.observations(torch.tensor([6]))


def test_rows_lead_to_the_users_data_through_nested_subsets():
    sprites = Sprites()
    held_out = sprites.split(1000, seed=3)[1].split(100, seed=4)[1]
    chosen = with_conditions(held_out, c=torch.arange(100)).subset([7, 3])
    rows = chosen.rows([0, 1])
    assert torch.equal(sprites.observations(rows), chosen.observations([0, 1]))
    assert torch.equal(sprites.factors(rows), chosen.factors([0, 1]))
    assert chosen.row_labels([0, 1]).tolist() == rows.tolist()
    assert chosen.conditions([0, 1])["c"].tolist() == [7, 3]


def test_the_row_of_a_pair_is_that_of_its_first_member():
    training, _ = digits().split(500)
    drawn = pairs(training, num=20, conditions=True).subset(range(5, 20))
    rows = drawn.rows(torch.arange(15))
    assert torch.equal(digits().observations(rows), drawn.observations(torch.arange(15))[:, 0])


def test_row_labels_go_with_the_data():
    data = from_arrays(X, row_labels=list("abcdef"))
    assert data.subset([5, 2]).subset([1]).row_labels([0]).tolist() == ["c"]
    with pytest.raises(ValueError, match=r"expected 6 row_labels, got shape \(1,\)"):
        from_arrays(X, row_labels=["a"])


def test_a_loader_keeps_the_conditions():
    data = with_conditions(DATA, labels=torch.arange(6.0), mask=X > 0.5).subset([5, 0, 3])
    [(x, classes, conditions)] = DataLoader(data, batch_size=3)
    assert torch.equal(x, X[[5, 0, 3]])
    assert classes.flatten().tolist() == [2, 0, 0]
    assert conditions["labels"].tolist() == [5, 0, 3]
    assert torch.equal(conditions["mask"], X[[5, 0, 3]] > 0.5)
    assert data[1][2]["labels"] == 0
    assert data[1:][2]["labels"].tolist() == [0, 3]


def test_a_data_set_says_what_is_in_it():
    images = from_arrays(
        torch.full((200, 1, 8, 8), 7, dtype=torch.uint8),
        {"shape": torch.arange(200) % 3, "x": torch.arange(200) % 32},
        name="mine",
    )
    expected = "ArrayDataset 'mine': 200 images 1×8×8, uint8 0..255, factors shape (3), x (32)"
    assert repr(images) == expected
    assert repr(with_conditions(DATA, c=torch.ones(6))) == (
        "ConditionedDataset 'six': 6 vectors 2, float32, factors factor0 (3), conditions c"
    )
    assert repr(Sprites().subset([])).startswith("Subset 'sprites': 0 images 1×64×64, uint8 0..1")
