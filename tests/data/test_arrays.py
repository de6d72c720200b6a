"""Arrays and torch data sets as data sets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.utils.data import TensorDataset

from ppl_disentangle.data import from_arrays, from_torch, pairs


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-5, 5)
    )
)
def test_the_values_of_the_classes_are_the_factors_given(table):
    data = from_arrays(torch.zeros(len(table), 2), table)
    classes = data.factors(torch.arange(len(table)))
    found = [
        [values[c] for values, c in zip(data.factor_values, row, strict=True)]
        for row in classes.tolist()
    ]
    assert found == table.tolist()
    assert all(values == tuple(sorted(set(values))) for values in data.factor_values)


def test_factors_may_be_numbers_or_strings_under_names():
    frame = {
        "colour": np.array(["red", "blue", "red"], dtype=object),
        "size": [0.5, 2.0, 1.0],
        "count": torch.tensor([7, 7, 9]),
    }
    data = from_arrays(np.zeros((3, 5), np.float32), frame)
    assert data.factor_names == ("colour", "size", "count")
    assert data.factor_values == (("blue", "red"), (0.5, 1.0, 2.0), (7, 9))
    assert [factor.kind for factor in data.space] == ["categorical", "ordinal", "ordinal"]
    assert data.factors(torch.arange(3)).tolist() == [[1, 0, 0], [0, 2, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("x", "given", "maximum"),
    [
        (np.array([[0, 1]], np.uint8), None, 1),
        (np.array([[0, 2]], np.uint8), None, 255),
        (np.array([[0, 2]], np.uint8), 16, 16),
        (np.array([[False, True]]), None, 1),
        (np.array([[-3.0, 200.0]]), None, 1),
        (np.array([[0.0, 255.0]]), 255, 255),
    ],
)
def test_the_maximum_follows_from_the_type_by_default(x, given, maximum):
    data = from_arrays(x, maximum=given)
    assert data.maximum == maximum
    expected = torch.from_numpy(x.astype(np.float32) / maximum)
    torch.testing.assert_close(data.to_float(data.observations(torch.tensor([0]))), expected)


def test_channels_move_to_the_front_only_on_request():
    images = np.arange(2 * 5 * 6 * 3, dtype=np.uint8).reshape(2, 5, 6, 3)
    with pytest.raises(ValueError, match=r"got \(2, 5, 6, 3\); is it channels_last=True\?"):
        from_arrays(images)
    data = from_arrays(images, channels_last=True)
    assert data.observation_shape == (3, 5, 6)
    assert np.array_equal(data.observations(torch.arange(2)), np.moveaxis(images, -1, 1))
    assert from_arrays(images[..., 0]).observation_shape == (1, 5, 6)
    assert from_arrays(images[0]).observation_shape == (1, 6, 3)
    with pytest.raises(
        ValueError, match=r"expected \(num, height, width, channels\), got \(2, 5, 6\)"
    ):
        from_arrays(images[..., 0], channels_last=True)


def test_arrays_are_taken_as_they_come():
    x = np.arange(12.0).reshape(3, 4)
    x.flags.writeable = False
    for array in (x, x[::-1], x.astype(">f4"), x[:, ::2]):
        assert np.array_equal(from_arrays(array).observations(torch.arange(3)), array)


ROWS = np.zeros((3, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"observations": np.zeros((2, 3), np.complex64)},
            TypeError,
            "uint8, bool, integers or floats, got complex64",
        ),
        (
            {"observations": np.zeros(())},
            ValueError,
            r"shape \(num, …\) without empty axes, got \(\)",
        ),
        ({"observations": np.zeros((0, 3))}, ValueError, r"without empty axes, got \(0, 3\)"),
        (
            {"observations": np.array([[0], [1], [np.nan], [np.inf]])},
            ValueError,
            "expected finite observations, got inf at index 3",
        ),
        (
            {"observations": np.array([[3]], np.uint8), "maximum": 2},
            ValueError,
            "got maximum=2 and 3",
        ),
        ({"observations": np.full((2, 2), np.nan)}, ValueError, "got NaN alone"),
        ({"observations": ROWS, "maximum": 0}, ValueError, "expected maximum > 0 .* got maximum=0"),
        (
            {"factors": np.zeros(2)},
            ValueError,
            r"expected 3 values of factor 'factor0', got shape \(2,\)",
        ),
        (
            {"factors": np.zeros((3, 1, 1))},
            ValueError,
            r"\(num,\) or \(num, factors\), got \(3, 1, 1\)",
        ),
        (
            {"factors": {"a": [1.0, np.inf, 2.0]}},
            ValueError,
            "finite factor 'a', got nan or inf at index 1",
        ),
        (
            {"factors": {"a": [{}, 1, 2]}},
            TypeError,
            "numbers or strings for factor 'a', got object",
        ),
        (
            {"factors": np.zeros((3, 2)), "factor_names": ["a"]},
            ValueError,
            "2 different factor_names, got",
        ),
        (
            {"factors": np.zeros((3, 2)), "factor_names": ["a", "a"]},
            ValueError,
            "2 different factor_names",
        ),
        ({"factor_names": ["a"]}, ValueError, r"only beside an array of factors, got \['a'\]"),
        (
            {"factors": {"a": ROWS[:, 0]}, "factor_names": ["b"]},
            ValueError,
            "only beside an array of factors",
        ),
    ],
)
def test_from_arrays_rejects_invalid_arrays(arguments, error, message):
    with pytest.raises(error, match=message):
        from_arrays(**{"observations": ROWS, **arguments})


def test_a_torch_data_set_is_read_once():
    x, y = torch.rand(4, 1, 3, 3), torch.tensor([[2, 5], [3, 5], [2, 6], [2, 5]])
    data = from_torch(TensorDataset(x, y), factor_names=["a", "b"])
    assert torch.equal(data.observations(torch.arange(4)), x)
    assert data.factor_values == ((2, 3), (5, 6))
    assert data.factors(torch.arange(4)).tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]
    assert from_torch(TensorDataset(x)).space == ()
    assert from_torch(list(x)).observation_shape == (1, 3, 3)
    assert from_torch([(one, "cat") for one in x]).factor_values == (("cat",),)


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([], ValueError, "expected at least one observation, got an empty data set"),
        ([np.zeros(3)], TypeError, r"a tensor x, or \(x, y\), everywhere, got \['ndarray'\] at 0"),
        ([(torch.zeros(2), 1, 2)], TypeError, r"got \['Tensor', 'int', 'int'\] at 0"),
        ([(torch.zeros(2), 1), torch.zeros(2)], TypeError, r"got \['Tensor'\] at 1"),
        ([torch.zeros(2), torch.zeros(3)], ValueError, r"expected shape \(2,\), got \(3,\) at 1"),
    ],
)
def test_from_torch_rejects_invalid_items(items, error, message):
    with pytest.raises(error, match=message):
        from_torch(items)


def test_missing_labels_have_the_class_minus_one():
    labels = {"a": np.array(["x", None, "y"], object), "b": np.array([2.0, 1.0, np.nan])}
    data = from_arrays(ROWS, labels)
    assert data.factor_values == (("x", "y"), (1.0, 2.0))
    assert data.factors(torch.arange(3)).T.tolist() == [[0, -1, 1], [1, 0, -1]]
    with pytest.raises(ValueError, match="factor 'a' is missing in 1 of 3 rows"):
        pairs(data)
