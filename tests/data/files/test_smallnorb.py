"""SmallNORB from its binary matrices, and damaged ones."""

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_disentangle.data import SmallNORB, load_data
from tests.data.files.formats import RNG, pictures

# SmallNORB: int32 magic, int32 number of axes, at least three int32 sizes, values; all little-endian.

MAGIC = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}


def matrix(array):
    sizes = [*array.shape, 1, 1, 1][: max(3, array.ndim)]
    header = struct.pack(f"<{2 + len(sizes)}i", MAGIC[array.dtype.name], array.ndim, *sizes)
    return header + array.astype(array.dtype.newbyteorder("<")).tobytes()


def write_half(folder, half, instances, write=lambda path, content: path.write_bytes(content)):
    """All combinations of two kinds, three toys, heights 0 and 8, azimuths 0, 2 and 34, one light; shuffled."""
    levels = [[1, 4], instances, [0, 8], [0, 2, 34], [5]]
    table = np.array(np.meshgrid(*levels, indexing="ij")).reshape(5, -1).T
    table = RNG.permutation(table).astype(np.int32)
    images = pictures(len(table), 2, 96, 96)
    for key, array in (("dat", images), ("cat", table[:, 0].copy()), ("info", table[:, 1:])):
        write(folder / f"smallnorb-5x00-{half}-{key}.mat", matrix(array))
    return images, table


def test_smallnorb_has_its_images_in_the_order_of_their_factors(tmp_path):
    training, one = write_half(tmp_path, "training", [4, 6, 7])
    testing, two = write_half(tmp_path, "testing", [0, 1, 5])
    images, table = np.concatenate([training, testing]), np.concatenate([one, two])
    data = SmallNORB(tmp_path, size=96, cameras=2)
    assert data.factor_names == ("category", "instance", "elevation", "azimuth", "lighting")
    assert data.factor_values == (
        ("human", "car"),
        (0, 1, 4, 5, 6, 7),
        (30, 70),
        (0, 20, 340),
        (5,),
    )
    order = sorted(range(len(table)), key=lambda row: table[row].tolist())
    assert np.array_equal(data.observations(torch.arange(len(data))), images[order])
    assert data.observation_shape == (2, 96, 96)
    assert data.observations(torch.zeros(2, dtype=torch.int64, device="meta")).shape == (
        2,
        2,
        96,
        96,
    )
    half = SmallNORB(tmp_path, part="testing", size=96)
    order = sorted(range(len(two)), key=lambda row: two[row].tolist())
    assert half.factor_values[1] == (0, 1, 5)
    assert np.array_equal(half.observations(torch.arange(len(half)))[:, 0], testing[order, 0])


def test_smallnorb_may_be_gzipped_and_one_half(tmp_path):
    def write(path, content):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, 1))

    images, table = write_half(tmp_path, "training", [4, 6, 7], write)
    data = load_data(tmp_path)
    assert isinstance(data, SmallNORB)
    assert data.observation_shape == (1, 64, 64)
    first = min(range(len(table)), key=lambda row: table[row].tolist())
    small = Image.fromarray(images[first, 0]).resize((64, 64), Image.Resampling.BILINEAR)
    found = data.observations(torch.tensor([0]))[0, 0].numpy().astype(int)
    assert np.abs(found - np.asarray(small).astype(int)).max() <= 1
    bright = images > 200  # bytes, and no signed ones
    assert found.max() > 130
    assert bright.any()


def test_smallnorb_rejects_an_invalid_folder(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected a file smallnorb-…-training-dat.mat or .mat.gz, got none"
    ):
        SmallNORB(tmp_path, part="training")
    with pytest.raises(
        ValueError, match=r"expected part training, testing or both, .* got part='all', cameras=1"
    ):
        SmallNORB(tmp_path, part="all")
    images, table = write_half(tmp_path, "training", [4, 6, 7])
    dat, cat, info = (
        tmp_path / f"smallnorb-5x00-training-{key}.mat" for key in ("dat", "cat", "info")
    )
    for path, content, message in (
        (dat, matrix(images)[:-1], r"dat.mat is not a matrix of NORB: it ends in row 35 of 36"),
        (
            dat,
            matrix(images) + b"x",
            r"dat.mat is not a matrix of NORB: there is more behind the 36 rows",
        ),
        (
            dat,
            matrix(images[:-1]),
            r"dat.mat: expected 36 pairs of images, as there are kinds, got 35",
        ),
        (
            dat,
            matrix(images[:, :1]),
            r"dat.mat: expected uint8 \(num, 2, side, side\), got uint8 \(36, 1, 96, 96\)",
        ),
        (
            dat,
            b"MATLAB 5.0 MAT-file" + bytes(200),
            r"dat.mat is not a matrix of NORB: expected one of the numbers .*0x1e3d",
        ),
        (dat, matrix(images)[:10], r"expected 4 sizes, got \[\]"),
        (
            dat,
            gzip.compress(matrix(images), 1)[:9999],
            r"is not a matrix of NORB: Compressed file ended",
        ),
        (
            cat,
            matrix(table[:, 0] + np.int32(3)),
            r"expected kinds 0 to 4 of shape \(num,\) and info \(num, 4\)",
        ),
        (info, matrix(np.ascontiguousarray(table[:, 1:4])), r"got \(36,\) and \(36, 3\)"),
        (
            info,
            matrix(table[::-1, 1:] * np.int32(0)),
            r"every combination once, got \[2, 1, 1, 1, 1\] values, 36 data",
        ),
    ):
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            SmallNORB(tmp_path, part="training")
        path.write_bytes(before)
    assert len(SmallNORB(tmp_path, part="training")) == 36
