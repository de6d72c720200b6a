"""Data of other libraries as data sets: each form gives the same observations, or is refused."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
import xarray as xr
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from ppl_disentangle.data import as_dataset, digits, from_arrays, from_torch

X = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 2
ALL = torch.arange(10)


class Items(Dataset):
    """Items of any form, by a function of the row."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return self.item(i)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


FORMS = {
    "tensor": X,
    "parameter": torch.nn.Parameter(X),
    "array": X.numpy(),
    "list": X.tolist(),
    "list of tensors": list(X),
    "tuple of arrays": tuple(X.numpy()),
    "tensors": TensorDataset(X),
    "items": Items(lambda i: X[i]),
    "items of arrays": Items(lambda i: X[i].numpy()),
    "items in tuples": Items(lambda i: (X[i],)),
    "concatenated": ConcatDataset([TensorDataset(X[:4]), TensorDataset(X[4:])]),
    "loader": DataLoader(TensorDataset(X), batch_size=3, shuffle=True),
    "loader with a sampler of batches": DataLoader(
        TensorDataset(X), batch_sampler=BatchSampler(SequentialSampler(X), 3, False)
    ),
    "loader without batches": DataLoader(TensorDataset(X), batch_size=None),
    "frame": pd.DataFrame(X.numpy(), columns=["a", "b", "c"]),
    "nullable frame": pd.DataFrame(X.numpy(), dtype="Float32"),
    "data array": xr.DataArray(X.numpy(), dims=("data", "feature")),
    "turned data array": xr.DataArray(X.numpy().T, dims=("feature", "data")),
    "data set of xarray": xr.Dataset({"x": (("data", "feature"), X.numpy())}),
    "mapping": {"x": X},
    "sparse": scipy.sparse.csr_matrix(X.numpy()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_observations(form):
    data = as_dataset(form)
    torch.testing.assert_close(data.to_float(data.observations(ALL)), X, rtol=0, atol=0)
    assert data.rows(ALL).tolist() == list(range(10))
    assert not data.space


def test_a_data_set_of_the_library_is_itself():
    data = digits()
    assert as_dataset(data) is data
    assert as_dataset(DataLoader(data, batch_size=4)) is data


LABELLED = {
    "tensors": TensorDataset(X, Y),
    "items": Items(lambda i: (X[i], int(Y[i]))),
    "pairs": [(X[i], Y[i]) for i in range(10)],
    "mappings": Items(lambda i: {"image": X[i], "factor0": Y[i]}),
    "data set of xarray": xr.Dataset({"x": (("data", "k"), X.numpy()), "factor0": ("data", Y)}),
}


@pytest.mark.parametrize("form", LABELLED.values(), ids=LABELLED)
def test_labels_are_factors(form):
    data = as_dataset(form)
    assert data.factor_names == ("factor0",)
    assert torch.equal(data.factors(ALL)[:, 0], Y)
    assert torch.equal(data.to_float(data.observations(ALL)), X)


def test_named_parts_are_conditions():
    mask = X > 0.5
    for form in (
        as_dataset(TensorDataset(X, mask), conditions=["mask"]),
        as_dataset(Items(lambda i: {"x": X[i], "mask": mask[i]})),
        as_dataset({"x": X, "mask": mask}),
        as_dataset(DataLoader(TensorDataset(X, mask)), conditions=["mask"]),
    ):
        assert torch.equal(form.conditions([3, 4])["mask"], mask[[3, 4]])
    data = as_dataset({"x": X, "y": Y, "mask": mask}, conditions=["y"])
    assert set(data.conditions(ALL)) == {"y", "mask"}


def test_the_rows_of_a_torch_subset_are_those_behind_it():
    inner = Subset(TensorDataset(X, Y), [9, 7, 5, 3])
    outer = Subset(inner, [2, 0])
    for data in (
        as_dataset(outer),
        as_dataset(Subset(Subset(Items(X.__getitem__), [9, 7, 5]), [2, 0])),
    ):
        assert data.rows([0, 1]).tolist() == [5, 9]
        assert torch.equal(data.observations([0, 1]), X[[5, 9]])
    first, _ = random_split(TensorDataset(X), [4, 6], generator=torch.Generator().manual_seed(1))
    assert as_dataset(DataLoader(first)).rows(range(4)).tolist() == list(first.indices)


def test_labels_of_rows_come_from_the_index():
    names = [f"unit {i}" for i in range(10)]
    frame = as_dataset(pd.DataFrame(X.numpy(), index=names))
    array = as_dataset(xr.DataArray(X.numpy(), dims=("sample", "k"), coords={"sample": names}))
    for data in (frame, array):
        assert data.split(3)[1].row_labels([0]).tolist()[0] in names
        assert data.row_labels([8]).tolist() == ["unit 8"]
    shuffled = pd.DataFrame(X.numpy()).iloc[[5, 2]]
    assert as_dataset(shuffled).row_labels([0, 1]).tolist() == [5, 2]


def test_dims_of_an_array_say_what_it_is():
    values = np.random.default_rng(0).normal(size=(5, 3, 8)).astype(np.float32)
    signals = as_dataset(xr.DataArray(values, dims=("data", "channel", "time")))
    turned = as_dataset(
        xr.DataArray(values, dims=("data", "channel", "time")).transpose("time", ...)
    )
    assert signals.kind == turned.kind == "signal"
    assert signals.observation_shape == turned.observation_shape == (3, 8)
    assert torch.equal(signals.observations([2]), turned.observations([2]))
    sequences = as_dataset(xr.DataArray(values, dims=("data", "feature", "time")))
    assert (sequences.kind, sequences.observation_shape) == ("sequence", (8, 3))
    images = as_dataset(xr.DataArray(values[..., None], dims=("data", "row", "column", "channel")))
    assert (images.kind, images.observation_shape) == ("image", (1, 3, 8))


def test_missing_values_are_nan():
    nullable = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [True, False]})
    x = as_dataset(nullable).observations([0, 1]).float()
    torch.testing.assert_close(x, torch.tensor([[1, 1], [torch.nan, 0]]), equal_nan=True)
    masked = np.ma.masked_array([[1.0, 2.0]], [[False, True]])
    assert as_dataset(masked).observations([0]).isnan().tolist() == [[False, True]]


