"""IDX files, and damaged ones."""

import gzip

import numpy as np
import pytest
import torch

from ppl_disentangle.data import from_idx, load_data
from ppl_disentangle.data.files.idx import read_idx
from tests.data.files.formats import IDX_TYPES, RNG, idx, pictures, write_zipped


@pytest.mark.parametrize("dtype", IDX_TYPES)
def test_an_idx_file_is_read_in_every_type(tmp_path, dtype):
    array = RNG.integers(0, 100, (3, 2, 5)).astype(dtype)
    (tmp_path / "a").write_bytes(idx(array))
    found = read_idx(tmp_path / "a")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize("zipped", [True, False])
def test_images_in_an_idx_file_have_the_labels_beside_them(tmp_path, zipped):
    images, labels = pictures(7, 28, 28), np.array([3, 3, 9, 0, 3, 9, 0], np.uint8)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if zipped else ''}"
    (write_zipped if zipped else type(path).write_bytes)(path, idx(images))
    assert load_data(path).space == ()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    data = load_data(path)
    assert (data.name, data.factor_names, data.factor_values) == (
        "train-images-idx3-ubyte",
        ("label",),
        ((0, 3, 9),),
    )
    assert data.space[0].kind == "categorical"
    assert np.array_equal(data.observations(torch.arange(7))[:, 0], images)
    assert data.factors(torch.arange(7)).flatten().tolist() == [1, 1, 2, 0, 1, 2, 0]
    other = tmp_path / "other"
    other.write_bytes(idx(labels[::-1]))
    assert from_idx(path, other).factors(torch.tensor([0])).item() == 0


def test_from_idx_rejects_invalid_files(tmp_path):
    path, labels = tmp_path / "images-idx3-ubyte", tmp_path / "labels-idx1-ubyte"
    good = idx(pictures(4, 5, 6))
    for content, message in (
        (good[:-1], r"is not an IDX file: expected 120 bytes for the sizes \[4, 5, 6\], got 119"),
        (good + b"x", r"expected 120 bytes for the sizes \[4, 5, 6\], got 121"),
        (good[:9], r"expected 3 sizes, got \[4\]"),
        (b"\0\1" + good[2:], r"expected the bytes 0, 0, a type among .* got \[0, 1, 8, 3\]"),
        (b"\0", r"expected the bytes 0, 0, .* got \[0\]"),
        (gzip.compress(good)[:-12], r"images-idx3-ubyte is not an IDX file: Compressed file ended"),
        (
            gzip.compress(good)[:-6] + b"abcdef",
            r"images-idx3-ubyte is not an IDX file: CRC check failed",
        ),
        (
            idx(np.zeros((4, 5, 6), np.float32)),
            r"expected bytes with 3 axes, got float32 \(4, 5, 6\)",
        ),
        (idx(pictures(4, 5)), r"expected bytes with 3 axes, got uint8 \(4, 5\)"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            from_idx(path)
    path.write_bytes(good)
    labels.write_bytes(idx(pictures(3)))
    with pytest.raises(
        ValueError, match=r"labels-idx1-ubyte: expected 4 labels, one for each image of .*, got 3"
    ):
        from_idx(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        from_idx(tmp_path / "absent")
