"""Grids from files, your own arrays and folders, and the laws that all data sets share."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from ppl_disentangle.data import (
    Coloured,
    DSprites,
    Flow,
    Noisy,
    OnPicture,
    Pendulum,
    Room,
    Sprites,
    ThicknessIntensity,
    TwoObjects,
    XYSquares,
    correlated,
    digits,
    from_arrays,
    from_folder,
    from_npz,
    from_torch,
    groups,
    interventional,
    load_data,
    pairs,
    pendulum_grid,
    walks,
    with_conditions,
)

SIZES = (3, 2, 4, 5, 3)
LEVELS = ((0, 1, 2), (0, 5), (0, 7, 20, 39), (0, 1, 15, 16, 31), (3, 8, 21))


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def sprites_arrays():
    """A sub-grid of the sprites as the four arrays of the real file; the metadata are added by the tests."""
    classes = torch.cartesian_prod(*[torch.tensor(level) for level in LEVELS])
    space = Sprites().factor_values
    values = [[1.0, c[0] + 1.0, *(space[k][c[k]] for k in range(1, 5))] for c in classes.tolist()]
    return {
        "imgs": Sprites().render(classes)[:, 0].numpy(),
        "latents_values": np.array(values),
        "latents_classes": np.insert(classes.numpy(), 0, 0, axis=1),
    }


@pytest.fixture(scope="module")
def dsprites_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dsprites")
    hostile = np.array(Hostile(folder / "ran"), dtype=object)
    np.savez_compressed(folder / "dsprites.npz", metadata=hostile, **sprites_arrays())
    return folder / "dsprites.npz"


@pytest.fixture(scope="module")
def dsprites(dsprites_file):
    return DSprites(dsprites_file)


def small_arrays(num=7):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (num, 3, 6, 6), generator=generator, dtype=torch.uint8)
    return from_arrays(x, torch.arange(num) // 2, factor_names=["pair"])


CATALOGUE = {
    "sprites": lambda _: Sprites(),
    "room": lambda _: Room(),
    "xy squares": lambda _: XYSquares(),
    "two objects": lambda _: TwoObjects(),
    "grid of a scene": lambda _: pendulum_grid(size=32),
    "dsprites": DSprites,
    "arrays": lambda _: small_arrays(),
    "numbers": lambda _: from_arrays(torch.linspace(0, 1, 5)),
    "bare arrays": lambda _: from_arrays(torch.rand(5, 4)),
    "digits": lambda _: digits(),
    "pendulum": lambda _: Pendulum(50, size=32),
    "flow": lambda _: Flow(50, size=32),
    "strokes": lambda _: ThicknessIntensity(50),
    "told labels": lambda _: with_conditions(digits(), labels=torch.zeros(1797, 2)),
    "subset": lambda _: digits().subset(torch.tensor([5, 5, 1700])),
    "subset of a subset": lambda _: Sprites().split(700_000)[0].split(30)[1],
    "pairs": lambda _: pairs(digits(), num=50, conditions=True),
    "groups": lambda _: groups(Sprites(), 3, num=50, conditions=True),
    "walks": lambda _: walks(Sprites(), 3, num=50),
    "correlated": lambda _: correlated(Sprites(), {("x", "y"): 0.2}, num=50),
    "interventional": lambda _: interventional(
        Pendulum(50, size=32), {"light": None}, conditions=True
    ),
    "coloured": lambda _: Coloured(Sprites()),
    "noisy": lambda _: Noisy(Sprites()),
    "on a picture": lambda _: OnPicture(Sprites()),
}


@pytest.fixture(params=CATALOGUE.values(), ids=CATALOGUE)
def dataset(request, dsprites_file):
    return request.param(dsprites_file)


def test_observations_and_factors_have_the_promised_shapes_and_values(dataset):
    index = torch.arange(len(dataset))[-3:].flip(0)
    x, factors = dataset.observations(index), dataset.factors(index)
    assert x.shape == (3, *dataset.observation_shape)
    assert factors.shape == (3, len(dataset.space))
    assert factors.dtype == torch.int64
    assert (factors >= 0).all()
    assert (factors < torch.tensor(dataset.factor_sizes)).all()
    assert dataset.to_float(x).dtype == torch.float32
    assert 0 <= dataset.to_float(x).min() < dataset.to_float(x).max() <= 1


def test_a_datum_is_the_same_alone_in_a_batch_and_in_a_subset(dataset):
    index = torch.tensor([len(dataset) - 1, 0, len(dataset) - 1])
    x, factors = dataset.observations(index), dataset.factors(index)
    alone = [dataset[i] for i in (-1, 0, len(dataset) - 1)]
    assert torch.equal(torch.stack([one for one, _ in alone]), dataset.to_float(x))
    assert torch.equal(torch.stack([one for _, one in alone]), factors)
    subset = dataset.subset(index)
    assert torch.equal(subset.observations(torch.arange(3)), x)
    assert torch.equal(subset.factors(torch.arange(3)), factors)


def test_answers_are_on_the_device_of_the_index(dataset):
    index = torch.zeros(4, dtype=torch.int64, device="meta")
    assert dataset.observations(index).device.type == "meta"
    assert dataset.observations(index).shape == (4, *dataset.observation_shape)
    assert dataset.factors(index).device.type == "meta"
    assert dataset.observations(torch.tensor([0])).device.type == "cpu"


def test_an_index_beyond_the_data_is_an_error(dataset):
    with pytest.raises(IndexError, match="out of range"):
        dataset[len(dataset)]
    with pytest.raises(IndexError, match=r"out of (range|bounds)"):
        dataset.observations(torch.tensor([len(dataset)]))


def test_sampling_depends_on_the_generator_only(dataset):
    state = torch.get_rng_state()
    first, again = (dataset.sample(6, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert torch.equal(state, torch.get_rng_state())


def test_a_split_is_a_partition():
    training, held_out = small_arrays().split(2)
    rows = [training.observations(torch.arange(5)), held_out.observations(torch.arange(2))]
    everything = small_arrays().observations(torch.arange(7))
    assert sorted(torch.cat(rows).flatten(1).tolist()) == sorted(everything.flatten(1).tolist())
    with pytest.raises(ValueError, match="expected 0 < num_held_out < 7, got 7"):
        small_arrays().split(7)


def test_a_torch_loader_takes_a_data_set():
    x, factors = next(iter(DataLoader(digits(), batch_size=32)))
    assert torch.equal(x, digits().to_float(digits().observations(torch.arange(32))))
    assert torch.equal(factors, digits().factors(torch.arange(32)))


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


def test_dsprites_reads_what_it_would_render(dsprites):
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
def test_dsprites_says_what_is_wrong_with_a_file(tmp_path, spoil, message):
    arrays = sprites_arrays()
    spoil(arrays)
    np.savez(tmp_path / "spoilt.npz", **arrays)
    with pytest.raises(ValueError, match=f"spoilt.npz is not a dSprites file: .*{message}"):
        DSprites(tmp_path / "spoilt.npz")


def test_dsprites_says_where_a_file_ends_is_damaged_or_is_none(tmp_path):
    path = tmp_path / "short.npz"
    arrays = sprites_arrays()
    imgs = io.BytesIO()
    np.save(imgs, arrays.pop("imgs"))
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("imgs.npy", imgs.getvalue()[: 128 + 100 * 4096 + 1])
    with pytest.raises(
        ValueError, match=r"short.npz is not a dSprites file: imgs ends in row 100 of 360"
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


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-5, 5)
    )
)
def test_the_values_of_the_classes_are_the_factors_given(table):
    data = from_arrays(torch.zeros(len(table), 2), table)
    classes = data.factors(torch.arange(len(table)))
    found = [
        [values[c] for values, c in zip(data.factor_values, row, strict=True)]
        for row in classes.tolist()
    ]
    assert found == table.tolist()
    assert all(values == tuple(sorted(set(values))) for values in data.factor_values)


def test_factors_may_be_numbers_or_strings_under_names():
    frame = {
        "colour": np.array(["red", "blue", "red"], dtype=object),
        "size": [0.5, 2.0, 1.0],
        "count": torch.tensor([7, 7, 9]),
    }
    data = from_arrays(np.zeros((3, 5), np.float32), frame)
    assert data.factor_names == ("colour", "size", "count")
    assert data.factor_values == (("blue", "red"), (0.5, 1.0, 2.0), (7, 9))
    assert [factor.kind for factor in data.space] == ["categorical", "ordinal", "ordinal"]
    assert data.factors(torch.arange(3)).tolist() == [[1, 0, 0], [0, 2, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("x", "given", "maximum"),
    [
        (np.array([[0, 1]], np.uint8), None, 1),
        (np.array([[0, 2]], np.uint8), None, 255),
        (np.array([[0, 2]], np.uint8), 16, 16),
        (np.array([[False, True]]), None, 1),
        (np.array([[-3.0, 200.0]]), None, 1),
        (np.array([[0.0, 255.0]]), 255, 255),
    ],
)
def test_the_maximum_is_that_of_the_type_unless_it_is_given(x, given, maximum):
    data = from_arrays(x, maximum=given)
    assert data.maximum == maximum
    expected = torch.from_numpy(x.astype(np.float32) / maximum)
    torch.testing.assert_close(data.to_float(data.observations(torch.tensor([0]))), expected)


def test_images_get_their_channels_first_only_when_told():
    images = np.arange(2 * 5 * 6 * 3, dtype=np.uint8).reshape(2, 5, 6, 3)
    with pytest.raises(ValueError, match=r"got \(2, 5, 6, 3\); is it channels_last=True\?"):
        from_arrays(images)
    data = from_arrays(images, channels_last=True)
    assert data.observation_shape == (3, 5, 6)
    assert np.array_equal(data.observations(torch.arange(2)), np.moveaxis(images, -1, 1))
    assert from_arrays(images[..., 0]).observation_shape == (1, 5, 6)
    assert from_arrays(images[0]).observation_shape == (1, 6, 3)
    with pytest.raises(
        ValueError, match=r"expected \(num, height, width, channels\), got \(2, 5, 6\)"
    ):
        from_arrays(images[..., 0], channels_last=True)


def test_arrays_are_taken_as_they_come():
    x = np.arange(12.0).reshape(3, 4)
    x.flags.writeable = False
    for array in (x, x[::-1], x.astype(">f4"), x[:, ::2]):
        assert np.array_equal(from_arrays(array).observations(torch.arange(3)), array)


ROWS = np.zeros((3, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"observations": np.zeros((2, 3), np.int64)},
            TypeError,
            "uint8, bool or floats, got torch.int64",
        ),
        (
            {"observations": np.zeros(())},
            ValueError,
            r"shape \(num, …\) without empty axes, got \(\)",
        ),
        ({"observations": np.zeros((0, 3))}, ValueError, r"without empty axes, got \(0, 3\)"),
        (
            {"observations": np.array([[0], [1], [np.nan], [np.inf]])},
            ValueError,
            "nan or inf at index 2",
        ),
        (
            {"observations": np.array([[3]], np.uint8), "maximum": 2},
            ValueError,
            "got maximum=2 and 3",
        ),
        ({"observations": ROWS, "maximum": 0}, ValueError, "expected maximum > 0 .* got maximum=0"),
        (
            {"factors": np.zeros(2)},
            ValueError,
            r"expected 3 values of factor 'factor0', got shape \(2,\)",
        ),
        (
            {"factors": np.zeros((3, 1, 1))},
            ValueError,
            r"\(num,\) or \(num, factors\), got \(3, 1, 1\)",
        ),
        (
            {"factors": {"a": [1.0, np.nan, 2.0]}},
            ValueError,
            "finite factor 'a', got nan or inf at index 1",
        ),
        (
            {"factors": {"a": [None, 1, 2]}},
            TypeError,
            "numbers or strings for factor 'a', got object",
        ),
        (
            {"factors": np.zeros((3, 2)), "factor_names": ["a"]},
            ValueError,
            "2 different factor_names, got",
        ),
        (
            {"factors": np.zeros((3, 2)), "factor_names": ["a", "a"]},
            ValueError,
            "2 different factor_names",
        ),
        ({"factor_names": ["a"]}, ValueError, r"only beside an array of factors, got \['a'\]"),
        (
            {"factors": {"a": ROWS[:, 0]}, "factor_names": ["b"]},
            ValueError,
            "only beside an array of factors",
        ),
    ],
)
def test_from_arrays_says_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        from_arrays(**{"observations": ROWS, **arguments})


def test_a_torch_data_set_is_read_once():
    x, y = torch.rand(4, 1, 3, 3), torch.tensor([[2, 5], [3, 5], [2, 6], [2, 5]])
    data = from_torch(TensorDataset(x, y), factor_names=["a", "b"])
    assert torch.equal(data.observations(torch.arange(4)), x)
    assert data.factor_values == ((2, 3), (5, 6))
    assert data.factors(torch.arange(4)).tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]
    assert from_torch(TensorDataset(x)).space == ()
    assert from_torch(list(x)).observation_shape == (1, 3, 3)
    assert from_torch([(one, "cat") for one in x]).factor_values == (("cat",),)


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([], ValueError, "expected at least one observation, got an empty data set"),
        ([np.zeros(3)], TypeError, r"a tensor x, or \(x, y\), everywhere, got \['ndarray'\] at 0"),
        ([(torch.zeros(2), 1, 2)], TypeError, r"got \['Tensor', 'int', 'int'\] at 0"),
        ([(torch.zeros(2), 1), torch.zeros(2)], TypeError, r"got \['Tensor'\] at 1"),
        ([torch.zeros(2), torch.zeros(3)], ValueError, r"expected shape \(2,\), got \(3,\) at 1"),
    ],
)
def test_from_torch_says_what_is_wrong(items, error, message):
    with pytest.raises(error, match=message):
        from_torch(items)


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
def test_from_npz_says_what_is_wrong(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        from_npz(tmp_path / "bad.npz")


def test_from_npz_wants_an_npz_file(tmp_path):
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(ValueError, match=r"text.npz: expected an npz file, got another format"):
        from_npz(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError, match=r"absent.npz"):
        from_npz(tmp_path / "absent.npz")


@pytest.fixture
def folder(tmp_path):
    """Three images, a hidden one, a text and a folder."""
    (tmp_path / "faces" / "inner").mkdir(parents=True)
    for k, name in enumerate(["b.png", "a.png", "c.JPG"]):
        Image.new("RGB", (20, 10), (10 * k, 100, 200)).save(tmp_path / "faces" / name)
    (tmp_path / "faces" / "notes.txt").write_text("no image")
    (tmp_path / "faces" / "._a.png").write_text("no image")
    return tmp_path / "faces"


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
def test_from_folder_says_what_is_wrong_with_the_table(folder, table, message):
    (folder / "factors.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        from_folder(folder)


def test_from_folder_says_what_is_wrong(folder, tmp_path):
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


def test_digits_are_those_of_scikit_learn():
    data = digits()
    index = torch.arange(len(data))
    assert (len(data), data.observation_shape, data.maximum) == (1797, (1, 8, 8), 16)
    assert data.factor_names == ("digit",)
    assert data.space[0].kind == "categorical"
    assert data.observations(index).dtype == torch.uint8
    assert data.observations(index).max() == 16
    assert data.observations(index[:1])[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert data.factors(index).flatten().bincount().tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]


def test_load_data_finds_data_by_name_and_path(folder, dsprites_file, monkeypatch):
    assert isinstance(load_data("sprites"), Sprites)
    assert load_data("digits").name == "digits"
    assert isinstance(load_data(str(dsprites_file)), DSprites)
    np.savez(folder / "mine.npz", x=ROWS)
    assert load_data(folder / "mine.npz").observation_shape == (4,)
    assert load_data(folder).name == "faces"
    folder.rename(folder.parent / "digits")
    monkeypatch.chdir(folder.parent)
    assert load_data("digits").maximum == 16
    assert load_data("./digits").maximum == load_data(Path("digits")).maximum == 255


def test_load_data_says_what_it_knows(folder):
    with pytest.raises(
        ValueError, match=r"'sprits'; expected one of \['sprites', .* did you mean 'sprites'\?"
    ):
        load_data("sprits")
    with pytest.raises(
        ValueError, match=r"no data set or path 'zzz'; expected one of .* or a path$"
    ):
        load_data("zzz")
    with pytest.raises(
        ValueError, match=r"notes.txt: expected a .npz, HDF5 or IDX file .* got a file .txt"
    ):
        load_data(folder / "notes.txt")
    (folder / "text.npz").write_text("x")
    with pytest.raises(ValueError, match=r"text.npz: expected an npz file"):
        load_data(folder / "text.npz")


def test_importing_the_data_imports_no_optional_library():
    package = Path(sys.modules["ppl_disentangle"].__file__).parent
    program = (
        "import sys, types; parent = types.ModuleType('ppl_disentangle');"
        f"parent.__path__ = [{str(package)!r}]; sys.modules['ppl_disentangle'] = parent;"
        "import ppl_disentangle.data;"
        "print(sorted({'sklearn', 'PIL', 'matplotlib', 'pandas', 'pyro'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_data_are_made_by_a_function_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from ppl_disentangle.data import digits\nwrong = list\n")
    assert load_data(f"{path}:digits").name == "digits"
    with pytest.raises(ValueError, match="expected a function that returns a data set, got list"):
        load_data(f"{path}:wrong")
    with pytest.raises(
        ValueError, match=r"named 'digit'; there are digits, wrong; did you mean 'digits'\?"
    ):
        load_data(f"{path}:digit")
    with pytest.raises(ValueError, match="no file 'nowhere.py' to take 'digits' from"):
        load_data("nowhere.py:digits")
