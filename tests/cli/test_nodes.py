"""The command line on stories whose latents are the nodes of a graph: labels, interventions, counterfactuals."""

import json
import re

import numpy as np
import pytest
import torch

from ppl_disentangle import counterfactual, shift
from ppl_disentangle.cli.main import main
from ppl_disentangle.runs.after_training import show_interventions
from ppl_disentangle.runs.before_after import intervene
from ppl_disentangle.runs.drawing import draw
from ppl_disentangle.runs.folder import Run

#  light ---> shadow_length     weather -> light
#        \ /
#        / \
#  angle ---> shadow_position
STORIES = """
import torch
from torch import nn
from ppl_disentangle import StructuralPrior
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.causal.mechanisms import Categorical
from ppl_disentangle.models import CausalVAE

def networks(size=4):
    encoder = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(-3), nn.Linear(192, 2 * size))
    decoder = nn.Sequential(nn.Linear(size, 192), nn.Unflatten(-1, (3, 8, 8)), Large())
    return Gaussian(encoder), Bernoulli(decoder)

class Large(nn.Module):
    def forward(self, images):
        return images.repeat_interleave(8, -1).repeat_interleave(8, -2)

def make(data):
    return CausalVAE(StructuralPrior(data.dag), *networks())

def weather(data):
    prior = StructuralPrior("weather -> light", {"weather": Categorical}, dims={"weather": 3})
    return CausalVAE(prior, *networks(), posterior="noise")

def only_weather(data):
    return CausalVAE(StructuralPrior("weather", Categorical, dims={"weather": 3}), *networks(3), posterior="noise")
"""
QUICK = [
    "--data",
    "pendulum",
    "--steps",
    "20",
    "--batch-size",
    "16",
    "--held-out",
    "50",
    "--quiet",
    "--no-evaluate",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "mine.py").write_text(STORIES)
    return folder


@pytest.fixture(scope="module")
def nodes(folder):
    assert (
        main(
            [
                "train",
                f"{folder}/mine.py:make",
                *QUICK,
                "--labels",
                "0.5",
                "--out",
                str(folder / "nodes"),
            ]
        )
        == 0
    )
    return folder / "nodes"


@pytest.fixture(scope="module")
def classes(folder):
    assert (
        main(["train", f"{folder}/mine.py:weather", *QUICK, "--out", str(folder / "classes")]) == 0
    )
    return folder / "classes"


@pytest.fixture(scope="module")
def codes(folder):
    arguments = [
        "--data",
        "digits",
        "--steps",
        "5",
        "--latent-dim",
        "2",
        "--quiet",
        "--no-evaluate",
    ]
    assert main(["train", "beta_vae", *arguments, "--out", str(folder / "codes")]) == 0
    return folder / "codes"


def test_a_run_of_nodes_says_its_graph_and_how_many_labels_it_was_given(nodes):
    config = json.loads((nodes / "config.json").read_text())
    assert config["data"]["labels"] == 0.5
    assert config["graph"]["nodes"] == ["angle", "light", "shadow_length", "shadow_position"]
    assert ["light", "shadow_length"] in config["graph"]["edges"]


