"""What is built from the tree: every file once, at its place inside `ppl_disentangle`, light to import."""

import email
import os
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
DIST_INFO = f"ppl_disentangle-{VERSION}.dist-info"
MOVED = {
    "ppl_disentangle": "ppl_disentangle",
    "models": "ppl_disentangle/models",
    "inference": "ppl_disentangle/inference",
}
FOLDERS = [*MOVED, "benchmarks", "docs", "examples", "tests"]
FILES = [
    *(
        "pyproject.toml",
        "MANIFEST.in",
        "LICENSE",
        "NOTICE",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    ),
    *("Makefile", "conftest.py", "constraints.txt"),
]
HEAVY = ["arviz", "matplotlib", "pandas", "scipy", "sklearn"]

a_checkout = pytest.mark.skipif(
    (ROOT / "PKG-INFO").exists(), reason="an unpacked sdist holds no links"
)


def run(*command, path=(), cwd):
    """Standard output of a command that sees, beside the installed distributions, only what is on `path`."""
    search = os.pathsep.join(map(str, [*path, *site.getsitepackages()]))
    environment = {**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(code, *, path=(), cwd):
    # -S: no .pth file is read, so an editable install of this very project stays out of sight.
    return run(sys.executable, "-S", "-c", code, path=path, cwd=cwd).split()


def files(folder):
    """Relative paths of all files; what lies behind a link is left out."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the checkout: building leaves nothing behind, and nothing left behind is built."""
    copy = tmp_path_factory.mktemp("tree") / "checkout"
    made = shutil.ignore_patterns(".*", "__pycache__", "out")
    for name in FOLDERS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=made)
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def listed(tree):
    return files(tree)


@pytest.fixture(scope="module")
def sdist(tree, listed):
    output = tree.parent / "sdist"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, tree, cwd=tree.parent)
    return output


@pytest.fixture(scope="module")
def wheel(tree, listed):
    output = tree.parent / "wheel"
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        output,
        tree,
        cwd=tree.parent,
    )
    return next(output.glob("*.whl"))


@pytest.fixture(scope="module")
def target(wheel):
    """A folder with nothing but the installed wheel."""
    folder = wheel.parent / "site"
    run(*pip_install(folder), wheel, cwd=wheel.parent)
    return folder


def pip_install(folder):
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "install", *offline, "--target", folder]


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def package_home(name, homes):
    """Folder of a package; a package inside one that has moved lies inside that one's folder."""
    moved = next((package for package in homes if f"{name}.".startswith(f"{package}.")), None)
    home = name if moved is None else name.replace(moved, homes[moved], 1)
    return home.replace(".", "/")


def test_pyproject_lists_every_package():
    setuptools = PROJECT["tool"]["setuptools"]
    homes = {package_home(name, setuptools["package-dir"]) for name in setuptools["packages"]}
    holders = {path.parent for top in MOVED for path in (ROOT / top).rglob("*.py")}
    assert homes == {holder.relative_to(ROOT).as_posix() for holder in holders}
    assert all((holder / "__init__.py").is_file() for holder in holders)


def test_package_data_is_listed_and_not_guessed():
    assert PROJECT["tool"]["setuptools"]["include-package-data"] is False


@a_checkout
@pytest.mark.parametrize("name", ["models", "inference"])
def test_the_links_are_relative_and_lead_to_the_top_folders(name):
    link = ROOT / "ppl_disentangle" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)
    assert link.samefile(ROOT / name)


def test_the_wheel_holds_every_file_of_the_packages_once_and_no_other(wheel, listed):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    parts = [name.partition("/") for name in listed]
    expected = {f"{MOVED[top]}/{rest}" for top, _, rest in parts if top in MOVED}
    assert "ppl_disentangle/py.typed" in expected
    assert {name for name in names if not name.startswith(f"{DIST_INFO}/")} == expected


def test_the_wheel_carries_version_command_and_licences(wheel):
    inside = contents(wheel)
    metadata = email.message_from_bytes(inside[f"{DIST_INFO}/METADATA"])
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "Apache-2.0"
    for name in ("LICENSE", "NOTICE"):
        assert inside[f"{DIST_INFO}/licenses/{name}"] == (ROOT / name).read_bytes()
    assert (
        b"ppl-disentangle = ppl_disentangle.cli.main:main"
        in inside[f"{DIST_INFO}/entry_points.txt"]
    )


def test_the_sdist_holds_the_tree_once(sdist, listed):
    with tarfile.open(next(sdist.glob("*.tar.gz"))) as archive:
        names = [
            member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()
        ]
    assert len(names) == len(set(names))
    ours = {name for name in names if not name.startswith("ppl_disentangle.egg-info/")}
    assert ours == listed | {"PKG-INFO", "setup.cfg"}


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_tree(sdist, wheel):
    assert contents(next(sdist.glob("*.whl"))) == contents(wheel)


def test_the_installed_wheel_imports_from_its_own_folder(target, tmp_path):
    packages = PROJECT["tool"]["setuptools"]["packages"]
    found = python(
        f"import {', '.join(packages)}, sys; print(*(sys.modules[n].__file__ for n in {packages}))",
        path=[target],
        cwd=tmp_path,
    )
    assert found == [str(target / name.replace(".", "/") / "__init__.py") for name in packages]


def test_an_editable_install_imports_the_files_at_the_top_of_the_tree(tree, tmp_path):
    folder = tmp_path / "site"
    run(*pip_install(folder), "--editable", tree, cwd=tmp_path)
    found = python(
        f"import site; site.addsitedir({str(folder)!r})\n"
        "import importlib.util, os, ppl_disentangle.inference, ppl_disentangle.models\n"
        "for module in (ppl_disentangle, ppl_disentangle.inference, ppl_disentangle.models):\n"
        "    print(os.path.realpath(module.__file__))\n"
        "print(importlib.util.find_spec('inference'), importlib.util.find_spec('models'))",
        path=[folder],
        cwd=tmp_path,
    )
    tops = [
        (tree / top / "__init__.py").resolve() for top in ("ppl_disentangle", "inference", "models")
    ]
    assert found == [*map(str, tops), "None", "None"]


def test_importing_the_package_imports_nothing_heavy(tmp_path):
    code = f"import ppl_disentangle, sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    assert python(code, path=[ROOT], cwd=tmp_path) == []
