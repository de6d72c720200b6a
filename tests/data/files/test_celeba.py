"""Folders of CelebA, and damaged ones."""

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_disentangle.data import CelebA, load_data

# CelebA: a count, the names, a row of -1 and 1 for each image; images; names with the number of their part.


def write_celeba(folder, num=5):
    (folder / "img_align_celeba").mkdir()
    images = {}
    for i in range(1, num + 1):
        # Smooth, so that JPEG keeps it; of different mean, so that an exchange is seen.
        ramp = np.linspace(0, 60, 218)[:, None, None] + np.array([20 * i, 5 * i, 150 - 20 * i])
        image = np.broadcast_to(ramp, (218, 178, 3)).astype(np.uint8)
        images[f"{i:06}.jpg"] = image
        Image.fromarray(image).save(folder / "img_align_celeba" / f"{i:06}.jpg", quality=98)
    rows = "".join(
        f"{name}{' -1' if i % 2 else '  1'}  1 {'-1' if i < 3 else '1'}\n"
        for i, name in enumerate(images)
    )
    (folder / "list_attr_celeba.txt").write_text(f"{num}\nBald Smiling Young \n{rows}")
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{n} {min(i // 2, 2)}\n" for i, n in enumerate(images))
    )
    return list(images.values())


def test_celeba_has_its_images_cut_to_the_middle_and_its_attributes(tmp_path):
    images = write_celeba(tmp_path)
    data = load_data(tmp_path)
    assert isinstance(data, CelebA)
    assert data.factor_names == ("Bald", "Smiling", "Young")
    assert data.factor_values[0] == (-1, 1)
    assert data.factors(torch.arange(5)).tolist() == [
        [1, 1, 0],
        [0, 1, 0],
        [1, 1, 0],
        [0, 1, 1],
        [1, 1, 1],
    ]
    index = torch.tensor([3, 0, 3])
    found = data.observations(index)
    for image, i in zip(found.numpy(), index.tolist(), strict=True):
        middle = Image.fromarray(images[i][20:198]).resize((64, 64), Image.Resampling.BICUBIC)
        assert (
            np.abs(image.transpose(1, 2, 0).astype(int) - np.asarray(middle).astype(int)).max() <= 4
        )
    assert CelebA(tmp_path, size=32).observation_shape == (3, 32, 32)
    assert data.observations(index.to("meta")).shape == (3, 3, 64, 64)
    with pytest.raises(IndexError, match="index 5 is out of range for 5 data"):
        data.observations(torch.tensor([5]))


def test_celeba_has_parts(tmp_path):
    write_celeba(tmp_path)
    whole = CelebA(tmp_path)
    for part, rows in (("training", [0, 1]), ("validation", [2, 3]), ("testing", [4])):
        data = CelebA(tmp_path, part=part)
        index = torch.arange(len(rows))
        assert len(data) == len(rows)
        assert torch.equal(data.observations(index), whole.observations(torch.tensor(rows)))
        assert torch.equal(data.factors(index), whole.factors(torch.tensor(rows)))


def test_celeba_rejects_an_invalid_folder(tmp_path):
    write_celeba(tmp_path)
    attributes, parts = tmp_path / "list_attr_celeba.txt", tmp_path / "list_eval_partition.txt"
    for path, old, new, message in (
        (
            attributes,
            "5\nBald",
            "6\nBald",
            r"list_attr_celeba.txt: expected the number of rows .* got 6 for 5",
        ),
        (
            attributes,
            "000002.jpg -1",
            "000002.jpg 0",
            r"expected 3 of -1 and 1 for each image, got 000002.jpg 0 1 -1",
        ),
        (
            attributes,
            "000002.jpg -1",
            "000002.jpg",
            r"expected 3 of -1 and 1 for each image, got 000002.jpg 1 -1",
        ),
        (
            attributes,
            "000002.jpg",
            "000001.jpg",
            r"expected each image and each attribute once, got one twice",
        ),
        (
            parts,
            "000002.jpg 0",
            "000002.jpg 3",
            r"list_eval_partition.txt: expected an image and 0, 1 or 2 .* 000002.jpg 3",
        ),
        (
            parts,
            "000002.jpg 0\n",
            "",
            r"list_eval_partition.txt: expected a row for 000002.jpg, got none",
        ),
    ):
        good = path.read_text()
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(ValueError, match=message):
            CelebA(tmp_path, part="training")
        path.write_text(good)
    (tmp_path / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(
        ValueError,
        match=r"img_align_celeba: expected an image 000002.jpg, which is in the list, got none",
    ):
        CelebA(tmp_path)
    attributes.write_text("")
    with pytest.raises(
        ValueError,
        match=r"list_attr_celeba.txt: expected the number of rows in the first line, got  for 0",
    ):
        CelebA(tmp_path)
    with pytest.raises(ValueError, match=r"expected part among .* got part='test', size=64"):
        CelebA(tmp_path, part="test")
    with pytest.raises(FileNotFoundError, match="list_attr_celeba.txt"):
        CelebA(tmp_path / "absent")


def test_celeba_names_an_image_that_cannot_be_read(tmp_path):
    write_celeba(tmp_path)
    broken = tmp_path / "img_align_celeba" / "000002.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    data = CelebA(tmp_path)
    data.observations(torch.tensor([0, 2]))
    with pytest.raises(
        ValueError, match=r"000002.jpg is not an image that can be read: image file is truncated"
    ):
        data.observations(torch.tensor([1]))
