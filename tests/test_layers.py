"""Imports go one way: the language knows no objective, objectives know no paper; `sites.py` reads traces."""

import ast
from importlib.util import resolve_name

import pytest
import torch

from tests import ROOT

LIBRARY = ["ppl_disentangle", "inference", "models"]
COMPOSE = ["zoo", "runs", "study", "analysis", "demo", "cli", "__main__"]
LAYERS = ["language", "inference", "models", "composition"]


def layer(module):
    """How high a module of the package stands, as an index into LAYERS."""
    match module.split(".")[1:2]:
        case ["inference"]:
            return 1
        case ["models"]:
            return 2
        case [name] if name in COMPOSE:
            return 3
    return 0


def imports(source, module):
    """Line and full name of everything that a file imports, in functions and under conditions too."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                origin = resolve_name("." * node.level + (node.module or ""), package)
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def upward_imports(source, module):
    """Imports of a higher layer than the module's own."""
    for line, name in imports(source, module):
        if name.split(".")[0] == "ppl_disentangle" and layer(name) > layer(module):
            yield f"{module}:{line} imports {name}: {LAYERS[layer(module)]} knows no {LAYERS[layer(name)]}"


def bare_imports(source, module):
    """Imports of `models` or `inference` by the bare names, under which they would load a second time."""
    for line, name in imports(source, module):
        if name.split(".")[0] in ("models", "inference"):
            yield f"{module}:{line} imports {name}: write ppl_disentangle.{name}"


def generated_optimisers(source, module):
    """Imports of optimisers that Pyro makes of torch's when it is imported: type checkers do not find them."""
    for line, name in imports(source, module):
        if name.startswith("pyro.optim.") and hasattr(torch.optim, name.rpartition(".")[2]):
            yield f"{module}:{line} imports {name}: write PyroOptim(torch.optim.{name.rpartition('.')[2]}, …)"


def trace_reads(source, module):
    """Uses of `.nodes` on anything but a graph, which by our convention is called dag or graph."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr == "nodes":
            if not last_name(node.value).endswith(("dag", "graph")):
                yield f"{module}:{node.lineno} reads {ast.unparse(node)}: only sites.py reads traces"


def last_name(node):
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lower()
        case ast.Call(func=function):
            return last_name(function)
    return ""


def sources(*folders):
    """Full name and source of every Python file, each once: what lies behind the two links is left out."""
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        moved = name.startswith(("inference.", "models."))
        yield f"ppl_disentangle.{name}" if moved else name, path.read_text()


def found_by(check, *folders):
    return [found for module, source in sources(*folders) for found in check(source, module)]


def test_every_folder_of_the_library_is_read():
    names = {module for module, _ in sources(*LIBRARY)}
    assert names >= {f"ppl_disentangle.{name}__init__" for name in ("", "inference.", "metrics.", "models.")}


def test_imports_go_one_way():
    assert found_by(upward_imports, *LIBRARY) == []


def test_nobody_imports_models_or_inference_by_their_bare_names():
    assert found_by(bare_imports, *LIBRARY, "tests", "examples", "benchmarks") == []


def test_nobody_imports_optimisers_that_type_checkers_do_not_find():
    assert found_by(generated_optimisers, *LIBRARY, "tests", "examples", "benchmarks") == []


def test_an_import_of_an_optimiser_that_pyro_makes_is_found():
    assert list(generated_optimisers("from pyro.optim import Adam", "examples.train"))
    assert not list(generated_optimisers("from pyro.optim import PyroOptim", "examples.train"))


def test_the_tests_run_on_one_thread():
    assert torch.get_num_threads() == 1


def test_only_sites_reads_the_nodes_of_traces():
    found = found_by(trace_reads, *LIBRARY)
    assert [line for line in found if not line.startswith("ppl_disentangle.sites:")] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ppl_disentangle.story", "from ppl_disentangle.inference import BetaELBO"),
        ("ppl_disentangle.story", "from ppl_disentangle import models"),
        ("ppl_disentangle.story", "import ppl_disentangle.models.bases.isotropic as isotropic"),
        ("ppl_disentangle.story", "from . import models"),
        ("ppl_disentangle.story", "from ppl_disentangle.zoo import ZOO"),
        ("ppl_disentangle.story", "def objective():\n    from ppl_disentangle.inference import BetaELBO"),
        ("ppl_disentangle.story", "if TYPE_CHECKING:\n    from ppl_disentangle.models import BetaVAE"),
        ("ppl_disentangle.story", "importlib.import_module('ppl_disentangle.models')"),
        ("ppl_disentangle.metrics.mig", "from ..inference import fit"),
        ("ppl_disentangle.inference.term", "from ppl_disentangle.models.bases.isotropic import IsotropicVAE"),
        ("ppl_disentangle.models.paper", "from ppl_disentangle.cli.main import main"),
    ],
)
def test_an_upward_import_is_found(module, source):
    assert list(upward_imports(source, module))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ppl_disentangle.story", "from ppl_disentangle.sites import latents"),
        ("ppl_disentangle.inference.term", "from ppl_disentangle.story import GenerativeStory"),
        ("ppl_disentangle.models.paper", "from ppl_disentangle.inference import TCELBO"),
        ("ppl_disentangle.zoo", "from ppl_disentangle.models import BetaVAE"),
        ("ppl_disentangle.story", "from torch.nn import models"),
    ],
)
def test_a_downward_import_is_allowed(module, source):
    assert not list(upward_imports(source, module))


@pytest.mark.parametrize(
    "source",
    [
        "import models",
        "import inference.loop",
        "from models.paper import PaperVAE",
        "from inference import fit",
    ],
)
def test_a_bare_import_is_found(source):
    assert list(bare_imports(source, "examples.train"))


@pytest.mark.parametrize(
    "source",
    ["trace.nodes", "guide_trace.nodes['z']", "trace(model).get_trace(x).nodes", "self.tr.nodes.items()"],
)
def test_a_read_of_a_trace_is_found(source):
    assert list(trace_reads(source, "ppl_disentangle.inference.term"))


@pytest.mark.parametrize("source", ["dag.nodes", "self.graph.nodes", "nx.DiGraph(edges).nodes"])
def test_a_read_of_a_graph_is_allowed(source):
    assert not list(trace_reads(source, "ppl_disentangle.causal.structural"))
