"""Names of nodes and factors: which are reserved, and that all others work in every result."""

import networkx as nx
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import nn

from ppl_disentangle import GenerativeStory, as_story, encode, to_datatree
from ppl_disentangle.causal import StructuralPrior, counterfactual, do
from ppl_disentangle.causal.action_text import from_text, to_text
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import catalogue, from_arrays, load_data, with_conditions
from ppl_disentangle.data.load import NAMES
from ppl_disentangle.graphs import as_dag
from ppl_disentangle.inference import fit
from ppl_disentangle.models import (
    CausalVAE,
    CausalVAEPaper,
    DeepSCM,
    GraphVAE,
    LinearGraphStory,
    SupervisedVAE,
)
from ppl_disentangle.names import RESERVED, check_names, free_name, module_keys

EDGES = '"blood pressure" -> x; naïve -> x; a.b -> x-1; 3 -> z; type -> training; "q, r=1" -> noise; code; position'
NUM = 13

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randn(40, NUM, generator=torch.Generator().manual_seed(1))


def networks(num_codes):
    return Gaussian(nn.Linear(6, 2 * num_codes)), GaussianLearnedScale(nn.Linear(num_codes, 6))


STORIES = {
    "causal_vae": lambda: CausalVAE(StructuralPrior(EDGES), *networks(NUM)),
    "deep_scm": lambda: DeepSCM(
        StructuralPrior(EDGES),
        Gaussian(nn.Linear(6, 4)),
        GaussianLearnedScale(nn.Linear(NUM + 2, 6)),
        2,
    ),
    "causal_vae_paper": lambda: CausalVAEPaper(EDGES, *networks(NUM), dim=1),
    "supervised_vae": lambda: SupervisedVAE(*networks(NUM), NUM, StructuralPrior(EDGES).names),
    "graph_vae": lambda: GraphVAE(
        LinearGraphStory(list(StructuralPrior(EDGES).names)), *networks(NUM)
    ),
}


def column_of(story, values, name):
    """Values of a node, whether it is a site or a coordinate."""
    if name in values:
        return values[name]
    for site, names in story.coordinate_names.items():
        if name in names and f"{site}_coordinate" in values.coords:
            return values[site].sel({f"{site}_coordinate": name})
    raise KeyError(name)


@pytest.mark.parametrize("make", STORIES.values(), ids=list(STORIES))
def test_a_story_with_unusual_names_is_trained_and_its_results_are_stored(make, tmp_path):
    story = make()
    data = with_conditions(from_arrays(X), labels=LABELS, columns=story.columns)
    fit(story, data, steps=3, batch_size=20, progress=False)
    again = make()
    again.load_state_dict(story.state_dict())
    assert {"blood pressure", "x", "z", "a.b", "3"} <= set(story.columns)
    encode(story, data)
    tree = to_datatree(story, data, num_data=5, draws=2)
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as stored:
        xr.testing.assert_equal(stored["posterior"].to_dataset(), tree["posterior"].to_dataset())


@pytest.mark.parametrize("name", [name for name in STORIES if name != "graph_vae"])
def test_unusual_names_are_set_and_read(name, tmp_path):
    story = STORIES[name]()
    conditions = {"labels": LABELS[:4]} if name == "deep_scm" else {}
    actions = {"blood pressure": 2.0, "x": -1.0, "3": 0.5, "q, r=1": 0.25}
    result = counterfactual(story, X[:4], [{}, actions], num_samples=2, **conditions)
    for node, value in actions.items():
        assert (column_of(story, result.isel(world=1), node) == value).all()
    # the observations are not the node x
    assert result["x_site"].sizes == {"world": 2, "draw": 2, "data": 4, "x_site_dim_0": 6}
    result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as stored:
        xr.testing.assert_equal(stored.load(), result)
    assert do(story, {3: 0.5, "x": 0.0}).model(batch_size=5).shape == (5, 6)


def test_parameters_of_ordinary_names_keep_their_keys():
    prior = StructuralPrior("age -> dose; type -> dose; a.b -> dose")
    assert set(prior.mechanisms) == {"age", "dose", "name_0", "name_2"}
    assert prior.mechanism_of("a.b") is prior.mechanisms["name_0"]
    assert module_keys(["name_1", "type"]) == {"name_1": "name_1", "type": "name_1_site"}


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_refused_wherever_a_graph_or_a_story_is_made(name):
    message = f"'{name}' needs another name: '{name}' is .*; rename"
    makers = [
        lambda: as_dag(nx.DiGraph([(name, "b")])),
        lambda: StructuralPrior(nx.DiGraph([(name, "b")])),
        lambda: SupervisedVAE(*networks(2), 2, [name, "b"]),
        lambda: LinearGraphStory([name, "b"]),
        lambda: CausalVAEPaper([name, "b"], *networks(2), dim=1),
        lambda: type("Mine", (GenerativeStory,), {"latents": (name,)}),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=message):
            make()


DERIVED = {
    "the noise": ["a", "a_noise"],
    "the natural value under an intervention": ["a", "a_natural"],
    "the label": ["a_label", "a"],
    "the dim over the coordinates": ["a", "a_coordinate"],
    "a coordinate or a dim": ["a", "a[0]"],
}


@pytest.mark.parametrize(("reason", "names"), DERIVED.items(), ids=list(DERIVED))
def test_names_that_follow_from_another_are_refused(reason, names):
    with pytest.raises(ValueError, match=f"needs another name: it is {reason} of 'a'"):
        check_names(names)
    check_names([name for name in names if name != "a"])


@pytest.mark.parametrize("name", ["", " ", "a ", "a/b", "a\tb", "."])
def test_names_that_cannot_be_stored_are_refused(name):
    with pytest.raises(ValueError, match="needs another name"):
        check_names([name])


def test_a_pair_whose_latent_has_a_reserved_name_is_refused():
    def program(x):
        with pyro.plate("data", len(x)):
            pyro.sample("draw", dist.Normal(0.0, 1.0))

    story = as_story(program, program)
    with pytest.raises(ValueError, match="latent 'draw' needs another name"):
        encode(story, from_arrays(X))


def test_no_factor_of_our_own_data_is_reserved():
    for entry in catalogue():
        check_names(entry.factors, "factor")
    for name in NAMES:
        check_names(load_data(name).factor_names, "factor")


ACTIONS = ["blood pressure = 1", '"a, b" = [1,2], c = 3', '"a=b" += 1', "x-1 += -2", "a.b = 1"]


@pytest.mark.parametrize("text", [*ACTIONS, '"he said \\"x\\"" = 1', '"a-" = 2', "z[0] = 1"])
def test_actions_on_unusual_names_are_written_as_they_are_read(text):
    assert to_text(from_text(text)) == text


def test_a_free_name_is_never_taken():
    assert free_name("x", ["x", "x_site"]) == "x_site_site"
