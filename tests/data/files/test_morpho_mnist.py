"""Folders of Morpho-MNIST, and damaged ones."""

import numpy as np
import pytest
import torch

from ppl_disentangle.data import MorphoMNIST, load_data
from tests.data.files.formats import RNG, idx, pictures, write_zipped

# Morpho-MNIST: IDX files, and a table index,area,length,thickness,slant,width,height.

HEADER = "index,area,length,thickness,slant,width,height\n"


def write_morpho(folder, num, stem="train", perturbed=False):
    images, digits = pictures(num, 28, 28), RNG.integers(0, 10, num).astype(np.uint8)
    measures = RNG.normal(size=(num, 6)).astype(np.float32)
    write_zipped(folder / f"{stem}-images-idx3-ubyte.gz", idx(images))
    write_zipped(folder / f"{stem}-labels-idx1-ubyte.gz", idx(digits))
    rows = "".join(f"{i},{','.join(map(str, row))}\n" for i, row in enumerate(measures.tolist()))
    (folder / f"{stem}-morpho.csv").write_text(HEADER + rows)
    if perturbed:
        write_zipped(
            folder / f"{stem}-pert-idx1-ubyte.gz", idx((np.arange(num) % 5).astype(np.uint8))
        )
    return images, digits, measures


def test_morpho_mnist_holds_the_digits_and_measures_of_its_files(tmp_path):
    images, digits, measures = write_morpho(tmp_path, 400)
    data = load_data(tmp_path)
    assert isinstance(data, MorphoMNIST)
    index = torch.arange(400)
    assert np.array_equal(data.observations(index)[:, 0], images)
    assert data.factor_names == ("digit", "area", "length", "thickness", "slant", "width", "height")
    assert data.factors(index)[:, 0].tolist() == digits.tolist()
    assert np.array_equal(data.values, measures)
    assert data.factor_sizes[1:] == (20,) * 6
    for k in range(6):
        classes = data.factors(index)[:, k + 1]
        assert classes.bincount().tolist() == [20] * 20
        assert torch.equal(classes, data.values[:, k].argsort().argsort() // 20)


def test_morpho_mnist_knows_how_digits_were_perturbed(tmp_path):
    write_morpho(tmp_path, 40, "t10k", perturbed=True)
    data = load_data(tmp_path)
    assert data.factor_names[:2] == ("digit", "perturbation")
    words = [data.factor_values[1][c] for c in data.factors(torch.arange(5))[:, 1].tolist()]
    assert words == ["plain", "thin", "thick", "swell", "fracture"]
    assert data.observations(torch.zeros(2, dtype=torch.int64, device="meta")).device.type == "meta"


def test_morpho_mnist_rejects_an_invalid_folder(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected part among \['training', 'testing'\], got 'train'"
    ):
        MorphoMNIST(tmp_path, part="train")
    with pytest.raises(
        ValueError,
        match=r"expected a file train-images-idx3-ubyte or train-images-idx3-ubyte.gz, got none",
    ):
        MorphoMNIST(tmp_path)
    write_morpho(tmp_path, 4, perturbed=True)
    table, perturbed = tmp_path / "train-morpho.csv", tmp_path / "train-pert-idx1-ubyte.gz"
    good = table.read_text()
    for text, message in (
        (
            "index,area\n",
            r"train-morpho.csv: expected the header index,area,length,.*, got index,area",
        ),
        ("", r"train-morpho.csv: expected the header index,area,length,.*, got$"),
        (HEADER + "0,1,2,3,4,5\n", r"train-morpho.csv: expected 7 numbers|cannot reshape"),
        (HEADER + "0,1,2,3,4,5,six\n", r"train-morpho.csv: expected 7 numbers in each row"),
        (
            HEADER + "1,1,2,3,4,5,6\n",
            r"train-morpho.csv: expected finite numbers, and 0, 1, 2, … as index",
        ),
        (HEADER + "0,1,2,3,4,5,nan\n", r"train-morpho.csv: expected finite numbers"),
        (
            good[: good.rindex("\n3,") + 1],
            r"expected images of uint8 .* as many rows, got uint8 \(4, 28, 28\) and 3 rows",
        ),
        (HEADER, r"train-morpho.csv: expected finite numbers, and 0, 1, 2, … as index"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=message):
            MorphoMNIST(tmp_path)
    table.write_text(good)
    write_zipped(perturbed, idx(np.array([0, 1, 2], np.uint8)))
    with pytest.raises(
        ValueError, match=r"train-pert-idx1-ubyte.gz: expected 4 bytes, .* got uint8 \(3,\)"
    ):
        MorphoMNIST(tmp_path)
    write_zipped(perturbed, idx(np.array([0, 1, 2, 9], np.uint8)))
    with pytest.raises(
        ValueError, match=r"train-pert-idx1-ubyte.gz: expected numbers 0 to 4, got 9"
    ):
        MorphoMNIST(tmp_path)
