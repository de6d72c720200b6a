"""Data sets by name, path or function."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppl_disentangle.data import DSprites, Sprites, load_data
from tests.data.test_arrays import ROWS


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


def test_load_data_lists_the_names_that_it_knows(folder):
    with pytest.raises(
        ValueError, match=r"'sprits'; expected one of \['sprites', .* did you mean 'sprites'\?"
    ):
        load_data("sprits")
    with pytest.raises(
        ValueError, match=r"no data set or path 'zzz'; expected one of .* or a path$"
    ):
        load_data("zzz")
    with pytest.raises(
        ValueError, match=r"notes.txt: expected a .npz, .npy, HDF5 or IDX file .* got a file .txt"
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
