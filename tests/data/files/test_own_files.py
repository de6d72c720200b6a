"""npz files and folders of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_disentangle.data import from_folder, from_npz
from tests.data.test_arrays import ROWS


def test_an_npz_file_holds_observations_and_factors(tmp_path):
    x = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    np.savez(
        tmp_path / "mine.npz", images=x, factors=np.eye(3)[:, :2], factor_names=np.array(["a", "b"])
    )
    data = from_npz(tmp_path / "mine.npz")
    assert (data.name, data.factor_names, data.maximum) == ("mine", ("a", "b"), 255)
    assert np.array_equal(data.observations(torch.arange(3))[:, 0], x)
    np.savez(tmp_path / "plain.npz", x=x[..., None])
    assert from_npz(tmp_path / "plain.npz", channels_last=True, maximum=47).observation_shape == (
        1,
        4,
        4,
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": ROWS}, r"bad.npz: expected one of \['x', .* got \['y'\]"),
        ({"x": ROWS, "imgs": ROWS}, r"got \['x', 'imgs'\]"),
        (
            {"x": ROWS, "labels": ROWS},
            r"at most factors and factor_names beside it, got \['x', 'labels'\]",
        ),
        ({"x": ROWS * np.nan}, "bad.npz: expected finite observations"),
        ({"x": ROWS.astype(object)}, "bad.npz: Object arrays cannot be loaded"),
        ({"x": ROWS, "factor_names": np.array("a")}, "bad.npz: expected factor_names only beside"),
    ],
)
def test_from_npz_rejects_invalid_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        from_npz(tmp_path / "bad.npz")


def test_from_npz_wants_an_npz_file(tmp_path):
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(ValueError, match=r"text.npz: expected an npz file, got another format"):
        from_npz(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError, match=r"absent.npz"):
        from_npz(tmp_path / "absent.npz")


def test_a_folder_gives_its_images_in_the_order_of_their_names(folder):
    data = from_folder(folder, size=8)
    assert (len(data), data.name, data.maximum, data.space) == (3, "faces", 255, ())
    assert data.observation_shape == (3, 8, 8)
    means = data.observations(torch.arange(3)).float().mean((2, 3))
    torch.testing.assert_close(
        means, torch.tensor([[10, 100, 200], [0, 100, 200], [20.0, 100, 200]]), atol=2, rtol=0
    )
    assert from_folder(folder, channels=1).observation_shape == (1, 64, 64)
    assert from_folder(folder, channels=4).observations(torch.tensor([0]))[0, 3].unique() == 255


def test_a_wide_image_is_cut_and_not_squeezed(tmp_path):
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (from_folder(tmp_path, size=10, channels=1).observations(torch.tensor([0])) == 255).all()


def test_images_stand_as_their_viewers_show_them(tmp_path):
    pixels = np.arange(12 * 12, dtype=np.uint8).reshape(12, 12)
    turned = Image.Exif()
    turned[0x0112] = 6  # the EXIF tag of orientation: show it turned clockwise by a quarter
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "b.png", exif=turned)
    plain, clockwise = (
        from_folder(tmp_path, size=12, channels=1).observations(torch.arange(2))[:, 0].numpy()
    )
    assert np.array_equal(plain, pixels)
    assert np.array_equal(clockwise, np.rot90(pixels, -1))


def test_a_table_in_the_folder_gives_the_factors(folder):
    (folder / "factors.csv").write_text(
        "file,person,age,light\nc.JPG,Ada,36,0.5\na.png,Bo,7,1\nb.png,Ada,7,2.5\n"
    )
    data = from_folder(folder, size=8)
    assert data.factor_names == ("person", "age", "light")
    assert data.factor_values == (("Ada", "Bo"), (7, 36), (0.5, 1.0, 2.5))
    assert [type(values[0]) for values in data.factor_values] == [str, int, float]
    assert [factor.kind for factor in data.space] == ["categorical", "ordinal", "ordinal"]
    assert data.factors(torch.arange(3)).tolist() == [[1, 0, 1], [0, 0, 2], [0, 1, 0]]
    other = folder.parent / "other.csv"
    other.write_text("\ufefffile,k\na.png,1\nb.png,2\nc.JPG,3\n")
    assert from_folder(folder, factors=other).factor_names == ("k",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "factors.csv: expected a header file,<factor>,… without repeats, got $"),
        ("name,k\n", "expected a header file,<factor>,… without repeats, got name,k"),
        ("file,k,k\n", "without repeats, got file,k,k"),
        ("file,k\na.png,1\nb.png,\nc.JPG,3\n", "expected 2 values in each row, got b.png,$"),
        ("file,k\na.png,1,2\n", "expected 2 values in each row, got a.png,1,2"),
        (
            "file,k\na.png,1\na.png,2\nb.png,3\n",
            "expected one row for each image, got 3 for 2 names",
        ),
        ("file,k\na.png,1\nb.png,2\n", "a row for each image and no other, c.JPG has no partner"),
        ("file,k\na.png,1\nb.png,2\nc.JPG,3\nd.png,4\n", "d.png has no partner"),
        (
            "file,k\na.png,1\nb.png,nan\nc.JPG,3\n",
            "expected finite factor 'k', got nan or inf at index 1",
        ),
    ],
)
def test_from_folder_rejects_an_invalid_table(folder, table, message):
    (folder / "factors.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        from_folder(folder)


def test_from_folder_rejects_invalid_folders(folder, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"expected size > 0 and channels among \[1, 3, 4\], got size=8, channels=2",
    ):
        from_folder(folder, size=8, channels=2)
    with pytest.raises(
        ValueError, match=r"inner: expected images with a suffix among .bmp, .* got none"
    ):
        from_folder(folder / "inner")
    with pytest.raises(FileNotFoundError, match=r"absent.csv"):
        from_folder(folder, factors=tmp_path / "absent.csv")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(folder / "deep.png")
    with pytest.raises(
        ValueError, match=r"deep.png cannot be read: expected 8 bits a channel, got mode I;16"
    ):
        from_folder(folder)
    (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a.png cannot be read: cannot identify image file"):
        from_folder(folder)
