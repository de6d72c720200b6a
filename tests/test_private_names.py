"""The library works without any of the private names of PyTorch and Pyro that it uses."""

import ast
import re
import subprocess
import sys
from contextlib import nullcontext

import pyro.distributions as dist
import pytest
import torch

from ppl_disentangle import _pyro_private, _torch_private
from ppl_disentangle._private_names import MissingNameError, look_up
from ppl_disentangle.inference.elbo.aggregate import pairwise_log_prob
from ppl_disentangle.inference.training import loop
from ppl_disentangle.sites import Plate, Site
from tests import ROOT
from tests.inference.training.test_capture import assert_alike, fitted
from tests.models.test_stories import STORIES
from tests.test_layers import LIBRARY, imports, sources

TABLES = (_torch_private.PRIVATE_NAMES, _pyro_private.PRIVATE_NAMES)
NAMES = [
    pytest.param(table, purpose, id=path) for table in TABLES for purpose, path in table.items()
]
PRIVATE_FILES = ("ppl_disentangle._torch_private", "ppl_disentangle._pyro_private")

WARNINGS = {
    "make_fx": "the training step runs as it is: torch .* has no torch.*make_fx",
    "compile": "runs as a graph that is not compiled: torch .* has no torch._inductor.compile",
    "compiler options": "runs as a graph that is not compiled: torch .* has no torch._inductor",
}
"""Warnings of ``fit`` by the purpose of the name that is missing; without others it is silent."""

IMPORT_WITHOUT = """
import importlib, sys
import pyro, torch
import torch.fx.experimental.proxy_tensor
sys.modules["torch._inductor"] = None  # an import of it raises an ImportError
for path in {paths}:
    module, _, name = path.rpartition(".")
    delattr(importlib.import_module(module), name)
import ppl_disentangle.inference, ppl_disentangle.models
"""


@pytest.fixture(scope="module")
def eager():
    return fitted(STORIES["beta_vae"], steps=12, compile=False)


@pytest.mark.parametrize(("table", "purpose"), NAMES)
def test_training_without_a_private_name_ends_with_the_eager_weights(
    table, purpose, eager, monkeypatch
):
    monkeypatch.setitem(table, purpose, f"{table[purpose]}_of_another_version")
    monkeypatch.setattr(loop, "MIN_GRAPH_STEPS", 0)
    compile = True if "compile" in purpose else "auto"
    message = WARNINGS.get(purpose)
    with pytest.warns(UserWarning, match=message) if message else nullcontext():
        history, weights = fitted(STORIES["beta_vae"], steps=12, compile=compile)
    assert history.attrs["captured"] == ("no" if purpose == "make_fx" else "graph")
    assert all(history[name].notnull().all() for name in history)
    assert_alike(eager, (history, weights))


def test_inference_is_imported_without_private_names():
    paths = [
        path
        for table in TABLES
        for path in table.values()
        if path.startswith(("torch.fx.", "torch._f", "pyro.util", "pyro.poutine.util"))
    ]
    paths += ["torch.distributions.transforms._InverseTransform", "pyro.poutine.runtime.Message"]
    program = IMPORT_WITHOUT.format(paths=paths)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr


def test_a_missing_name_is_named_with_the_version():
    with pytest.raises(
        MissingNameError, match=re.escape(f"torch {torch.__version__} has no torch.x")
    ):
        look_up("torch.x")
    with pytest.raises(MissingNameError, match="has no pyro.nowhere.x"):
        look_up("pyro.nowhere.x")


def test_a_straight_through_draw_without_its_relaxed_draw_is_refused():
    fn = dist.RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), logits=torch.zeros(4, 3))
    site = Site("y", fn, fn.rsample().clone(), 1.0, None, (Plate("data", -1, 4, 4),))
    with pytest.raises(ValueError, match="with the relaxed draw behind it, got a value without"):
        pairwise_log_prob(site, site.plates[0])


@pytest.mark.parametrize("shape", [(2, 3), (3, 1), (2,)])
def test_log_densities_are_checked_without_pyros_check(shape, monkeypatch):
    monkeypatch.setitem(_pyro_private.PRIVATE_NAMES, "check shape", "pyro.util.nothing")
    frame = pyro_frame("data", -1, 3)
    node = {"name": "z", "cond_indep_stack": (frame,), "log_prob": torch.zeros(shape)}
    with pytest.raises(ValueError, match=r"site 'z': invalid log_prob shape .* sizes \{-1: 3\}"):
        _pyro_private.check_site_shape(node, float("inf"))
    _pyro_private.check_site_shape(node | {"log_prob": torch.zeros(3)}, float("inf"))


def pyro_frame(name, dim, size):
    from pyro.poutine.indep_messenger import CondIndepStackFrame

    return CondIndepStackFrame(name=name, dim=dim, size=size, counter=0)


def is_private_name(name):
    return name.startswith("_") and not name.startswith("__")


def private_uses(source, module):
    """Lines that import a private name of torch or Pyro, or read one from the module ``torch``."""
    private = {path for table in TABLES for path in table.values()}
    for line, name in imports(source, module):
        library, *parts = name.split(".")
        is_private = name in private or any(map(is_private_name, parts))
        if library in ("torch", "pyro", "arviz") and is_private:
            yield f"{module}:{line} imports {name}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and is_private_name(node.attr):
            if re.fullmatch(r"(torch|pyro|arviz)(\.\w+)*", ast.unparse(node.value)):
                yield f"{module}:{node.lineno} reads {ast.unparse(node)}"


def test_private_names_are_used_in_two_files_only():
    uses = [
        use
        for module, source in sources(*LIBRARY)
        if module not in PRIVATE_FILES
        for use in private_uses(source, module)
    ]
    assert uses == []


@pytest.mark.parametrize(
    "source",
    [
        "from torch._ops import OpOverload",
        "import torch._inductor",
        "from torch.fx.experimental.proxy_tensor import make_fx",
        "from pyro.util import check_site_shape",
        "torch._foreach_add_(tensors, 1)",
    ],
)
def test_a_use_of_a_private_name_is_found(source):
    assert list(private_uses(source, "ppl_disentangle.story"))
