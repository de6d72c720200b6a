"""Folders of images with labels in the file names."""

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_disentangle.data import from_labelled_names, load_data
from tests.data.files.formats import RNG

# CausalVAE: a_<label>_<label>_<label>_<label>.png, 96 x 96 RGBA, 255 in the last channel.


def write_named(folder, labels):
    folder.mkdir(exist_ok=True)
    images = {}
    for row in labels:
        image = np.dstack(
            [np.full((96, 96, 3), RNG.integers(0, 256, 3)), np.full((96, 96), 255)]
        ).astype(np.uint8)
        images[row] = image
        Image.fromarray(image).save(folder / f"a_{'_'.join(map(str, row))}.png")
    return images


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (
            [(12, 140, 3, 9), (-40, 60, 12, 19), (-3, 147, 4, 11)],
            ("angle", "light", "shadow_length", "shadow_position"),
        ),
        ([(34, 5, 66, 14), (5, 1, 17, 6), (9, 2, 30, 10)], ("ball", "height", "flow", "hole")),
    ],
)
def test_labels_come_from_the_names_of_the_files(tmp_path, labels, names):
    images = write_named(tmp_path / "train", labels)
    data = load_data(tmp_path / "train")
    assert (data.name, data.factor_names, data.observation_shape) == ("train", names, (3, 64, 64))
    index = torch.arange(3)
    found = [
        tuple(values[c] for values, c in zip(data.factor_values, row, strict=True))
        for row in data.factors(index).tolist()
    ]
    assert found == sorted(labels)
    for row, image in zip(found, data.observations(index), strict=True):
        assert image.flatten(1).unique(dim=1)[:, 0].tolist() == images[row][0, 0, :3].tolist()
    full = from_labelled_names(tmp_path / "train", size=96, channels=4)
    assert full.observations(index)[:, 3].unique().tolist() == [255]
    own = from_labelled_names(tmp_path / "train", names=["a", "b", "c", "d"])
    assert own.factor_names == ("a", "b", "c", "d")


def test_from_labelled_names_rejects_invalid_folders(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected images a_<label>_<label>_<label>_<label>.png, got none"
    ):
        from_labelled_names(tmp_path)
    write_named(tmp_path / "train", [(1, 60, 3, 4)])
    with pytest.raises(ValueError, match=r"got folders of them; say which, such as .*train"):
        load_data(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"expected size > 0 and channels among \[1, 3, 4\], got size=0, channels=3",
    ):
        from_labelled_names(tmp_path / "train", size=0)
    write_named(tmp_path / "train", [(1, 2, 3, 4)])
    with pytest.raises(
        ValueError,
        match=r"expected second labels of 60 to 147 or of 0 to 9, or names=…, got 2 to 60",
    ):
        from_labelled_names(tmp_path / "train")
    (tmp_path / "train" / "a_1_60_3_4.png").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"a_1_60_3_4.png is not an image that can be read"):
        from_labelled_names(tmp_path / "train", names=["a", "b", "c", "d"])
    (tmp_path / "train" / "a_1_60_3_4.5.png").write_bytes(b"text")
    with pytest.raises(
        ValueError, match=r"a_1_60_3_4.5.png: expected a name a_<label>_<label>_<label>_<label>.png"
    ):
        from_labelled_names(tmp_path / "train")
