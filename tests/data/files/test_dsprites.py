"""dSprites from npz and HDF5 files, and damaged ones."""

import io
import zipfile

import h5py
import numpy as np
import pytest
import torch

from ppl_disentangle.data import DSprites, Sprites, load_data
from tests.data.files.formats import first_half
from tests.data.made import SIZES, sprites_arrays

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


def test_dsprites_rejects_an_invalid_hdf5_file(tmp_path):
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
    with pytest.raises(ValueError, match="spoilt.hdf5 is not an HDF5 file: .*truncated file"):
        load_data(path)


def test_dsprites_holds_the_images_and_factors_of_its_file(dsprites, dsprites_file):
    index = torch.arange(len(dsprites))
    with np.load(dsprites_file, allow_pickle=False) as file:
        assert np.array_equal(dsprites.observations(index)[:, 0], file["imgs"])
        levels = [dict(enumerate(values)) for values in dsprites.factor_values[1:]]
        found = [
            [level[c] for level, c in zip(levels, row[1:], strict=True)]
            for row in dsprites.factors(index).tolist()
        ]
        assert np.array_equal(found, file["latents_values"][:, 2:])
        assert np.array_equal(dsprites.factors(index)[:, 0], file["latents_classes"][:, 1])
    assert dsprites.factor_sizes == SIZES
    assert [(f.name, f.kind) for f in dsprites.space] == [(f.name, f.kind) for f in Sprites().space]
    assert dsprites.factor_values[0] == ("square", "ellipse", "heart")


def test_dsprites_reads_the_images_that_it_renders(dsprites):
    index = torch.randperm(len(dsprites))
    assert torch.equal(dsprites.render(dsprites.factors(index)), dsprites.observations(index))
    assert torch.equal(dsprites.index(dsprites.factors(index)), index)


def test_dsprites_takes_one_bit_a_pixel(dsprites):
    assert dsprites._packed.on(torch.device("cpu")).nbytes * 8 == len(dsprites) * 64 * 64


def test_the_metadata_of_dsprites_are_never_unpickled(dsprites_file):
    ran = dsprites_file.parent / "ran"
    DSprites(dsprites_file).observations(torch.tensor([0]))
    load_data(dsprites_file)
    assert not ran.exists()
    with np.load(dsprites_file, allow_pickle=True) as file:
        assert file["metadata"].shape == ()
    assert ran.exists(), "the trap did not work"
    ran.unlink()


def test_sub_grids_keep_the_names_of_their_shapes(tmp_path):
    arrays = {key: array[120:] for key, array in sprites_arrays().items()}
    np.savez(tmp_path / "two.npz", **arrays)
    dsprites = DSprites(tmp_path / "two.npz")
    assert dsprites.factor_values[0] == ("ellipse", "heart")
    assert dsprites.factor_sizes == (2, *SIZES[1:])


def _without(key):
    return lambda arrays: arrays.pop(key)


def _with(key, change):
    def apply(arrays):
        arrays[key] = change(arrays[key])

    return apply


def _swapped(table):
    order = np.arange(len(table))
    order[[3, 4]] = [4, 3]
    return table[order]


def _with_value(row, column, value):
    def change(table):
        table = table.copy()
        table[row, column] = value
        return table

    return change


def _one_row_less(arrays):
    for key in arrays:
        arrays[key] = arrays[key][:-1]


def _two_colours(arrays):
    for key, table in arrays.items():
        second = table if key == "imgs" else table + [1, 0, 0, 0, 0, 0]
        arrays[key] = np.concatenate([table, second])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _without("imgs"),
            r"expected an array 'imgs', got \['latents_values.npy', 'latents_classes.npy'\]",
        ),
        (_without("latents_classes"), "expected an array 'latents_classes'"),
        (
            _with("imgs", np.float32),
            r"expected imgs of uint8 in C order, got float32 \(360, 64, 64\)",
        ),
        (_with("imgs", np.asfortranarray), "in C order, got uint8 .* fortran=True"),
        (
            _with("imgs", lambda x: x[1:]),
            r"expected imgs of uint8 \(360, .* got uint8 \(359, 64, 64\)",
        ),
        (_with("imgs", lambda x: x * 255), "expected imgs of 0 and 1, got 255 in rows 0 to 360"),
        (
            _with("latents_values", np.float32),
            r"expected latents_values of float64 \(rows, 6\), got float32",
        ),
        (
            _with("latents_classes", lambda x: x[:, 1:]),
            r"latents_classes of int64 .* got int64 \(360, 5\)",
        ),
        (
            _with("latents_classes", lambda x: x[1:]),
            "latents_values has 360 rows, latents_classes 359",
        ),
        (
            _with("latents_values", _swapped),
            "row-major order with posY fastest, latents_values has another",
        ),
        (
            _with("latents_classes", _swapped),
            "row-major order with posY fastest, latents_classes has another",
        ),
        (
            _with("latents_values", lambda x: x + [0, 1, 0, 0, 0, 0]),
            r"expected shapes among .* got \[2.0, 3.0, 4.0\]",
        ),
        (_with("latents_values", _with_value(7, 0, 2.0)), "expected every combination once"),
        (_one_row_less, r"every combination once, got \[1, 3, 2, 4, 5, 3\] values, 359 rows"),
        (_two_colours, "expected one colour, got 2"),
        (_with("latents_values", lambda x: x.astype(object)), "Object arrays cannot be loaded"),
    ],
)
def test_dsprites_rejects_an_invalid_file(tmp_path, spoil, message):
    arrays = sprites_arrays()
    spoil(arrays)
    np.savez(tmp_path / "spoilt.npz", **arrays)
    with pytest.raises(ValueError, match=f"spoilt.npz is not a dSprites file: .*{message}"):
        DSprites(tmp_path / "spoilt.npz")


def test_dsprites_rejects_truncated_damaged_and_other_files(tmp_path):
    path = tmp_path / "short.npz"
    arrays = sprites_arrays()
    imgs = io.BytesIO()
    np.save(imgs, arrays.pop("imgs"))
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("imgs.npy", imgs.getvalue()[: 128 + 100 * 4096 + 1])
    with pytest.raises(
        ValueError,
        match=r"short.npz is not a dSprites file: expected at least 1,474,560 bytes for imgs",
    ):
        DSprites(path)
    np.savez(path, **sprites_arrays())
    path.write_bytes(path.read_bytes().replace(bytes([0, 1, 1, 1]), bytes([1, 1, 1, 1]), 1))
    with pytest.raises(
        ValueError, match=r"short.npz is not a dSprites file: Bad CRC-32 for file 'imgs.npy'"
    ):
        DSprites(path)
    path.write_bytes(b"no zip")
    with pytest.raises(
        ValueError, match=r"short.npz is not a dSprites file: File is not a zip file"
    ):
        DSprites(path)
    with pytest.raises(FileNotFoundError, match=r"absent.npz"):
        DSprites(tmp_path / "absent.npz")