def test_whole_numbers_are_floats_if_floats_hold_them():
    counts = np.array([[3, 0], [7, 1 << 24]])
    assert torch.equal(as_dataset(counts).observations([1]), torch.tensor([[7.0, float(1 << 24)]]))
    with pytest.raises(ValueError, match="whole numbers up to 2\\^24, got 0 to 16777217"):
        as_dataset(counts + np.array([0, 1]) - np.array([3, 0]) * (counts == 3))


def test_the_matrix_of_an_anndata_is_read(monkeypatch):
    module = types.ModuleType("anndata")

    class AnnData:
        X = scipy.sparse.csr_matrix(np.eye(3, dtype=np.float32))
        obs_names = pd.Index(["cell a", "cell b", "cell c"])

    module.AnnData = AnnData
    monkeypatch.setitem(sys.modules, "anndata", module)
    data = as_dataset(AnnData())
    assert torch.equal(data.observations([2]), torch.eye(3)[[2]])
    assert data.row_labels([1]).tolist() == ["cell b"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Stream(), TypeError, "the stream Stream: read it into memory with list"),
        (DataLoader(Stream()), TypeError, "the stream Stream"),
        (
            DataLoader(TensorDataset(X), sampler=WeightedRandomSampler([1.0] * 10, 10)),
            ValueError,
            "draws its data by WeightedRandomSampler",
        ),
        (
            DataLoader(TensorDataset(X), sampler=SubsetRandomSampler([1])),
            ValueError,
            "draws its data by SubsetRandomSampler",
        ),
        (
            DataLoader(
                TensorDataset(X),
                batch_sampler=BatchSampler(WeightedRandomSampler([1.0] * 10, 10), 2, False),
            ),
            ValueError,
            "draws its data by WeightedRandomSampler",
        ),
        (
            DataLoader(TensorDataset(X), sampler=RandomSampler(X, replacement=True)),
            ValueError,
            "draws its data by RandomSampler",
        ),
        (
            DataLoader(TensorDataset(X), batch_sampler=[[0, 1], [2, 3]]),
            ValueError,
            "draws its data by list",
        ),
        (DataLoader(TensorDataset(X), collate_fn=list), ValueError, "its own collate_fn"),
        (TensorDataset(X, Y, X), ValueError, r"got 3 parts; .* conditions=\('labels', 'mask'\)"),
        (
            Items(lambda i: (X[i], Y[i])[: 1 + i % 2]),
            ValueError,
            "1 parts in each item, got 2 at 1",
        ),
        (Items(lambda i: X[i, : 1 + i % 2]), ValueError, "part 0 of one shape in all items"),
        (Items(lambda i: "text"), TypeError, "items x or .* got str"),
        ([[1.0], [1.0, 2.0]], ValueError, "rows of several lengths"),
        ({"y": X}, ValueError, "observations under one of .*, got \\['y'\\]"),
        (pd.DataFrame({"sex": ["f", "m"]}), TypeError, "column 'sex': expected numbers"),
        ("sprites", TypeError, "got a text; load_data reads a path or a name"),
        (None, TypeError, "expected a tensor, .* got NoneType"),
        (X.to_sparse(), TypeError, "expected dense observations"),
        (X + 0j, TypeError, "got torch.complex64"),
        (np.array(["a"]), TypeError, "expected observations of uint8, bool, .* got <U1"),
        ([], ValueError, "without empty axes"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(data, error, message):
    with pytest.raises(error, match=message):
        as_dataset(data)


def test_from_torch_names_the_way_in_for_streams():
    with pytest.raises(TypeError, match="the stream Stream: read it with list"):
        from_torch(Stream())
    assert len(from_torch(list(Stream()))) == 10


def test_labels_of_mixed_types_are_text():
    frame = pd.DataFrame(X.numpy()[:3], index=[1, "b", 2.5])
    assert as_dataset(frame).row_labels(range(3)).tolist() == ["1", "b", "2.5"]
    several = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    frame = pd.DataFrame(X.numpy()[:3], index=several)
    assert as_dataset(frame).row_labels(range(3)).tolist() == ["a/1", "a/2", "b/1"]


def test_from_arrays_names_the_way_in_for_other_types():
    assert from_arrays([[1.0, 2.0]] * 4).observation_shape == (2,)
    with pytest.raises(TypeError, match="expected observations as .* got DataFrame; as_dataset"):
        from_arrays(pd.DataFrame(np.ones((4, 2))))
