"""The catalogue: what can be built from data, and what the command line says of the rest."""

import re
from inspect import isabstract

import numpy as np
import pytest
import torch

from ppl_disentangle import models
from ppl_disentangle.causal.labels import NodeScales, with_needed_labels
from ppl_disentangle.cli.main import main
from ppl_disentangle.conditionals import Bernoulli
from ppl_disentangle.data import Pendulum, Sprites, digits
from ppl_disentangle.inference import fit
from ppl_disentangle.networks import Networks
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.zoo import (
    SUPERVISION,
    build,
    stories,
    story_options,
    summary,
    without_codes,
)
from tests.toys import grid

OF_NODES = ("causal_vae", "causal_vae_paper", "dear", "deep_scm", "graph_vae", "structural_ivae")


OF_SEVERAL_FACTORS = ("ada_gvae", "slow_vae")


def data_for(name):
    if name == "video_vae":
        return Sprites()
    if name in OF_SEVERAL_FACTORS:
        return grid((3, 3, 3))
    return Pendulum(300, size=16) if name in OF_NODES else digits()


@pytest.mark.parametrize("name", stories())
def test_a_story_is_built_from_data_and_trains_on_what_it_makes_of_them(name):
    data = data_for(name)
    story = build(name, data, likelihood="gaussian" if name in OF_SEVERAL_FACTORS else "bernoulli")
    told = with_needed_labels(story, data, NodeScales())
    history = fit(story, story.training_data(told), steps=2, batch_size=16, progress=False)
    assert bool(history.to_array().notnull().all())
    assert story.model(batch_size=3).shape == (3, *data.observation_shape)


@pytest.mark.parametrize("name", OF_NODES)
def test_a_story_of_nodes_says_that_it_needs_a_graph(name):
    with pytest.raises(ValueError, match=f"{stories()[name].__name__} needs a graph of its nodes"):
        build(name, digits())
    if name == "deep_scm":
        with pytest.raises(
            ValueError,
            match=r"needs data whose nodes are measured: of \['a', 'b'\] digits has \[\]",
        ):
            build(name, digits(), options={"graph": "a -> b"})
        return
    assert build(name, digits(), options={"graph": "a -> b"}).columns == ("a", "b")


def test_the_list_has_every_story_that_there_is_with_its_options(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{listed}" for name in stories())
    assert 'groups={"z": 10}, classes={"kind": 10}' in listed
    assert set(without_codes()) == {"linear_graph_story", "nonlinear_graph_story"}
    kinds = [c for name in models.__all__ if not isabstract(c := getattr(models, name))]
    assert sorted(map(repr, kinds)) == sorted(map(repr, (stories() | without_codes()).values()))
    with pytest.raises(
        ValueError,
        match="linear_graph_story has no latents, hence no codes .* build LinearGraphStory",
    ):
        build("linear_graph_story", digits())


@pytest.mark.parametrize(("name", "story"), (stories() | without_codes()).items())
def test_a_story_says_what_it_is_for_and_which_data_it_needs(name, story):
    """The list shows the first sentence of a docstring, and the beginning of its line of data."""
    purpose, data, supervision = summary(story)
    verb, *_ = purpose.split()
    assert re.fullmatch(r"[A-Z][a-z]+s", verb), f"{name}: begin with a verb such as Learns"
    assert purpose.endswith(".")
    assert 20 < len(purpose) <= 110
    assert 10 < len(data) <= 110
    assert not re.search(r"[`:]|\[\d", purpose + data), f"{name}: {purpose} {data}"
    assert supervision in SUPERVISION


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (
            """Learns a code from pairs.

            - Data: pairs of images, ``(batch, 2, *event)``.
            """,
            ("Learns a code from pairs.", "pairs of images", "from pairs"),
        ),
        (
            """Learns what :class:`~ppl_disentangle.models.VAE`
            learns, better. It is slower.

            - Data: images or vectors,
              without labels. They may be large.
            """,
            ("Learns what VAE learns, better.", "images or vectors, without labels", "without"),
        ),
        ("", ("", "", "from labels")),
    ],
)
def test_a_summary_is_read_from_any_docstring(docstring, expected):
    class Story(GenerativeStory):
        __doc__ = docstring

    *texts, supervision = summary(Story)
    assert tuple(texts) == expected[:2]
    assert supervision.startswith(expected[2])


