"""`ppl-disentangle data`: the list, one data set told, and its picture."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_disentangle.cli.data_listing import data_sheet
from ppl_disentangle.cli.main import main
from ppl_disentangle.data import digits, from_arrays, load_data, pairs
from ppl_disentangle.data.catalogue import catalogue

TILE, GAP, LABEL = 128, 4, 140


def told(capsys, *arguments):
    assert main(["data", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_list_has_every_data_set_with_its_size_factors_licence_and_source(capsys):
    text = told(capsys)
    words = " ".join(text.split())
    for entry in catalogue():
        assert re.search(
            rf"^  {re.escape(entry.name)}( +\({entry.num_data:,}\))?$", text, re.MULTILINE
        )
        assert f"{entry.licence}. {entry.source}" in words
        if entry.factors:
            assert f"factors: {entry.factors[0]}" in words
    assert (
        text.index("need no files")
        < text.index("  room")
        < text.index("you download")
        < text.index("  CelebA")
    )
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", [entry.name for entry in catalogue()])
def test_each_can_be_told_alone(name, capsys):
    entry = next(e for e in catalogue() if e.name == name)
    text = told(capsys, name)
    assert entry.call in text
    assert all(factor in text for factor in entry.factors)
    if entry.needs_no_file:
        data = load_data(name)
        assert f"{len(data):,} observations of shape {data.observation_shape}" in text
        assert all(
            re.search(rf"^    {f.name} +{f.size} {f.kind}", text, re.MULTILINE) for f in data.space
        )


def test_a_name_is_found_whatever_its_case_and_a_path_is_described(tmp_path, capsys):
    assert "a folder of MATLAB files" in told(capsys, "cars3d")
    np.savez(
        tmp_path / "mine.npz",
        x=np.zeros((5, 7, 7), np.uint8),
        factors=np.arange(5),
        factor_names=["age"],
    )
    text = told(capsys, tmp_path / "mine.npz")
    assert text.splitlines()[0] == "mine"
    assert "5 observations of shape (1, 7, 7)" in text
    assert re.search(r"age +5 ordinal +0, 1, 2, 3, 4$", text, re.MULTILINE)


def tiles(image):
    pixels = np.asarray(image)
    rows, columns = pixels.shape[0] // (TILE + GAP), (pixels.shape[1] - LABEL) // (TILE + GAP)
    return [
        [
            pixels[r * (TILE + GAP) :, LABEL + c * (TILE + GAP) :][:TILE, :TILE]
            for c in range(columns)
        ]
        for r in range(rows)
    ]


def test_a_sheet_shows_random_images_and_each_factor_of_a_grid_through_its_values(tmp_path, capsys):
    path = tmp_path / "pictures" / "sprites.png"
    path.parent.mkdir()
    assert told(capsys, "sprites", "--sheet", path, "--seed", "3").endswith(f"{path}\n")
    assert [p.name for p in path.parent.iterdir()] == ["sprites.png"]
    sprites = load_data("sprites")
    index = torch.randint(len(sprites), (2, 8), generator=torch.Generator().manual_seed(3))
    shown = tiles(Image.open(path))
    assert len(shown) == 2 + 5
    for r in range(2):
        for tile, x in zip(shown[r], sprites.observations(index[r]), strict=True):
            assert np.array_equal(tile[::2, ::2, 0], 255 * x[0].numpy())
            assert np.array_equal(tile[1::2, 1::2, 2], 255 * x[0].numpy())
    classes = sprites.factors(index[0, :1]).repeat(8, 1)
    classes[:, 3] = torch.tensor([0, 4, 9, 13, 18, 22, 27, 31])
    for tile, x in zip(shown[5], sprites.render(classes), strict=True):
        assert np.array_equal(tile[::2, ::2, 0], 255 * x[0].numpy())
    assert (shown[2][3] == 255).all(), "there are three shapes"


def test_a_sheet_of_other_data_shows_random_images_alone():
    assert len(tiles(data_sheet(digits()))) == 2
    wide = from_arrays(torch.rand(9, 3, 30, 300, generator=torch.Generator().manual_seed(0)))
    first = tiles(data_sheet(wide))[0][0]
    assert (first[12:] == 255).all()
    assert (first[:12] != 255).any()


ERRORS = {
    "no such data": (["spirtes"], "no data set or path 'spirtes'; .* did you mean 'sprites'"),
    "no path": (["CelebA", "--sheet", "c.png"], "'CelebA' is read from your disk: give the path"),
    "no name": (["--sheet", "c.png"], "expected NAME"),
    "no png": (["digits", "--sheet", "c.jpg"], "expected a .png file, got 'c.jpg'"),
}


@pytest.mark.parametrize(("arguments", "message"), ERRORS.values(), ids=list(ERRORS))
def test_what_is_wrong_is_said(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_what_is_no_image_has_no_sheet():
    with pytest.raises(
        ValueError,
        match=r"expected images, got observations of shape \(2, 1, 8, 8\) of 'digits_pairs'",
    ):
        data_sheet(pairs(digits(), num=4))
