"""Imports go one way, a layer for each folder, and never in a circle; only `sites.py` reads traces."""

import ast
from functools import cache
from importlib.util import resolve_name

import networkx as nx
import pytest
import torch

from tests import ROOT

LIBRARY = ["ppl_disentangle", "inference", "models"]
LAYERS = [
    ["_private_names"],
    ["_torch_private", "_pyro_private"],
    ["columns", "graph_files", "names"],
    ["graphs", "storage", "sites", "parameter_store", "posteriors", "conditionals"],
    ["observed_elements"],
    ["networks_1d", "networks_rows", "data.python_source", "data.randomness", "data"],
    ["networks"],
    ["data.drawn"],
    ["data.causal", "data.files"],
    ["data.sampled"],
    ["data.catalogue", "data.load"],
    ["data.__init__"],
    ["conditions", "observed"],
    ["story"],
    ["pairs", "missing"],
    ["decoding"],
    ["representation"],
    ["metrics.estimators", "causal.mechanisms", "plots"],
    ["causal", "metrics"],
    ["traversal", "results", "metrics.evaluation"],
    ["metrics.__init__", "plots.__init__", "causal.__init__"],
    ["inference.distributed"],
    ["inference.elbo"],
    ["inference.objectives", "inference.bounds"],
    ["inference.training"],
    ["inference.__init__"],
    ["models.bases"],
    ["models"],
    ["models.__init__"],
    ["zoo"],
    ["runs"],
    ["studies"],
    ["cli"],
    ["__main__", "__init__"],
]
"""Modules and folders of the package, lowest first; a folder's own line is for its files, a subfolder has another."""


def layer(module):
    """How high a module of the package stands, as an index into LAYERS: the layer of the longest name that leads to it.

    A package by its own name is its ``__init__``, which gathers what stands below it.
    """
    name = module.removeprefix("ppl_disentangle").removeprefix(".") or "__init__"
    heights = {member: height for height, members in enumerate(LAYERS) for member in members}
    if f"{name}.__init__" in heights:
        return heights[f"{name}.__init__"]
    parts = name.split(".")
    leading = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next(heights[prefix] for prefix in leading if prefix in heights)


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
                func=ast.Attribute(attr="import_module")
                | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def upward_imports(source, module):
    """Imports of a higher layer than the module's own."""
    for line, name in imported_modules(source, module, known_modules()):
        if layer(name) > layer(module):
            yield f"{module}:{line} imports {name}, which stands higher: see LAYERS"


def imported_modules(source, module, known):
    """Modules of the library that a file imports, with their lines; ``from module import name`` imports the module."""
    for line, name in imports(source, module):
        found = name if name in known else name.rpartition(".")[0]
        if found in known and found != module:
            yield line, found


def circles(files):
    """Sets of modules that import each other, at type-checking time too; ``files`` are pairs of name and source."""
    named = {name.removesuffix(".__init__"): source for name, source in files}
    graph = nx.DiGraph(
        (name, other) for name in named for _, other in imported_modules(named[name], name, named)
    )
    return [sorted(found) for found in nx.strongly_connected_components(graph) if len(found) > 1]


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


@cache
def known_modules():
    return frozenset(name.removesuffix(".__init__") for name, _ in sources(*LIBRARY))


def found_by(check, *folders):
    return [found for module, source in sources(*folders) for found in check(source, module)]


def test_every_folder_of_the_library_is_read():
    names = {module for module, _ in sources(*LIBRARY)}
    assert names >= {
        f"ppl_disentangle.{name}__init__" for name in ("", "inference.", "metrics.", "models.")
    }


def test_imports_go_one_way():
    assert found_by(upward_imports, *LIBRARY) == []


def test_no_modules_import_each_other():
    assert circles(sources(*LIBRARY)) == []


def test_modules_that_import_each_other_are_found():
    first = ("ppl_disentangle.one", "if TYPE_CHECKING:\n    from ppl_disentangle.two import name")
    second = ("ppl_disentangle.two", "def late():\n    from ppl_disentangle import one")
    assert circles([first, second]) == [["ppl_disentangle.one", "ppl_disentangle.two"]]
    assert circles([first, ("ppl_disentangle.two", "import torch")]) == []


def test_every_folder_has_a_layer_of_its_own():
    folders = {
        module.removeprefix("ppl_disentangle.").rpartition(".")[0]
        for module, _ in sources(*LIBRARY)
    }
    members = {member for members in LAYERS for member in members}
    assert {folder for folder in folders if folder} - members - {"inference"} == set()


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
        (
            "ppl_disentangle.story",
            "def objective():\n    from ppl_disentangle.inference import BetaELBO",
        ),
        (
            "ppl_disentangle.story",
            "if TYPE_CHECKING:\n    from ppl_disentangle.models import BetaVAE",
        ),
        ("ppl_disentangle.story", "importlib.import_module('ppl_disentangle.models')"),
        ("ppl_disentangle.metrics.mig", "from ..inference import fit"),
        (
            "ppl_disentangle.inference.elbo.term",
            "from ppl_disentangle.models.bases.isotropic import IsotropicVAE",
        ),
        ("ppl_disentangle.models.paper", "from ppl_disentangle.cli.main import main"),
    ],
)
def test_an_upward_import_is_found(module, source):
    assert list(upward_imports(source, module))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ppl_disentangle.story", "from ppl_disentangle.sites import latents"),
        (
            "ppl_disentangle.inference.elbo.term",
            "from ppl_disentangle.story import GenerativeStory",
        ),
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
    [
        "trace.nodes",
        "guide_trace.nodes['z']",
        "trace(model).get_trace(x).nodes",
        "self.tr.nodes.items()",
    ],
)
def test_a_read_of_a_trace_is_found(source):
    assert list(trace_reads(source, "ppl_disentangle.inference.elbo.term"))


@pytest.mark.parametrize("source", ["dag.nodes", "self.graph.nodes", "nx.DiGraph(edges).nodes"])
def test_a_read_of_a_graph_is_allowed(source):
    assert not list(trace_reads(source, "ppl_disentangle.causal.structural"))
