"""The stories of the zoo are abstract or final, and their docstrings have one form."""

import importlib
import inspect
import pkgutil
import re

import pytest

import ppl_disentangle.models as zoo
from ppl_disentangle import GenerativeStory
from ppl_disentangle.models import ContentStyleVAE, StructuralVAE
from ppl_disentangle.zoo import build, stories, without_codes
from tests.toys import grid

HOOKS = {
    GenerativeStory: {
        *("objective", "training_data", "held_out_data", "representation"),
        *("latent_means", "check_intervention"),
    },
    ContentStyleVAE: {"content_of_group", "extend_guide", "extra_arguments"},
    StructuralVAE: {"base", "observe_labels"},
}
"""Methods with a default that subclasses may replace, by the class that defines the default."""

CONSTRUCTORS = {"__init__", "for_data"}
BULLETS = ["Story", "Guide", "Objective", "Data", "For"]
FINAL = list({**stories(), **without_codes()}.values())
DATA = (
    "images or vectors",
    "images without labels",
    "vectors",
    "pairs of",
    "groups",
    "video clips",
    "a few labels of",
    "labels of the nodes of",
    "auxiliary variables",
    "the domain of",
)
"""The phrases with which the needed data of a story may begin."""


def classes():
    """All classes that the modules of the zoo define, private ones included."""
    names = [m.name for m in pkgutil.walk_packages(zoo.__path__, f"{zoo.__name__}.")]
    modules = [importlib.import_module(name) for name in names]
    members = [member for module in modules for member in vars(module).values()]
    own = {c for c in members if inspect.isclass(c) and c.__module__.startswith(zoo.__name__)}
    return sorted(own, key=lambda c: c.__qualname__)


def overridden(story):
    """Base and name of each method that a story replaces and that its base implements."""
    for base in story.__mro__[1:]:
        if issubclass(base, GenerativeStory):
            for name, member in vars(base).items():
                implemented = not getattr(member, "__isabstractmethod__", False)
                is_method = inspect.isfunction(member) or isinstance(member, classmethod)
                if name in vars(story) and is_method and implemented:
                    yield base, name


def bullets(story):
    """The bullet list of a story's docstring, in order: names and text."""
    text = inspect.getdoc(story)
    items = re.findall(r"^- ([A-Z][\w, ]*?): (.*(?:\n  .*)*)", text, re.MULTILINE)
    return {names: " ".join(body.split()) for names, body in items}


@pytest.mark.parametrize("cls", classes(), ids=lambda c: c.__qualname__)
def test_a_class_that_can_be_built_has_no_subclass(cls):
    subclasses = [c for c in classes() if c is not cls and issubclass(c, cls)]
    assert inspect.isabstract(cls) or not subclasses


@pytest.mark.parametrize(
    "cls", [c for c in classes() if issubclass(c, GenerativeStory)], ids=lambda c: c.__name__
)
def test_a_story_replaces_only_abstract_methods_and_hooks(cls):
    for base, name in overridden(cls):
        hooks = set().union(*(HOOKS.get(c, set()) for c in base.__mro__))
        assert name in hooks | CONSTRUCTORS, f"{cls.__name__}.{name} replaces {base.__name__}'s"


def test_a_replaced_method_is_found():
    class Other(zoo.BetaVAE):
        def guide(self, x):
            pass

    assert (zoo.IsotropicVAE, "guide") in overridden(Other)
    assert "guide" not in {name for _, name in overridden(zoo.BetaVAE)}


def test_the_hooks_of_a_base_are_named_in_its_docstring():
    for base in (ContentStyleVAE, StructuralVAE):
        for hook in HOOKS[base]:
            assert f":meth:`{hook}`" in inspect.getdoc(base)


@pytest.mark.parametrize("cls", FINAL, ids=lambda c: c.__name__)
def test_the_first_sentence_of_a_story_is_short(cls):
    first, *_ = inspect.getdoc(cls).split("\n\n")
    sentence = " ".join(first.split())
    assert sentence.endswith(".")
    assert len(sentence) <= 110


@pytest.mark.parametrize("cls", FINAL, ids=lambda c: c.__name__)
def test_a_story_lists_its_parts_in_one_order(cls):
    listed = bullets(cls)
    names = [name.strip().capitalize() for key in listed for name in key.split(",")]
    assert names == BULLETS
    assert listed["Data"].startswith(DATA)


@pytest.mark.parametrize(
    "name", ["m2", "dc_ign", "ml_vae", "structured_gan", "supervised_vae", "ivae"]
)
def test_for_data_sets_nothing_after_construction(name, monkeypatch):
    cls = stories()[name]
    data = grid((3, 3))
    attributes = {}
    construct = cls.__init__

    def construct_and_record(story, *args, **options):
        construct(story, *args, **options)
        attributes.update(vars(story))

    monkeypatch.setattr(cls, "__init__", construct_and_record)
    story = build(name, data, network="mlp")
    assert vars(story).keys() == attributes.keys()
    assert all(vars(story)[key] is value for key, value in attributes.items())
