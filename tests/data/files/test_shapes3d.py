"""3D Shapes from its file, unpacked once, and damaged files."""

import os

import h5py
import numpy as np
import pytest
import torch

from ppl_disentangle.data import Shapes3D, load_data
from tests.data.files.formats import pictures

# 3D Shapes: images uint8 (N, 64, 64, 3), labels float64 (N, 6), which are values.

HUES, SCALES, TURNS = [0.0, 0.3], [0.75, 1.25], [-30.0, 0.0, 30.0]


def write_shapes3d(path, images, **change):
    levels = [HUES, [0.5], [0.1, 0.2], SCALES, [1.0, 3.0], TURNS]
    labels = np.array(np.meshgrid(*levels, indexing="ij")).reshape(6, -1).T
    arrays = {"images": images, "labels": labels, **change}
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, chunks=True, compression="gzip")
    return labels


@pytest.fixture
def shapes3d(tmp_path):
    images = pictures(48, 64, 64, 3)
    return tmp_path / "3dshapes.h5", images, write_shapes3d(tmp_path / "3dshapes.h5", images)


def test_shapes3d_holds_the_images_and_labels_of_its_file(shapes3d):
    path, images, labels = shapes3d
    data = load_data(path)
    index = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    assert isinstance(data, Shapes3D)
    assert np.array_equal(data.observations(index), images[index.numpy()].transpose(0, 3, 1, 2))
    assert torch.equal(data.render(data.factors(index)), data.observations(index))
    assert data.factor_values[:4] == ((0.0, 0.3), (0.5,), (0.1, 0.2), (0.75, 1.25))
    assert data.factor_values[4] == ("cylinder", "capsule")
    found = [data.factor_values[5][c] for c in data.factors(index)[:, 5].tolist()]
    assert found == labels[index.numpy(), 5].tolist()


def test_stored_grids_keep_the_promises_of_data_sets(shapes3d):
    data = Shapes3D(shapes3d[0])
    index = torch.tensor([47, 0, 47])
    assert torch.equal(
        data.observations(index), torch.stack([data.observations(i[None])[0] for i in index])
    )
    assert data.observations(index.to("meta")).device.type == "meta"
    assert data.observations(index.to("meta")).shape == (3, 3, 64, 64)
    for wrong in (48, -1):
        with pytest.raises(IndexError, match="out of range"):
            data.observations(torch.tensor([wrong]))


def test_a_file_is_unpacked_once_and_again_when_it_has_changed(shapes3d, tmp_path):
    path, images, _ = shapes3d
    unpacked = tmp_path / "3dshapes.h5.unpacked.npy"
    Shapes3D(path)
    first = unpacked.stat()
    assert np.array_equal(np.load(unpacked), images)
    assert np.array_equal(
        Shapes3D(path).observations(torch.tensor([5]))[0], images[5].transpose(2, 0, 1)
    )
    assert unpacked.stat().st_ino == first.st_ino
    write_shapes3d(path, 255 - images)
    os.utime(path, ns=(first.st_mtime_ns + 10**9,) * 2)
    assert np.array_equal(
        Shapes3D(path).observations(torch.tensor([5]))[0], 255 - images[5].transpose(2, 0, 1)
    )
    elsewhere = tmp_path / "fast disk" / "shapes.npy"
    elsewhere.parent.mkdir()
    Shapes3D(path, unpacked_to=elsewhere)
    assert np.array_equal(np.load(elsewhere), 255 - images)
    assert [p.name for p in elsewhere.parent.iterdir()] == ["shapes.npy"]


def test_nothing_that_is_drawn_changes_the_unpacked_file(shapes3d):
    path, images, _ = shapes3d
    data = Shapes3D(path)
    data.images[3] = 7
    assert np.array_equal(
        Shapes3D(path).observations(torch.tensor([3]))[0], images[3].transpose(2, 0, 1)
    )


def test_a_file_that_cannot_be_unpacked_leaves_nothing_behind(shapes3d, tmp_path, monkeypatch):
    path = shapes3d[0]
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        OSError,
        match=r"could not unpack .*3dshapes.h5 to .*: 589,824 bytes are needed, 1,000 are free",
    ):
        Shapes3D(path)
    monkeypatch.undo()
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(3)
    content[chunk.byte_offset + 2 : chunk.byte_offset + 40] = bytes(38)
    path.write_bytes(content)
    with pytest.raises(
        ValueError,
        match=r"3dshapes.h5 is not a file of 3D Shapes: /images cannot be read from row 0",
    ):
        Shapes3D(path)
    assert [p.name for p in tmp_path.iterdir()] == ["3dshapes.h5"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": pictures(48, 32, 64, 3)},
            r"expected images of uint8 \(rows, 64, 64, 3\), got uint8 \(48, 32, 64, 3\)",
        ),
        ({"images": pictures(47, 64, 64, 3)}, "images has 47 rows, labels 48"),
        (
            {"labels": np.zeros((48, 6), np.float32)},
            r"expected labels of float64 \(rows, 6\), got float32",
        ),
        (
            {"labels": np.zeros((48, 6))},
            r"every combination once, got \[1, 1, 1, 1, 1, 1\] values, 48 rows",
        ),
        (
            {"labels": np.indices((2, 1, 2, 2, 2, 3)).reshape(6, -1).T[::-1] + 0.0},
            "orientation fastest, labels has another",
        ),
        (
            {"labels": np.indices((1, 1, 1, 1, 48, 1)).reshape(6, -1).T + 0.0},
            r"expected shapes among \[0, 1, 2, 3\], got",
        ),
    ],
)
def test_shapes3d_rejects_an_invalid_file(tmp_path, change, message):
    write_shapes3d(tmp_path / "spoilt.h5", **{"images": pictures(48, 64, 64, 3), **change})
    with pytest.raises(ValueError, match=f"spoilt.h5 is not a file of 3D Shapes: .*{message}"):
        Shapes3D(tmp_path / "spoilt.h5")


def test_shapes3d_wants_an_hdf5_file_with_both_arrays(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = pictures(2, 64, 64, 3)
    with pytest.raises(ValueError, match=r"expected an array 'labels', got \['images'\]"):
        Shapes3D(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(
        ValueError, match=r"text.h5 is not a file of 3D Shapes: .*file signature not found"
    ):
        Shapes3D(tmp_path / "text.h5")
    with pytest.raises(FileNotFoundError, match=r"absent.h5"):
        Shapes3D(tmp_path / "absent.h5")
