"""Files of data sets that several tests read."""

import numpy as np
import pytest
from PIL import Image

from ppl_disentangle.data import DSprites
from tests.data.made import Hostile, sprites_arrays


@pytest.fixture(scope="module")
def dsprites_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dsprites")
    hostile = np.array(Hostile(folder / "ran"), dtype=object)
    np.savez_compressed(folder / "dsprites.npz", metadata=hostile, **sprites_arrays())
    return folder / "dsprites.npz"


@pytest.fixture(scope="module")
def dsprites(dsprites_file):
    return DSprites(dsprites_file)


@pytest.fixture
def folder(tmp_path):
    """Three images, a hidden one, a text and a folder."""
    (tmp_path / "faces" / "inner").mkdir(parents=True)
    for k, name in enumerate(["b.png", "a.png", "c.JPG"]):
        Image.new("RGB", (20, 10), (10 * k, 100, 200)).save(tmp_path / "faces" / name)
    (tmp_path / "faces" / "notes.txt").write_text("no image")
    (tmp_path / "faces" / "._a.png").write_text("no image")
    return tmp_path / "faces"
