"""Runs that are resumed, moved, or whose data have changed; runs that could not begin."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ppl_disentangle.cli.main import main
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.runs.recipes import configure
from ppl_disentangle.storage import load_tensors

RNG = np.random.default_rng(0)
MINE = {
    "x": RNG.integers(0, 256, (200, 1, 8, 8)).astype(np.uint8),
    "factors": RNG.integers(0, 3, (200, 2)),
}
QUICK = ["--quiet", "--no-evaluate"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with ``mine.npz``, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", **MINE)
    return tmp_path


def train(*arguments):
    return main(["train", *map(str, arguments), *QUICK])


def trained(*arguments, out="run"):
    assert train("vae", "--data", "mine.npz", "--latent-dim", 2, *arguments, "--out", out) == 0
    return Run.open(out)


def test_raised_steps_go_on_bit_for_bit(mine):
    run = trained("--steps", 20)
    assert train("--resume", "run", "--steps", 33) == 0
    right = trained("--steps", 33, out="whole")
    for path in ("weights_path", "checkpoint_path"):
        found, _ = load_tensors(getattr(run, path))
        expected, _ = load_tensors(getattr(right, path))
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert Run.open("run").config["training"]["steps"] == 33
    history = run.read_group("fit")["loss"]
    assert np.array_equal(history, right.read_group("fit")["loss"])


BESIDE_RESUME = [
    (["beta_tcvae"], "its STORY is vae, got beta_tcvae"),
    (["--data", "digits"], "its --data is .*mine.npz, got digits"),
    (["--lr", "5"], "its --lr is 0.001, got 5.0"),
    (["--seed", "3"], "its --seed is 0, got 3"),
    (["--set", "beta=3"], "its --set is .'beta': None., got .'beta': 3."),
    (["--latent-dim", "9"], "its --latent-dim is 2, got 9"),
    (["--size", "9"], "its --size is None, got 9"),
    (["--held-out", "9"], "its --held-out is 40, got 9"),
    (["--labels", "0.5"], "its --labels is None, got 0.5"),
    (["--out", "other"], "its --out is None, got other"),
    (["--steps", "2"], "made for 4 steps, .* expected --steps of at least 4, got 2"),
]


def test_arguments_beside_resume_act_repeat_the_run_or_are_refused(mine, capsys):
    trained("--steps", 4)
    before = (mine / "run" / "config.json").read_text()
    for arguments, message in BESIDE_RESUME:
        assert train("--resume", "run", *arguments) == 1
        printed = capsys.readouterr().err
        assert "resume" in printed
        assert re.search(message, printed), printed
        assert len(printed.splitlines()) == 1
    assert (mine / "run" / "config.json").read_text() == before
    same = ["vae", "--data", "mine.npz", "--latent-dim", 2, "--lr", 0.001, "--steps", 4]
    assert train("--resume", "run", *same, "--device", "cpu") == 0
    assert Run.open("run").config["training"]["device"] == "cpu"


def test_a_run_of_ones_own_story_is_found_from_any_folder_and_moves_with_its_files(
    mine, monkeypatch, capsys
):
    (mine / "my.py").write_text(
        "from ppl_disentangle.zoo import build\n"
        "def make(data, width=2): return build('vae', data, latent_dim=width)\n"
    )
    assert train("my.py:make", "--data", "mine.npz", "--steps", 3, "--out", "own") == 0
    (mine / "sub").mkdir()
    monkeypatch.chdir(mine / "sub")
    evaluate = ["evaluate", "../own", "--metrics", "mig"]
    assert main(evaluate) == 0
    moved = mine / "elsewhere"
    moved.mkdir()
    for name in ("my.py", "mine.npz", "own"):
        shutil.move(mine / name, moved / name)
    assert main(["evaluate", str(moved / "own"), "--metrics", "mig"]) == 0
    (moved / "my.py").unlink()
    assert main(["evaluate", str(moved / "own"), "--metrics", "mig"]) == 1
    assert "my.py is not there any more" in capsys.readouterr().err


def changed_pixel(arrays):
    x = arrays["x"].copy()
    x[150, 0, 3, 3] ^= 1
    return {**arrays, "x": x}


def changed_factor(arrays):
    factors = arrays["factors"].copy()
    factors[7, 1] = (factors[7, 1] + 1) % 3
    return {**arrays, "factors": factors}


CHANGES = [
    (changed_pixel, "the observations have other values"),
    (changed_factor, "the factors have other values"),
    (lambda arrays: {k: v[:199] for k, v in arrays.items()}, "num data 200 became 199"),
]


def test_data_that_have_changed_since_the_training_are_refused_unless_they_are_named(mine, capsys):
    trained("--steps", 3)
    for change, message in CHANGES:
        np.savez("mine.npz", **change(MINE))
        assert main(["evaluate", "run", "--metrics", "mig"]) == 1
        assert message in capsys.readouterr().err
        assert train("--resume", "run", "--steps", 9) == 1
        assert message in capsys.readouterr().err
        assert main(["evaluate", "run", "--metrics", "mig", "--data", "mine.npz"]) == 0
        printed = capsys.readouterr().err
        assert f"warning: --data mine.npz: not the data of the training: {message}" in printed


def test_data_that_have_moved_are_named_for_every_command(mine, capsys):
    trained("--steps", 3)
    (mine / "mine.npz").rename("there.npz")
    commands = [["evaluate", "run", "--metrics", "mig"], ["traverse", "run"]]
    commands.append(["intervene", "run", "--do", "z[0]=1"])
    for command in commands:
        assert main(command) == 1
        assert "mine.npz is not there any more" in capsys.readouterr().err
        assert main([*command, "--data", "there.npz"]) == 0
        assert "warning: --data" not in capsys.readouterr().err
    np.savez("small.npz", x=MINE["x"][..., :7])
    assert main(["traverse", "run", "--data", "small.npz"]) == 1
    assert "expected observations of shape (1, 8, 8), on which" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["vae", "--data", "nowhere.npz"],
        ["no_story", "--data", "mine.npz"],
        ["vae", "--data", "mine.npz", "--device", "nowhere"],
        ["vae", "--data", "mine.npz", "--batch-size", "0"],
        ["vae", "--data", "mine.npz", "--lr", "-1"],
        ["vae", "--data", "mine.npz", "--steps", "0"],
        ["vae", "--data", "mine.npz", "--set", "beta=1"],
        ["vae", "--data", "mine.npz", "--latent-dim", "0"],
        ["vae", "--data", "mine.npz", "--held-out", "200"],
        ["vae", "--data", "mine.npz", "--size", "32"],
        ["vae", "--data", "bad.npz"],
        ["broken.py:make", "--data", "mine.npz"],
        ["broken.py:make", "--data", "mine.npz", "--latent-dim", "3"],
    ],
)
def test_what_cannot_begin_leaves_no_folder_and_one_line(mine, capsys, arguments):
    np.savez("bad.npz", x=np.full((200, 4), np.nan))
    (mine / "broken.py").write_text("def make(data): raise RuntimeError('no such\\nstory')\n")
    before = sorted(mine.iterdir())
    assert train(*arguments) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(mine.iterdir()) == before


def test_held_out_data_are_as_many_as_are_asked_for(mine):
    run = trained("--steps", 2, "--held-out", 150, "--batch-size", 8)
    fitted = run.fitted()
    assert (len(fitted.held_out), len(fitted.training)) == (150, 50)


def test_a_folder_of_classes_is_trained_in_a_size_and_evaluated_later(mine):
    for name in ("cat", "dog"):
        (mine / "photos" / name).mkdir(parents=True)
        for k in range(10):
            pixels = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(mine / "photos" / name / f"{k}.png")
    options = ["--size", "17x24", "--channels", 1, "--background", "black", "--batch-size", 8]
    assert train("vae", "--data", "photos/", *options, "--steps", 2, "--out", "run") == 0
    config = json.loads((mine / "run" / "config.json").read_text())
    assert config["data"]["observation_shape"] == [1, 17, 24]
    assert config["data"]["factors"] == {"class": 2}
    assert config["story"]["network"] == "study"
    assert Run.open("run").fitted().data.observation_shape == (1, 17, 24)
    with pytest.raises(SystemExit):
        train("vae", "--data", "photos/", "--size", "17,24")


def test_a_report_of_collapsed_codes_of_one_factor_does_not_flatter(mine, capsys):
    """The only factor is noise: nothing can be disentangled, and PCA reconstructs better."""
    np.savez("one.npz", x=MINE["x"], y=MINE["factors"][:, 0])
    arguments = ["train", "vae", "--data", "one.npz", "--steps", "2", "--quiet", "--out", "run"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "dci_disentanglement: it needs two factors, and one varies" in printed
    assert "codes: all 200 data, training rows included; bounds: the 40 held-out data" in printed
    metrics = Run.open("run").read_group("metrics")
    assert np.isnan(
        metrics["estimate"].sel(metric=["dci_disentanglement", "factor_vae_score"])
    ).all()
    assert np.isfinite(metrics["estimate"].sel(metric="dci_completeness"))
    page = " ".join((mine / "run" / "report.html").read_text().split())
    assert "All 10 codes have collapsed: none varies with the data." in page
    pca = metrics["baseline_estimate"].sel(baseline="PCA", metric="log_likelihood").item()
    assert metrics["estimate"].sel(metric="log_likelihood") < pca
    assert "Worse than PCA with as many codes:" in page
    assert f"against −{-pca:.2f}" in page
    assert "None" not in page
    assert "training rows included" in page


def test_codes_that_are_set_outside_the_data_are_warned_of(mine, capsys):
    trained("--steps", 3)
    for action, is_outside in (("z[0]=40", True), ("z[0]+=30", True), ("z[0]=0.1", False)):
        assert main(["intervene", "run", "--do", action]) == 0
        warned = "warning: outside of the data:" in capsys.readouterr().err
        assert warned is is_outside, action


def test_settings_that_were_not_given_are_written_as_they_were_chosen(mine):
    plan = configure({"name": "vae", "options": {}, "seed": 0}, "mine.npz", {}, command="")
    assert plan.config["story"] | {"latent_dim": 10, "network": "mlp"} == plan.config["story"]
    (mine / "my.py").write_text(
        "from ppl_disentangle.zoo import build\ndef make(data): return build('vae', data)\n"
    )
    own = configure({"name": "my.py:make", "options": {}, "seed": 0}, "mine.npz", {}, command="")
    assert own.config["story"] == {"name": f"{mine}/my.py:make", "options": {}, "seed": 0}


def test_a_run_of_an_earlier_version_keeps_its_network(mine):
    np.savez("mine.npz", x=RNG.integers(0, 256, (80, 1, 20, 20)).astype(np.uint8))
    run = trained("--steps", 1, "--batch-size", 8, "--network", "mlp")
    config = run.config
    config["story"]["network"] = None
    run.write_json("config.json", config)
    assert Run.open("run").fitted().story.encoder.net[1].in_features == 400
    (mine / "run" / "config.json").write_text("{")
    assert main(["evaluate", "run"]) == 1
