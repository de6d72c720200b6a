"""Cars3D from MATLAB files, and damaged ones."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from ppl_disentangle.data import Cars3D, load_data
from tests.data.files.formats import first_half, pictures

# Cars3D: list.txt, and <name>.mat with im uint8 (128, 128, 3, 24, 4).


@pytest.fixture
def cars(tmp_path):
    names = ["car_002_mesh", "car_010_mesh", "car_001_mesh"]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
    views = [pictures(128, 128, 3, 6, 2) for _ in names]
    for name, im in zip(names, views, strict=True):
        savemat(tmp_path / f"{name}.mat", {"im": im, "mask": im[:, :, 0] > 9}, do_compression=True)
    return tmp_path, names, views


def test_cars3d_has_its_views_by_height_side_and_car_in_the_order_of_the_list(cars):
    folder, names, views = cars
    data = Cars3D(folder, size=128)
    assert data.factor_names == ("elevation", "azimuth", "car")
    assert data.factor_values[1:] == ((0, 60, 120, 180, 240, 300), tuple(names))
    for i in range(len(data)):
        elevation, azimuth, car = np.unravel_index(i, (2, 6, 3))
        image = data.observations(torch.tensor([i]))[0]
        assert np.array_equal(image, views[car][:, :, :, azimuth, elevation].transpose(2, 0, 1))


def test_cars3d_is_made_smaller_as_pillow_does_it(cars):
    folder, _, views = cars
    data = load_data(folder)
    assert isinstance(data, Cars3D)
    assert data.observation_shape == (3, 64, 64)
    small = Image.fromarray(np.ascontiguousarray(views[1][:, :, :, 4, 1])).resize(
        (64, 64), Image.Resampling.BILINEAR
    )
    found = data.observations(data.index(torch.tensor([[1, 4, 1]])))[0].permute(1, 2, 0)
    assert np.abs(found.numpy().astype(int) - np.asarray(small).astype(int)).max() <= 1


def test_cars3d_rejects_an_invalid_folder(cars):
    folder, names, views = cars
    path = folder / f"{names[1]}.mat"
    for im, message in (
        (
            pictures(128, 128, 3, 5, 2),
            r"car_010_mesh.mat: expected im of shape \(128, 128, 3, 6, 2\), got \(128, 128, 3, 5",
        ),
        (views[1].astype(float), r"car_010_mesh.mat: expected im of uint8 .*, got float64"),
        (
            views[1][..., 0],
            r"expected im of uint8 \(side, side, 3, azimuths, elevations\), got uint8 \(128, 128, 3, 6\)",
        ),
    ):
        savemat(path, {"im": im})
        with pytest.raises(ValueError, match=message):
            Cars3D(folder)
    savemat(path, {"other": 1})
    with pytest.raises(ValueError, match=r"car_010_mesh.mat: expected a variable 'im', got none"):
        Cars3D(folder)
    savemat(path, {"im": views[1]})
    for damage in (first_half, lambda p: p.write_text("text" * 99)):
        damage(path)
        with pytest.raises(
            ValueError, match=r"car_010_mesh.mat is not a MATLAB file of version 5 to 7.2: "
        ):
            Cars3D(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"car_010_mesh.mat"):
        Cars3D(folder)
    (folder / "list.txt").write_text("\n")
    with pytest.raises(
        ValueError, match=r"list.txt: expected names of cars and size > 0, got 0, size=64"
    ):
        Cars3D(folder)
