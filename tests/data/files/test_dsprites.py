"""dSprites from npz and HDF5 files, and damaged ones."""

import h5py
import numpy as np
import pytest
import torch

from ppl_disentangle.data import DSprites, Sprites, load_data
from tests.data.files.formats import first_half

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
