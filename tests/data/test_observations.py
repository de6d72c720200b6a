"""Observations: memory maps, ranges of all values, and the layouts of each kind."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ppl_disentangle.data import from_arrays, from_npz, from_torch
from ppl_disentangle.data.observations import as_tensor
from ppl_disentangle.data.ranges import range_of

NORMAL = np.random.default_rng(0).normal(size=(40, 3, 64)).astype(np.float32)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_read_only_memory_map_is_neither_copied_nor_warned_of(tmp_path, channels_last):
    np.save(tmp_path / "x.npy", np.arange(64 * 192, dtype=np.uint8).reshape(64, 8, 8, 3))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = from_arrays(
            mapped if channels_last else mapped.reshape(64, 3, 8, 8), channels_last=channels_last
        )
    stored = data._observations.on(torch.device("cpu"))
    assert stored.data_ptr() == mapped.ctypes.data
    expected = np.moveaxis(mapped, -1, 1) if channels_last else mapped.reshape(64, 3, 8, 8)
    assert np.array_equal(data.observations([63, 0]), expected[[63, 0]])


def test_only_arrays_that_torch_does_not_take_are_copied():
    x = np.ones((4, 2), np.float32)
    assert as_tensor(x).data_ptr() == x.ctypes.data
    assert torch.equal(as_tensor(np.arange(4.0)[::-1]), torch.arange(4.0).flip(0).double())
    assert torch.equal(as_tensor(np.arange(4.0).astype(">f8")), torch.arange(4.0).double())


@pytest.mark.parametrize("chunk", [1, 7, 1 << 22])
def test_the_range_is_that_of_all_values(monkeypatch, chunk):
    monkeypatch.setattr("ppl_disentangle.data.ranges._CHUNK_ELEMENTS", chunk)
    x = 1000 + torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[17, 1] = math.nan
    values = range_of(x)
    known = x[~x.isnan()]
    assert values.low == known.min()
    assert values.high == known.max()
    assert values.mean == pytest.approx(float(known.mean()), rel=1e-12)
    assert values.scale == pytest.approx(float(known.std(correction=0)), rel=1e-9)
    assert values.has_missing
    x[41, 2] = -math.inf
    with pytest.raises(ValueError, match="got inf at index 41"):
        range_of(x)
    with pytest.raises(ValueError, match="got NaN alone"):
        range_of(torch.full((3, 2), math.nan))


def test_the_last_of_many_bytes_is_seen():
    x = torch.zeros(70_000, 100, dtype=torch.uint8)
    x[-1, -1] = 2
    assert from_arrays(x).maximum == 255


@pytest.mark.parametrize(
    ("x", "kind", "found", "shape"),
    [
        (NORMAL, None, "signal", (3, 64)),
        (NORMAL, "signal", "signal", (3, 64)),
        (NORMAL, "sequence", "sequence", (3, 64)),
        (NORMAL[:, 0], "signal", "signal", (1, 64)),
        (NORMAL[:, 0], "sequence", "sequence", (64, 1)),
        (NORMAL[:, 0], None, "vector", (64,)),
        (NORMAL[:, 0], "table", "table", (64,)),
        (NORMAL, "image", "image", (1, 3, 64)),
        (np.zeros((4, 28, 28), np.float32), None, "image", (1, 28, 28)),
        (np.zeros((4, 3, 64), np.uint8), None, "image", (1, 3, 64)),
        (np.zeros((4, 3, 64), np.float32), None, "signal", (3, 64)),
        (np.zeros((4, 3, 8, 8), np.float32), None, "image", (3, 8, 8)),
    ],
)
def test_the_kind_decides_on_the_layout(x, kind, found, shape):
    data = from_arrays(x, kind=kind)
    assert (data.kind, data.observation_shape) == (found, shape)
    assert data.subset([0]).kind == data.split(1)[0].kind == found
    assert data.observations([0, 1]).flatten(1).tolist() == x[:2].reshape(2, -1).tolist()


def test_channels_of_signals_may_be_last():
    data = from_arrays(NORMAL.swapaxes(1, 2), kind="signal", channels_last=True)
    assert np.array_equal(data.observations([5]), NORMAL[[5]])


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (NORMAL, "video", "no kind of observation named 'video'"),
        (NORMAL, "table", r"kind 'table' as \(num,\) or \(num, columns\), got \(40, 3, 64\)"),
        (NORMAL[:, 0, 0], "signal", r"kind 'signal' as \(num, time\) or .* got \(40,\)"),
        (NORMAL[:, 0], "image", "kind 'image' as"),
    ],
)
def test_a_shape_that_does_not_fit_its_kind_is_refused(x, kind, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(x, kind=kind)


def test_signals_are_read_from_files_and_torch_data_sets(tmp_path):
    class Signals(Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, i):
            return torch.from_numpy(NORMAL[i]), 0

    assert from_torch(Signals()).observation_shape == (3, 64)
    assert from_torch(Signals(), kind="sequence").kind == "sequence"
    np.savez(tmp_path / "x.npz", x=NORMAL, y=np.arange(40) % 2)
    assert from_npz(tmp_path / "x.npz", kind="sequence").kind == "sequence"
