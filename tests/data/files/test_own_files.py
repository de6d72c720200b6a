"""npz files and folders of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_disentangle.data import from_folder, from_npy, from_npz, load_data
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
        (
            {"y": ROWS},
            r"bad.npz: expected one array of observations .* got \['y'\]; save them as x",
        ),
        ({"x": ROWS, "imgs": ROWS}, r"got \['x', 'imgs'\]"),
        ({"x_train": ROWS, "x_test": ROWS}, r"got \['x_train', 'x_test'\]; .* or pass key="),
        ({"x": ROWS, "labels": ROWS[..., None]}, r"expected labels of shape \(num,\) or"),
        (
            {"x": ROWS, "y": ROWS[:, 0], "labels": ROWS[:2, 0]},
            "expected 3 values of factor 'labels'",
        ),
        ({"x": ROWS + np.inf}, "bad.npz: expected finite observations"),
        ({"x": ROWS.astype(object)}, "bad.npz is not an npz file of arrays: Object arrays cannot"),
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
        ("", "factors.csv: expected a header file,<factor>,… without repeats, got$"),
        ("name,k\n", "expected a row for each image and no other, a.png has no partner"),
        ("file\n", "expected a header file,<factor>,… without repeats, got file"),
        ("file,k,k\n", "without repeats, got file,k,k"),
        ("file,k\na.png,1\nb.png,\nc.JPG,3\n", "expected 2 values in each row, got b.png,$"),
        ("file,k\na.png,1,2\n", "expected 2 values in each row, got a.png,1,2"),
        (
            "file,k\na.png,1\na.png,2\nb.png,3\n",
            "expected one row for each image, got 3 for 2 names",
        ),
        ("file,k\na.png,1\nb.png,2\n", "a row for each image and no other, c.JPG has no partner"),
        ("file,k\na.png,1\nb.png,2\nc.JPG,3\nd.png,4\n", "d.png has no partner"),
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
    with pytest.raises(ValueError, match=r"deep.png: expected 8 bits a channel, got mode I;16"):
        from_folder(folder)
    (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(
        ValueError, match=r"a.png is not an image that can be read: cannot identify image file"
    ):
        from_folder(folder)


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


SQUARE = np.full((8, 8, 3), 90)


@pytest.mark.parametrize("key", ["x", "data", "X", "arr_0", "img_64", "observations"])
@pytest.mark.parametrize("label", ["y", "labels", "target"])
def test_the_only_array_beside_labels_is_the_observations_under_any_name(tmp_path, key, label):
    np.savez(tmp_path / "mine.npz", **{key: ROWS, label: np.array([4, 2, 4])})
    data = load_data(tmp_path / "mine.npz")
    assert np.array_equal(data.observations(torch.arange(3)), ROWS)
    assert (data.factor_names, data.factor_values) == ((label,), ((2, 4),))


def test_labels_of_an_npz_file_have_a_column_each_and_stand_beside_factors(tmp_path):
    labels = np.array([[0, 1], [1, 1], [1, 0]])
    np.savez(tmp_path / "a.npz", x=ROWS, y=labels, factors=labels[:, 0], factor_names=["hue"])
    data = from_npz(tmp_path / "a.npz")
    assert data.factor_names == ("y0", "y1", "hue")
    assert data.factors(torch.arange(3)).tolist() == [[0, 1, 0], [1, 1, 1], [1, 0, 1]]
    np.savez(tmp_path / "b.npz", x=ROWS, labels=np.array([b"cat", b"dog", b"cat"]))
    assert from_npz(tmp_path / "b.npz").factor_values == (("cat", "dog"),)
    np.savez(tmp_path / "c.npz", x_train=ROWS, x_test=ROWS[:2])
    assert len(from_npz(tmp_path / "c.npz", key="x_test")) == 2
    with pytest.raises(
        ValueError, match=r"c.npz: expected an array 'y', got \['x_train', 'x_test'"
    ):
        from_npz(tmp_path / "c.npz", key="y")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 12, 10, 3), (3, 12, 10)),
        ((2, 3, 12, 10), (3, 12, 10)),
        ((2, 12, 10, 1), (1, 12, 10)),
        ((2, 4, 4, 3), (3, 4, 4)),
        ((2, 3, 4, 4), (3, 4, 4)),
        ((2, 9, 9, 13), (13, 9, 9)),
        ((2, 13, 9, 9), (13, 9, 9)),
    ],
)
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_the_axis_of_channels_follows_from_the_shape(tmp_path, shape, expected, suffix):
    x = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / f"mine.{suffix}"
    np.savez(path, x=x) if suffix == "npz" else np.save(path, x)
    data = load_data(path)
    assert data.observation_shape == expected
    first = x if shape[1:] == expected else x.transpose(0, 3, 1, 2)
    assert np.array_equal(data.observations(torch.arange(2)), first)


def test_channels_that_may_be_first_or_last_are_asked_for(tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros((2, 3, 9, 4), np.uint8))
    with pytest.raises(ValueError, match=r"mine.npy: expected .* may be either; .*channels_last"):
        load_data(tmp_path / "mine.npy")
    assert load_data(tmp_path / "mine.npy", channels_last=True).observation_shape == (4, 3, 9)
    assert load_data(tmp_path / "mine.npy", channels_last=False).observation_shape == (3, 9, 4)


def test_an_npy_file_is_mapped_and_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "mine.npy", ROWS)
    assert np.array_equal(from_npy(tmp_path / "mine.npy").observations(torch.arange(3)), ROWS)
    np.save(tmp_path / "objects.npy", ROWS.astype(object))
    with pytest.raises(ValueError, match=r"objects.npy"):
        from_npy(tmp_path / "objects.npy")


def test_images_in_sub_folders_have_their_class_as_a_factor(tmp_path):
    for name in ("dog/1", "dog/2", "cat/1", "__MACOSX/1", ".thumbnails/1"):
        png(tmp_path / "photos" / f"{name}.png", SQUARE)
    (tmp_path / "photos" / "notes").mkdir()
    data = load_data(tmp_path / "photos", size=8)
    assert (data.factor_names, data.factor_values) == (("class",), (("cat", "dog"),))
    assert data.factors(torch.arange(3)).flatten().tolist() == [0, 1, 1]
    (tmp_path / "photos" / "table.csv").write_text(
        "path,age\ndog/2.png,3\ndog/1.png,5\ncat/1.png,7\n"
    )
    data = load_data(tmp_path / "photos", size=8)
    assert data.factor_names == ("class", "age")
    assert data.factors(torch.arange(3))[:, 1].tolist() == [2, 1, 0]
    png(tmp_path / "photos" / "3.png", SQUARE)
    with pytest.raises(
        ValueError, match=r"in the folder or in its sub-folders, got both; move .*cat"
    ):
        load_data(tmp_path / "photos")


def test_images_two_folders_below_are_asked_for_by_name(tmp_path):
    png(tmp_path / "photos" / "train" / "cat" / "1.png", SQUARE)
    with pytest.raises(ValueError, match=r"got none; the images are below, .* such as .*train$"):
        load_data(tmp_path / "photos")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
@pytest.mark.parametrize(("background", "shade"), [("white", 255), ("black", 0), ("#808080", 128)])
def test_transparent_pixels_show_the_background(tmp_path, mode, background, shade):
    """A grey disc on nothing, in each of the ways in which PNG stores transparency."""
    opaque = np.zeros((8, 8), bool)
    opaque[2:6, 2:6] = True
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[opaque] = (60, 60, 60, 255)  # what is under transparent pixels is black and unseen
    image = Image.fromarray(pixels)
    if mode == "P":
        image.quantize(4).save(tmp_path / "disc.png")
    elif mode in ("RGB", "L"):  # one colour stands for transparent
        image.convert(mode).save(
            tmp_path / "disc.png", transparency=(0, 0, 0) if mode == "RGB" else 0
        )
    else:
        image.convert(mode).save(tmp_path / "disc.png")
    data = from_folder(tmp_path, size=8, channels=1, background=background)
    expected = np.where(opaque, 60, shade)
    assert np.array_equal(data.observations(torch.tensor([0]))[0, 0], expected)


def test_white_is_the_default_background_and_opacity_is_kept_in_four_channels(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255
    png(tmp_path / "half.png", pixels)
    image = from_folder(tmp_path, size=8).observations(torch.tensor([0]))[0]
    assert image[:, 0].eq(0).all()
    assert image[:, 7].eq(255).all()
    kept = from_folder(tmp_path, size=8, channels=4).observations(torch.tensor([0]))[0]
    assert np.array_equal(kept, pixels.transpose(2, 0, 1))
    with pytest.raises(ValueError, match=r"half.png: expected a picture .* on a black background"):
        from_folder(tmp_path, background="black")
    for colour in ("blackk", "#ffffff00"):
        with pytest.raises(ValueError, match=r"expected a background such as white, .*, got"):
            from_folder(tmp_path, background=colour)


def test_pictures_that_are_not_one_picture_of_8_bits_are_refused_by_name(tmp_path):
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 100)]
    path = tmp_path / "moves.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"moves.gif: expected one picture, got an animation"):
        from_folder(tmp_path)
    path.unlink()
    for dtype, mode in ((np.float32, "F"), (np.uint16, "I;16"), (np.int32, "I")):
        Image.fromarray(np.ones((8, 8), dtype)).save(tmp_path / "deep.tiff")
        with pytest.raises(ValueError, match=f"deep.tiff: expected 8 bits .* mode {mode}; convert"):
            from_folder(tmp_path)


def test_cmyk_is_read_in_its_colours(tmp_path):
    Image.new("RGB", (8, 8), (200, 30, 60)).convert("CMYK").save(tmp_path / "print.tiff")
    image = from_folder(tmp_path, size=8).observations(torch.tensor([0]))[0]
    assert image.float().mean((1, 2)).tolist() == pytest.approx([200, 30, 60], abs=3)


def test_sizes_need_not_be_square(folder):
    assert from_folder(folder, size=(6, 12)).observation_shape == (3, 6, 12)
    assert load_data(folder, size=(6, 12), channels=1).observation_shape == (1, 6, 12)


@pytest.mark.parametrize(
    "table",
    [
        "filename,age\nb.png,2\na.png,1\nc.JPG,3\n",
        "age,image\n2,b.png\n1,a.png\n3,c.JPG\n",
        "picture,age\nb,2\na,1\nc,3\n",
        "path;age\n./b.png;2\nphotos/a.png;1\nc.JPG;3\n",
        "FILE\tage\nb.png\t2\na.png\t1\nc.JPG\t3\n",
    ],
)
@pytest.mark.parametrize("name", ["factors.csv", "people.csv"])
def test_a_table_may_name_its_columns_and_images_in_its_own_way(folder, table, name):
    (folder / name).write_text(table)
    data = from_folder(folder, size=8)
    assert (data.factor_names, data.factor_values) == (("age",), ((1, 2, 3),))
    assert data.factors(torch.arange(3)).flatten().tolist() == [0, 1, 2]


def test_several_tables_are_asked_for_by_name(folder):
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("file,k\na.png,1\nb.png,2\nc.JPG,3\n")
    with pytest.raises(
        ValueError, match=r"expected one table of factors, got a.csv, b.csv; rename"
    ):
        from_folder(folder)


def test_a_tilde_is_the_home_of_the_user(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_data("~/faces", size=8).name == from_folder("~/faces", size=8).name == "faces"


def test_options_that_a_reader_does_not_take_are_refused_by_name(folder):
    np.savez(folder / "mine.npz", x=ROWS)
    with pytest.raises(
        ValueError, match=r"mine.npz: from_npz reads it and takes no size; it takes"
    ):
        load_data(folder / "mine.npz", size=8)
    with pytest.raises(
        ValueError, match=r"sprites: Sprites .* takes no channels; it takes no options"
    ):
        load_data("sprites", channels=1)