def test_the_labels_are_the_nodes_of_the_data_in_standard_deviations_of_half_of_the_units(nodes):
    fitted = Run.open(nodes).fitted()
    training, _ = fitted.data.split(50)
    labels = fitted.training.conditions(torch.arange(len(training)))["labels"]
    known = ~labels.isnan().any(-1)
    assert known.sum() == round(0.5 * len(training))
    columns = torch.stack(list(fitted.scales.standardised(training, training.values).values()), -1)
    torch.testing.assert_close(labels[known], columns[known])
    torch.testing.assert_close(columns.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(columns.std(0, correction=0), torch.ones(4))


def test_labels_of_nodes_that_the_data_lack_are_unknown_and_the_others_in_their_column(classes):
    fitted = Run.open(classes).fitted()
    training, _ = fitted.data.split(50)
    labels = fitted.training.conditions(torch.arange(10))["labels"]
    light = fitted.story.columns.index("light")
    expected = fitted.scales.standardised(training, training.values[:10])["light"]
    torch.testing.assert_close(labels[:, light], expected)
    assert labels[:, [i for i in range(4) if i != light]].isnan().all()
    assert set(fitted.scales.mean) == {"light"}


def test_an_intervention_moves_what_descends_from_it_and_nothing_else_in_units_that_the_model_draws(
    nodes, capsys
):
    assert main(["intervene", str(nodes), "--do", "light=0.5", "--num", "3"]) == 0
    shown = capsys.readouterr().out
    assert "intervention do(light = 0.5): 200 units drawn from the model" in shown
    assert "standard deviations of the labels" in shown
    assert re.search(r"light = 103\.\d \+ 25\.\d+ · value", shown)
    assert re.search(r"angle +no descendant +0% .* 0\.000", shown)
    assert re.search(r"light +set +100%", shown)
    assert re.search(r"shadow_length +descendant +100%", shown)
    assert (nodes / "figures" / "intervention_light=0.5.png").exists()
    kept = Run.open(nodes).read_tree()["intervention_light=0.5"].to_dataset()
    assert kept.attrs["rung"] == "intervention"
    assert kept.sizes["data"] == 3
    assert (kept["nodes_after"].sel(node="light") == 0.5).all()
    np.testing.assert_array_equal(
        kept["nodes_after"].sel(node="angle"), kept["nodes_before"].sel(node="angle")
    )
    assert dict(zip(kept["node"].values, kept["moved"].values, strict=True))["angle"] == 0


def test_a_counterfactual_stands_beside_the_truth_of_the_same_units(nodes, capsys):
    fitted = Run.open(nodes, progress=False).fitted()
    actions = {"light": 0.5, "angle": shift(-0.25)}
    result = intervene(fitted, actions, counterfactual=True)
    held_out = fitted.held_out
    units = fitted.scales
    index = torch.arange(50)
    was = held_out.values
    light = units.mean["light"] + 0.5 * units.scale["light"]
    angle = was[:, 0] - 0.25 * units.scale["angle"]
    values, images = held_out.counterfactual(index, {"light": light, "angle": angle})
    np.testing.assert_allclose(result["truth"], held_out.to_float(images)[:8], atol=1e-6)
    np.testing.assert_array_equal(
        result["observed"], held_out.to_float(held_out.observations(index[:8]))
    )
    moved = (values - was)[:, 2].mean() / units.scale["shadow_length"]
    assert result["true_change"].sel(node="shadow_length").item() == pytest.approx(
        moved.item(), abs=1e-4
    )
    assert result["true_change"].sel(node="angle").item() == pytest.approx(-0.25, abs=1e-4)
    alone = (
        (held_out.to_float(images) - held_out.to_float(held_out.observations(index)))
        .square()
        .mean()
        .item()
    )
    assert result.attrs["error_of_doing_nothing"] == pytest.approx(alone, rel=1e-4)
    assert result.attrs["do"] == "light = 0.5, angle += -0.25"
    assert (
        main(
            [
                "intervene",
                str(nodes),
                "--do",
                "light=0.5",
                "--do",
                "angle-=0.25",
                "--counterfactual",
            ]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert (
        f"Mean squared error of the images: {result.attrs['error']:.5f};"
        f" of the unchanged images: {alone:.5f}." in shown
    )
    assert (nodes / "figures" / "counterfactual_light=0.5_angle+=-0.25.png").exists()


def test_the_counterfactual_is_that_of_the_library(nodes):
    fitted = Run.open(nodes, progress=False).fitted()
    result = intervene(fitted, {"light": 0.5}, counterfactual=True)
    held_out = fitted.held_out
    x = held_out.to_float(held_out.observations(torch.arange(25)))
    worlds = counterfactual(fitted.story, x, [{}, {"light": 0.5}], num_samples=10)
    expected = worlds["shadow_length"].mean("draw").isel(world=1, data=slice(8))
    np.testing.assert_allclose(result["nodes_after"].sel(node="shadow_length"), expected, atol=1e-5)


def test_what_leaves_the_data_is_said_on_the_terminal_in_the_arrays_and_in_the_report(
    nodes, capsys
):
    assert main(["intervene", str(nodes), "--do", "light=40"]) == 0
    assert "warning: outside of the data: light = 40: 'light' is between" in capsys.readouterr().err
    assert (
        "'light' is between"
        in Run.open(nodes).read_tree()["intervention_light=40"].attrs["outside_data_range"]
    )
    assert main(["intervene", str(nodes), "--do", "light=0", "--counterfactual"]) == 0
    assert main(["report", str(nodes)]) == 0
    page = (nodes / "report.html").read_text()
    assert "Outside of the data: light = 40" in page
    assert "counterfactual do(light = 0): 50 held-out units as they would have been" in page
    assert "shadow_length (descendant)" in page


def test_a_truth_that_cannot_be_drawn_is_said_to_be_none(nodes, capsys):
    assert main(["intervene", str(nodes), "--do", "light=30", "--counterfactual"]) == 0
    shown = capsys.readouterr().out
    assert (
        "The true counterfactuals are not known: in the units of the data, do('light'): expected finite"
        in shown
    )


def test_a_node_of_classes_takes_a_row(classes, capsys):
    assert main(["intervene", str(classes), "--do", "weather=[0,0,1]"]) == 0
    shown = capsys.readouterr().out
    weather, light = (
        re.search(rf"{row} +(\d+)%", shown) for row in ("weather +set", "light +descendant")
    )
    assert 50 < int(weather[1]) < 80  # a third has this weather in any case
    assert light[1] == weather[1]
    assert (classes / "figures" / "intervention_weather=[0,0,1].png").exists()


def test_what_is_shown_unasked_leaves_nodes_of_classes_out(classes, folder):
    fitted = Run.open(classes, progress=False).fitted()
    draw(fitted)
    assert fitted.run.read_tree()["traversals"]["code"].values.tolist() == ["light"]
    show_interventions(fitted)
    assert {p.name.partition("=")[0] for p in (classes / "figures").glob("*light*")} == {
        "intervention_light",
        "counterfactual_light",
    }
    arguments = [*QUICK, "--out", str(folder / "only"), "--labels", "0"]
    assert (
        main(["train", f"{folder}/mine.py:only_weather", *arguments]) == 1
    )  # data and graph share no node
    assert main(["train", f"{folder}/mine.py:only_weather", *arguments[:-2]]) == 0
    only = Run.open(folder / "only", progress=False).fitted()
    draw(only)
    show_interventions(only)
    assert not list((folder / "only" / "figures").glob("*weather*"))


def test_resumed_training_with_labels_gives_the_uninterrupted_weights(folder, nodes):
    arguments = ["--labels", "0.5", "--out", str(folder / "resumed")]
    half = [a if a != "20" else "11" for a in QUICK]
    assert main(["train", f"{folder}/mine.py:make", *half, *arguments]) == 0
    config = json.loads((folder / "resumed" / "config.json").read_text())
    config["training"]["steps"] = 20
    (folder / "resumed" / "config.json").write_text(json.dumps(config))
    assert main(["train", "--resume", str(folder / "resumed"), "--no-evaluate", "--quiet"]) == 0
    whole, resumed = (f / "model.safetensors" for f in (nodes, folder / "resumed"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_labels_change_what_is_learned(folder, nodes):
    assert (
        main(
            [
                "train",
                f"{folder}/mine.py:make",
                *QUICK,
                "--labels",
                "0",
                "--out",
                str(folder / "none"),
            ]
        )
        == 0
    )
    assert (nodes / "model.safetensors").read_bytes() != (
        folder / "none" / "model.safetensors"
    ).read_bytes()
    fitted = Run.open(folder / "none", progress=False).fitted()
    result = intervene(fitted, {"light": 0.5}, counterfactual=True)
    assert result["scale"].isnull().all()
    assert result.attrs["truth"].startswith("not known, as no labels tie")


@pytest.mark.parametrize("story", ["causal_vae", "causal_vae_paper", "dear"])
def test_stories_of_the_zoo_take_graph_and_labels_from_the_data(story, tmp_path, capsys):
    arguments = [*QUICK, "--network", "burgess", "--out", str(tmp_path / "run")]
    assert main(["train", story, *[a if a != "20" else "3" for a in arguments]]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["labels"] == 1.0
    assert len(config["graph"]["edges"]) == 4
    assert main(["intervene", str(tmp_path / "run"), "--do", "light=0.5"]) == 0
    assert re.search(r"angle +no descendant +0%", capsys.readouterr().out)


ERRORS = {
    "no node": (["ligth=2"], r"no latent named 'ligth'; .* did you mean 'light'\?"),
    "not a number": (["light=NaN"], r"do\('light'\): the value is not finite"),
    "a word": (["light=bright"], "expected a number for 'light', got 'bright'"),
    "a truth value": (["light=true"], "expected a number for 'light', got 'true'"),
    "a sign": (
        ["light=+0.2"],
        r"expected a number for 'light', got '\+0.2'; to add to its value write light\+=0.2",
    ),
    "a row": (
        ["light=[1,2]"],
        r"do\('light'\): expected a value that broadcasts to \(200, 1\), got \(2, 1\)$",
    ),
    "no value": (["light"], r"expected NAME=VALUE or NAME\+=VALUE, got 'light'"),
    "twice": (["light=1", "light=2"], "'light' is set twice"),
    "an infinite shift": (["light+=Infinity"], "expected a finite amount to add, got inf"),
}


@pytest.mark.parametrize(("statements", "message"), ERRORS.values(), ids=list(ERRORS))
def test_a_wrong_intervention_is_one_line_that_says_what_is_wrong(
    statements, message, nodes, capsys
):
    assert main(["intervene", str(nodes), *(part for s in statements for part in ("--do", s))]) == 1
    error = capsys.readouterr().err.strip()
    assert re.search(message, error)
    assert "\n" not in error


def test_a_class_is_no_number(classes, capsys):
    assert main(["intervene", str(classes), "--do", "weather=1.5"]) == 1
    assert (
        "node 'weather' is one of 3 classes: expected rows such as [0.0, 0.0, 1.0]"
        in capsys.readouterr().err
    )


def test_a_run_without_nodes_has_interventions_but_no_counterfactuals(codes, capsys):
    assert main(["intervene", str(codes), "--do", "z[0]+=1"]) == 0
    assert "do(z[0] += 1): mean shift of the codes" in capsys.readouterr().out
    assert main(["intervene", str(codes), "--do", "z[0]=1", "--counterfactual"]) == 1
    assert (
        "codes has no nodes: the codes of BetaVAE follow from no graph" in capsys.readouterr().err
    )


LABELS = {
    "beyond all": (
        ["causal_vae", "--data", "pendulum", "--labels", "1.5"],
        "between 0 and 1, got 1.5",
    ),
    "data without nodes": (
        ["causal_vae", "--data", "digits", "--set", "graph=a->b", "--labels", "1"],
        "digits has no nodes",
    ),
    "a story without labels": (
        ["beta_vae", "--data", "pendulum", "--labels", "1"],
        "BetaVAE takes no labels of",
    ),
    "a graph of other nodes": (
        ["causal_vae", "--data", "pendulum", "--set", "graph=a->b", "--labels", "1"],
        "CausalVAE takes no labels of",
    ),
    "no graph": (["dear", "--data", "digits"], "DEAR needs a graph of its nodes"),
    "a cycle": (
        ["causal_vae", "--data", "digits", "--set", "graph=a->b->a"],
        "the graph has a cycle: a -> b -> a",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), LABELS.values(), ids=list(LABELS))
def test_labels_that_cannot_be_given_are_refused_before_there_is_a_run(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not list(tmp_path.iterdir())
