"""Files and folders in the published formats without grids, which the tests write from their specifications."""

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_disentangle.data import CelebA, MorphoMNIST, from_idx, from_labelled_names, load_data
from ppl_disentangle.data.files.idx import read_idx

RNG = np.random.default_rng(0)


def pictures(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


# IDX: 0, 0, type, number of axes; sizes as big-endian int32; values, big-endian.

IDX_TYPES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx(array):
    header = bytes([0, 0, IDX_TYPES[array.dtype.name], array.ndim]) + struct.pack(
        f">{array.ndim}i", *array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_zipped(path, content):
    path.write_bytes(gzip.compress(content, 1))


@pytest.mark.parametrize("dtype", IDX_TYPES)
def test_an_idx_file_is_read_in_every_type(tmp_path, dtype):
    array = RNG.integers(0, 100, (3, 2, 5)).astype(dtype)
    (tmp_path / "a").write_bytes(idx(array))
    found = read_idx(tmp_path / "a")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize("zipped", [True, False])
def test_images_in_an_idx_file_have_the_labels_beside_them(tmp_path, zipped):
    images, labels = pictures(7, 28, 28), np.array([3, 3, 9, 0, 3, 9, 0], np.uint8)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if zipped else ''}"
    (write_zipped if zipped else type(path).write_bytes)(path, idx(images))
    assert load_data(path).space == ()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    data = load_data(path)
    assert (data.name, data.factor_names, data.factor_values) == (
        "train-images-idx3-ubyte",
        ("label",),
        ((0, 3, 9),),
    )
    assert data.space[0].kind == "categorical"
    assert np.array_equal(data.observations(torch.arange(7))[:, 0], images)
    assert data.factors(torch.arange(7)).flatten().tolist() == [1, 1, 2, 0, 1, 2, 0]
    other = tmp_path / "other"
    other.write_bytes(idx(labels[::-1]))
    assert from_idx(path, other).factors(torch.tensor([0])).item() == 0


def test_from_idx_says_what_is_wrong(tmp_path):
    path, labels = tmp_path / "images-idx3-ubyte", tmp_path / "labels-idx1-ubyte"
    good = idx(pictures(4, 5, 6))
    for content, message in (
        (good[:-1], r"is not an IDX file: expected 120 bytes for the sizes \[4, 5, 6\], got 119"),
        (good + b"x", r"expected 120 bytes for the sizes \[4, 5, 6\], got 121"),
        (good[:9], r"expected 3 sizes, got \[4\]"),
        (b"\0\1" + good[2:], r"expected the bytes 0, 0, a type among .* got \[0, 1, 8, 3\]"),
        (b"\0", r"expected the bytes 0, 0, .* got \[0\]"),
        (gzip.compress(good)[:-12], r"images-idx3-ubyte is not an IDX file: Compressed file ended"),
        (
            gzip.compress(good)[:-6] + b"abcdef",
            r"images-idx3-ubyte is not an IDX file: CRC check failed",
        ),
        (
            idx(np.zeros((4, 5, 6), np.float32)),
            r"expected bytes with 3 axes, got float32 \(4, 5, 6\)",
        ),
        (idx(pictures(4, 5)), r"expected bytes with 3 axes, got uint8 \(4, 5\)"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            from_idx(path)
    path.write_bytes(good)
    labels.write_bytes(idx(pictures(3)))
    with pytest.raises(
        ValueError, match=r"labels-idx1-ubyte: expected 4 labels, one for each image of .*, got 3"
    ):
        from_idx(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        from_idx(tmp_path / "absent")


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


def test_morpho_mnist_says_what_is_wrong_with_a_folder(tmp_path):
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
        ("", r"train-morpho.csv: expected the header index,area,length,.*, got $"),
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


def test_celeba_says_what_is_wrong_with_a_folder(tmp_path):
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


def test_an_image_of_celeba_that_cannot_be_read_is_named_when_it_is_asked_for(tmp_path):
    write_celeba(tmp_path)
    broken = tmp_path / "img_align_celeba" / "000002.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    data = CelebA(tmp_path)
    data.observations(torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"000002.jpg cannot be read"):
        data.observations(torch.tensor([1]))


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


def test_from_labelled_names_says_what_is_wrong(tmp_path):
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
    with pytest.raises(ValueError, match=r"a_1_60_3_4.png cannot be read"):
        from_labelled_names(tmp_path / "train", names=["a", "b", "c", "d"])
    (tmp_path / "train" / "a_1_60_3_4.5.png").write_bytes(b"text")
    with pytest.raises(
        ValueError, match=r"a_1_60_3_4.5.png: expected a name a_<label>_<label>_<label>_<label>.png"
    ):
        from_labelled_names(tmp_path / "train")
