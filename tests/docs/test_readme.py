"""What the README shows works as it stands there."""

import re
import tomllib

import torch

from tests import ROOT

README = (ROOT / "README.md").read_text()


def test_the_story_in_the_readme_runs():
    program = next(
        b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class Digits" in b
    )
    names = {"__name__": "readme"}
    exec(program.replace("steps=2000", "steps=20, progress=False"), names)
    assert names["changed"].shape == (8, 1, 8, 8)
    assert names["codes"]["mean"].shape == (8, 4)
    stock = next(b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "SVI(" in b)
    exec(
        "from pyro.infer import SVI\nfrom pyro.optim import PyroOptim\n"
        + stock
        + "\nvalue = loss(x)",
        names,
    )
    assert torch.isfinite(names["value"])


def test_the_commands_of_the_readme_are_those_of_the_makefile_and_of_ci():
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        assert f"make {target}" in ci.replace('"$@"', "")


def test_every_file_that_the_readme_links_is_there():
    for path in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / path).exists(), path


def test_extras_that_the_readme_names_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert all(
        name in extras
        for names in re.findall(r'\.\[([\w,-]+)\]"', README)
        for name in names.split(",")
    )