def test_the_list_is_grouped_by_supervision_and_fits_a_terminal(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert max(map(len, listed.splitlines())) <= 100
    groups = [f"Stories that learn {supervision}:" for supervision in SUPERVISION]
    assert [line for line in listed.splitlines() if line.startswith("Stories that")] == groups
    beginnings = [listed.index(f"\n{n} ") for n in ("vae", "ada_gvae", "causal_vae", "m2")]
    assert beginnings == sorted(beginnings)


def test_options_are_those_of_building_and_of_the_story():
    assert list(story_options("vade")) == ["latent_dim", "num_clusters", "beta", "warm_up"]
    assert list(story_options("slow_vae")) == ["latent_dim", "rate", "beta", "gamma"]
    assert story_options("hfvae")["groups"] == {f"z{g}": 2 for g in range(1, 6)}
    story = build("vade", digits(), options={"latent_dim": 3, "num_clusters": 4})
    assert story.locs.shape == (4, 3)
    assert build("vade", digits(), latent_dim=5).locs.shape == (10, 5)
    with pytest.raises(
        ValueError, match="no option of vade named 'num_cluster'; .* did you mean 'num_clusters'"
    ):
        build("vade", digits(), options={"num_cluster": 4})


def test_a_list_of_three_numbers_is_a_schedule_and_other_lists_are_what_they_are():
    beta = build("beta_vae", digits(), options={"beta": [0, 4, 100]}).objective().weights["kl"]
    assert beta(torch.tensor(50.0)) == pytest.approx(2.0)
    nodes = ["a", "b", "c"]
    assert build("graph_vae", digits(), options={"graph": nodes}).columns == tuple(nodes)


def test_latents_in_groups_and_classes_are_trained_measured_and_drawn_from_the_command_line(
    tmp_path, capsys
):
    out = tmp_path / "run"
    options = [
        "--set",
        'groups={"a": 2, "b": 1}',
        "--set",
        'classes={"kind": 3}',
        "--steps",
        "5",
        "--batch-size",
        "32",
    ]
    assert (
        main(["train", "joint_vae", "--data", "digits", *options, "--quiet", "--out", str(out)])
        == 0
    )
    tree = Run.open(out).read_tree()
    assert sorted(tree["traversals"]["code"].values) == [
        "a[0]",
        "a[1]",
        "b[0]",
    ]  # a class takes no other numbers
    assert bool(tree["traversals"]["kl"].notnull().all())
    assert main(["intervene", str(out), "--do", "kind=[0,1,0]"]) == 0


def test_networks_are_those_that_fit_and_say_so_where_they_do_not():
    assert Networks((3, 64, 64)).kind == "study"
    assert Networks((1, 8, 8)).kind == "mlp"
    networks = Networks((3, 64, 64), "burgess", Bernoulli)
    assert networks.encoder(7)(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    assert networks.decoder(4)(torch.zeros(2, 4)).event_shape == (3, 64, 64)
    assert not torch.equal(networks.encoder(7)[0].weight, networks.encoder(7)[0].weight)
    with pytest.raises(
        ValueError,
        match="'study' takes images of shape .* of 8x8 pixels .*, the data are .*7, 9.*; use 'mlp'",
    ):
        Networks((1, 7, 9), "study")
    with pytest.raises(ValueError, match="no network named 'resnet'; there are study"):
        Networks((1, 64, 64), "resnet")


def test_a_story_that_cannot_do_without_u_is_told_it_of_held_out_data_too(tmp_path):
    run = tmp_path / "run"
    command = [
        "train",
        "ivae",
        "--data",
        "digits",
        "--steps",
        "3",
        "--batch-size",
        "32",
        "--out",
        str(run),
    ]
    assert main([*command, "--held-out", "100", "--latent-dim", "30"]) == 0
    tree = Run.open(run).read_tree()
    assert bool(tree["held_out"]["elbo"].notnull())
    assert tree["traversals"].sizes["code"] == 20  # of 30, as many as a page takes
    story = build("ivae", digits(), latent_dim=3)
    data = story.held_out_data(digits())
    index = torch.arange(20)
    assert torch.equal(data.conditions(index)["u"].argmax(-1), digits().factors(index)[:, 0])
    assert story.training_data(data) is data


def test_stories_say_which_factors_they_lack():
    with pytest.raises(
        ValueError, match=r"IVAE needs the classes of a factor: digits has \['digit'\], not 'hue'"
    ):
        build("ivae", digits(), options={"factor": "hue"})
    with pytest.raises(
        ValueError,
        match=r"VideoVAE needs factors that move and such that stay: digits has \['digit'\]",
    ):
        build("video_vae", digits())


@pytest.mark.parametrize("name", ["ali", "info_gan", "structured_gan"])
def test_games_which_have_no_bound_are_trained_measured_drawn_and_set_from_the_command_line(
    name, tmp_path, capsys
):
    out = tmp_path / "run"
    command = [
        "train",
        name,
        "--data",
        "digits",
        "--steps",
        "4",
        "--batch-size",
        "32",
        "--quiet",
        "--out",
        str(out),
    ]
    assert main([*command, "--held-out", "100"]) == 0
    printed = capsys.readouterr().out
    assert "mig" in printed
    assert "elbo" not in printed
    tree = Run.open(out).read_tree()
    assert {"posterior", "prior_predictive", "fit", "metrics", "traversals"} <= set(tree.children)
    assert not {"log_likelihood", "held_out"} & set(tree.children)
    assert bool(tree["posterior_predictive"]["x"].notnull().all())
    assert {p.stem for p in (out / "figures").glob("*.png")} >= {
        "terms",
        "traversals",
        "reconstructions",
    }
    if name != "ali":
        site = {"info_gan": "kind", "structured_gan": "y"}[name]
        assert main(["intervene", str(out), "--do", f"{site}=[{','.join(['0'] * 9)},1]"]) == 0
        assert main(["intervene", str(out), "--do", f"{site}=0.5"]) == 1
        assert "expected rows over 10 values" in capsys.readouterr().err


def test_a_game_has_no_patience_and_without_factors_nothing_is_measured(tmp_path, capsys):
    np.savez(tmp_path / "noise.npz", x=np.random.default_rng(0).random((64, 6), dtype=np.float32))
    out, story = (
        tmp_path / "run",
        ["train", "ali", "--data", str(tmp_path / "noise.npz"), "--steps", "2"],
    )
    assert main([*story, "--patience", "3", "--out", str(out)]) == 1
    assert "ALI has no bound that patience could judge by" in capsys.readouterr().err
    assert not out.exists()
    assert main([*story, "--batch-size", "8", "--out", str(out)]) == 0
    assert "nothing to measure: noise has no factors, and ALI no bound" in capsys.readouterr().out
    assert (out / "report.html").is_file()


def test_measured_nodes_are_told_of_held_out_data_in_the_units_of_the_run(tmp_path, capsys):
    out, data = tmp_path / "run", ["--data", "thickness_intensity", "--held-out", "200", "--quiet"]
    assert main(["train", "deep_scm", *data, "--labels", "0.5", "--out", str(out)]) == 1
    assert "DeepSCM needs the labels of all data" in capsys.readouterr().err
    assert (
        main(
            ["train", "deep_scm", *data, "--steps", "250", "--batch-size", "128", "--out", str(out)]
        )
        == 0
    )
    run = Run.open(out)
    fitted = run.fitted()
    training = fitted.data.split(200)[0]
    held_out = fitted.held_out
    labels = fitted.held_out_with_conditions.conditions(torch.arange(200))["labels"]
    mean, scale = training.values.mean(0), training.values.std(0, correction=0)
    torch.testing.assert_close(labels, (held_out.values - mean) / scale)
    tree = run.read_tree()
    assert set(tree["observed_data"].data_vars) == {"thickness", "intensity", "x"}
    (name,) = (n for n in tree.children if n.startswith("counterfactual"))
    after = tree[name].to_dataset().set_coords("is").swap_dims(node="is")
    assert (
        float(after["error"].sel({"is": "descendant"}))
        < float(after["error_of_doing_nothing"].sel({"is": "descendant"})) / 3
    )
    assert tree[name].attrs["error"] < tree[name].attrs["error_of_doing_nothing"] / 10
