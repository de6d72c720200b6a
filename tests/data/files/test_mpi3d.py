"""MPI3D from npz files, and damaged ones."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest
import torch

from ppl_disentangle.data import MPI3D, load_data
from ppl_disentangle.data.files.npz import Member
from tests.data.files.formats import first_half, pictures

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
def test_the_number_of_images_determines_the_kind_of_mpi3d(tmp_path, num, sizes, colours):
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


def test_mpi3d_rejects_an_invalid_file(tmp_path):
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
        match=r"expected at least 589,824 bytes for images of shape .* at most 245,765",
    ):
        MPI3D(tmp_path / "short.npz", sizes=SIZES)
    with (
        zipfile.ZipFile(tmp_path / "short.npz") as archive,
        pytest.raises(ValueError, match="expected at least 589,824 bytes for images"),
    ):
        Member(archive, "images")
