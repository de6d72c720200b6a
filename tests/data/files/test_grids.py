"""Grids from files in the published formats, which the tests write from their specifications; and damaged ones."""

import io
import os
import struct
import zipfile

import h5py
import numpy as np
import pytest
import torch

from ppl_disentangle.data import MPI3D, DSprites, Shapes3D, Sprites, load_data
from ppl_disentangle.data.files.npz import Member

RNG = np.random.default_rng(0)


def pictures(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def first_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# dSprites, HDF5: /imgs, /latents/classes, /latents/values.


def write_dsprites(path):
    levels = [[0], [0, 2], [0, 5], [3], [1, 30], [7, 9, 11]]
    classes = np.array(np.meshgrid(*levels, indexing="ij")).reshape(6, -1).T
    grid = Sprites().factor_values
    values = np.array(
        [[1.0, c[1] + 1.0, *(grid[k][c[k + 1]] for k in range(1, 5))] for c in classes]
    )
    images = Sprites().render(torch.from_numpy(classes[:, 1:]))[:, 0].numpy()
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", data=images, chunks=(7, 2, 4), compression="gzip")
        file["latents/classes"], file["latents/values"] = classes, values
    return classes, values, images


def test_dsprites_reads_hdf5_as_it_reads_npz(tmp_path):
    classes, values, images = write_dsprites(tmp_path / "dsprites.hdf5")
    np.savez_compressed(
        tmp_path / "dsprites.npz", imgs=images, latents_classes=classes, latents_values=values
    )
    data, other = load_data(tmp_path / "dsprites.hdf5"), DSprites(tmp_path / "dsprites.npz")
    index = torch.arange(len(images))
    assert isinstance(data, DSprites)
    assert np.array_equal(data.observations(index)[:, 0], images)
    assert data.space == other.space
    assert data.factor_sizes == (2, 2, 1, 2, 3)


def test_dsprites_says_what_is_wrong_with_an_hdf5_file(tmp_path):
    path = tmp_path / "spoilt.hdf5"
    write_dsprites(path)
    with h5py.File(path, "a") as file:
        del file["latents/classes"]
    with pytest.raises(
        ValueError,
        match="spoilt.hdf5 is not a dSprites file: expected an array 'latents/classes', got",
    ):
        DSprites(path)
    write_dsprites(path)
    with h5py.File(path, "a") as file:
        file["imgs"][2, 3, 3] = 9
    with pytest.raises(ValueError, match="expected imgs of 0 and 1, got 9 in rows 0 to 24"):
        DSprites(path)
    write_dsprites(path)
    first_half(path)
    with pytest.raises(ValueError, match="spoilt.hdf5 is not a dSprites file: .*truncated file"):
        DSprites(path)
    with pytest.raises(ValueError, match="spoilt.hdf5: .*truncated file"):
        load_data(path)


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


def test_stored_grids_keep_the_laws_of_data_sets(shapes3d):
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
def test_shapes3d_says_what_is_wrong_with_a_file(tmp_path, change, message):
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


# MPI3D: one array, images uint8 (N, 64, 64, 3), compressed or not.

SIZES = (2, 1, 2, 1, 3, 2, 2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mpi3d_holds_the_images_of_its_file(tmp_path, save):
    images = pictures(48, 64, 64, 3)
    save(tmp_path / "mpi3d.npz", images=images)
    data = MPI3D(tmp_path / "mpi3d.npz", sizes=SIZES)
    index = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(data.observations(index), images[index.numpy()].transpose(0, 3, 1, 2))
    rows = np.ravel_multi_index(
        data.factors(index).T.numpy(), SIZES
    )  # the vertical axis is fastest
    assert np.array_equal(rows, index)
    assert (tmp_path / "mpi3d.npz.unpacked.npy").exists() == (save is np.savez_compressed)


@pytest.mark.parametrize(
    ("num", "sizes", "colours"),
    [(1_036_800, (6, 6, 2, 3, 3, 40, 40), "white"), (460_800, (4, 4, 2, 3, 3, 40, 40), "yellow")],
)
def test_the_number_of_images_tells_which_mpi3d_it_is(tmp_path, num, sizes, colours):
    # A sparse file: a header, and zeros that take no room on the disk.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (num, 64, 64, 3)}
    )
    path, size = tmp_path / "mpi3d.npz", len(header.getvalue()) + num * 12_288
    name, wide = b"images.npy", struct.pack("<HHQQ", 1, 16, size, size)
    local = struct.pack(
        "<4s5H3I2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, len(name), len(wide)
    )
    central = struct.pack(
        "<4s6H3I5H2I",
        b"PK\x01\x02",
        45,
        45,
        0,
        0,
        0,
        0,
        0,
        2**32 - 1,
        2**32 - 1,
        10,
        20,
        0,
        0,
        0,
        0,
        0,
    )
    with path.open("wb") as file:
        file.write(local + name + wide + header.getvalue())
        file.seek(num * 12_288, os.SEEK_CUR)
        start = file.tell()
        file.write(central + name + wide)
        end = struct.pack(
            "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(central + name + wide), start
        )
        file.write(end + struct.pack("<4sIQI", b"PK\x06\x07", 0, file.tell() + 0, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 2**32 - 1, 2**32 - 1, 0))
    data = load_data(path)
    assert isinstance(data, MPI3D)
    assert (len(data), data.factor_sizes, data.factor_values[0][0]) == (num, sizes, colours)
    assert data.observations(torch.tensor([num - 1])).max() == 0
    path.unlink()


def test_mpi3d_says_what_is_wrong_with_a_file(tmp_path):
    path = tmp_path / "spoilt.npz"
    np.savez(path, images=pictures(48, 64, 64, 3))
    with pytest.raises(
        ValueError, match=r"expected 1,036,800 or 460,800 images or their sizes=…, got 48"
    ):
        MPI3D(path)
    with pytest.raises(
        ValueError, match=r"expected sizes of 7 factors with the product 48, got \[6, 8\]"
    ):
        MPI3D(path, sizes=(6, 8))
    np.savez(path, images=pictures(4, 32, 32, 3))
    with pytest.raises(
        ValueError,
        match=r"spoilt.npz is not a file of MPI3D: expected images of shape .* got \(4, 32, 32",
    ):
        MPI3D(path)
    np.savez(path, images=np.zeros((4, 64, 64, 3)))
    with pytest.raises(ValueError, match=r"expected images of uint8 in C order, got float64"):
        MPI3D(path)
    np.savez(path, pictures=pictures(4, 64, 64, 3))
    with pytest.raises(ValueError, match=r"expected an array 'images', got \['pictures.npy'\]"):
        MPI3D(path)
    np.savez_compressed(path, images=pictures(48, 64, 64, 3))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"spoilt.npz is not a file of MPI3D: (Bad CRC|Error -3)"):
        MPI3D(path, sizes=SIZES)
    first_half(path)
    with pytest.raises(
        ValueError, match=r"spoilt.npz is not a file of MPI3D: File is not a zip file"
    ):
        MPI3D(path, sizes=SIZES)
    assert [p.name for p in tmp_path.iterdir()] == ["spoilt.npz"]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_ends_too_early_is_an_error(tmp_path, kind):
    content = io.BytesIO()
    np.save(content, pictures(48, 64, 64, 3))
    with zipfile.ZipFile(tmp_path / "short.npz", "w", kind) as archive:
        archive.writestr("images.npy", content.getvalue()[: 128 + 12_288 * 20 + 5])
    with pytest.raises(
        ValueError,
        match=r"(images ends in row 20 of 48|expected 589824 bytes of images, got 245765)",
    ):
        MPI3D(tmp_path / "short.npz", sizes=SIZES)
    with zipfile.ZipFile(tmp_path / "short.npz") as archive:
        blocks = Member(archive, "images").blocks(16)
        assert len(next(blocks)) == 16
        with pytest.raises(ValueError, match="images ends in row 20 of 48"):
            next(blocks)
