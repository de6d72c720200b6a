"""The command line as a newcomer meets it, from the first command to a resumed run."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ppl_disentangle.cli.commands import COMMANDS
from ppl_disentangle.cli.main import main
from ppl_disentangle.data import digits
from ppl_disentangle.runs.before_after import intervene
from ppl_disentangle.runs.folder import Run, free_folder
from ppl_disentangle.zoo import build, stories

QUICK = ["--data", "digits", "--steps", "60", "--batch-size", "32", "--quiet", "--latent-dim", "4"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert (
        main(
            [
                "train",
                "beta_tcvae",
                *QUICK,
                "--set",
                "beta=2",
                "--out",
                str(folder),
                "--no-evaluate",
            ]
        )
        == 0
    )
    return folder


def test_train_writes_a_run_that_holds_what_was_asked_for(run_folder):
    config = json.loads((run_folder / "config.json").read_text())
    assert config["story"]["options"] == {
        "beta": 2,
        "warm_up": 1000,
    }  # as asked for; as in the recipe
    assert config["data"]["num_data"] == 1797
    assert config["training"]["steps"] == 60
    environment = json.loads((run_folder / "environment.json").read_text())
    assert {"torch", "pyro-ppl", "python", "cpu"} <= environment.keys()
    run = Run.open(run_folder)
    assert run.read_tree()["fit"].sizes["step"] == 60
    assert run.fitted().story.objective().weights["total_correlation"] == 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_train_compiles_the_step_where_that_is_asked_for(run_folder, tmp_path):
    assert (
        main(
            [
                "train",
                "beta_vae",
                *QUICK,
                "--compile",
                "--out",
                str(tmp_path / "run"),
                "--no-evaluate",
            ]
        )
        == 0
    )
    taken = [
        Run.open(folder).read_tree()["fit"].attrs["captured"]
        for folder in (tmp_path / "run", run_folder)
    ]
    assert taken == ["compiled", "no"]


def test_evaluate_traverse_intervene_and_report_work_on_a_run(run_folder, capsys):
    assert main(["evaluate", str(run_folder), "--dci-predictor", "forest"]) == 0
    table = capsys.readouterr().out
    assert re.search(r"this model +std error +PCA +ICA +untrained +chance +ceiling", table)
    scores = Run.open(run_folder).read_tree()["metrics"].to_dataset()
    assert f"{scores['estimate'].sel(metric='mig').item():.3f}" in table
    assert main(["traverse", str(run_folder)]) == 0
    assert main(["intervene", str(run_folder), "--do", "z[1]=2.5", "--do", "z[0]=-1"]) == 0
    assert "do(z[1] = 2.5, z[0] = -1)" in capsys.readouterr().out
    assert {p.name for p in (run_folder / "figures").iterdir()} == {
        *("terms.png", "traversals.png", "reconstructions.png", "factor_map.png"),
        "intervention_z[1]=2.5_z[0]=-1.png",
    }
    assert main(["report", str(run_folder)]) == 0
    assert (run_folder / "report.html").stat().st_size > 10_000


def test_the_intervention_is_kept_as_arrays(run_folder):
    result = intervene(Run.open(run_folder, progress=False).fitted(), {"z[2]": 1.0}, num=3)
    read = Run.open(run_folder).read_tree()["intervention_z[2]=1"].to_dataset()
    np.testing.assert_array_equal(read["after"], result["after"])
    assert read["before"].sizes["data"] == 3
    assert abs(read["after"] - read["before"]).max() > 0


def test_a_run_is_never_overwritten(run_folder, capsys):
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}
    assert main(["train", "beta_vae", *QUICK, "--out", str(run_folder)]) == 1
    assert "exists, and a run is never overwritten; choose another --out" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}


def test_data_known_by_name_are_not_mistaken_for_a_folder_that_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert main(["train", "beta_vae", *QUICK, "--steps", "2", "--out", "run", "--no-evaluate"]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["source"] == "digits"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"set -o pipefail; {sys.executable} -m ppl_disentangle list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) in ((0, ""), (141, ""))
    assert done.stdout.startswith("Stories that learn without labels")


def test_new_runs_get_free_names(tmp_path):
    (tmp_path / "demo-1").mkdir()
    assert free_folder(tmp_path / "demo") == tmp_path / "demo-2"


def test_ctrl_c_saves_says_how_to_go_on_and_going_on_gives_the_uninterrupted_weights(
    tmp_path, run_folder
):
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "ppl_disentangle", "train"]
    arguments = [*QUICK, "--set", "beta=2", "--no-evaluate"]
    many = [a if a != "60" else "100000" for a in arguments]
    process = subprocess.Popen(
        [*command, "beta_tcvae", *many, "--out", str(folder)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert f"go on with: ppl-disentangle train --resume {folder}" in errors
    steps = int(re.search(r"stopped after (\d+) steps", errors)[1]) + 20
    for path, source in ((folder, folder), (tmp_path / "whole", None)):
        if source:
            config = json.loads((folder / "config.json").read_text())
            config["training"]["steps"] = steps
            (folder / "config.json").write_text(json.dumps(config))
            assert (
                subprocess.run(
                    [*command, "--resume", str(folder), "--no-evaluate", "--quiet"]
                ).returncode
                == 0
            )
        else:
            some = [a if a != "60" else str(steps) for a in arguments]
            assert (
                subprocess.run([*command, "beta_tcvae", *some, "--out", str(path)]).returncode == 0
            )
    assert (folder / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


ERRORS = {
    "a story": (
        ["train", "beta_tcvea", *QUICK],
        "no story named 'beta_tcvea'; .* did you mean 'beta_tcvae'",
    ),
    "an option": (
        ["train", "beta_vae", *QUICK, "--set", "bet=2"],
        "no option of beta_vae named 'bet'; .* mean 'beta'",
    ),
    "data": (["train", "beta_vae", "--data", "sprite"], "sprites"),
    "a network": (
        ["train", "beta_vae", *QUICK, "--network", "conv1d"],
        r"takes signals \(channels, time\), the data are \(1, 8, 8\)",
    ),
    "a likelihood": (
        ["train", "beta_vae", *QUICK, "--likelihood", "gausian"],
        "did you mean 'gaussian'",
    ),
    "nothing to train": (["train"], "expected STORY"),
    "a setting": (
        ["train", "beta_vae", *QUICK, "--set", "beta"],
        "expected NAME=VALUE, got 'beta'",
    ),
    "a run": (["evaluate", "nowhere"], "no run in nowhere"),
    "a run to resume": (["train", "--resume", "nowhere"], "no run in nowhere"),
    "a file of one's own": (["train", "absent.py:make", "--data", "digits"], "no file .*absent.py"),
}


@pytest.mark.parametrize(("arguments", "message"), ERRORS.values(), ids=list(ERRORS))
def test_errors_are_one_line_that_names_what_came_and_what_was_expected(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert re.search(message, error)
    assert "\n" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["tarin"], "did you mean 'train'"),
        (["train", "beta_vae", "--step", "3", "--sed", "1"], "did you mean '--seed'"),
    ],
)
def test_a_misspelt_command_or_flag_gets_the_closest_match(arguments, hint, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"example:\n  ppl-disentangle {command}" in capsys.readouterr().out


def test_help_imports_no_torch():
    program = (
        "import sys; from ppl_disentangle.cli.main import parser; parser().format_help();"
        " print('torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True
        ).stdout.strip()
        == "False"
    )


def test_scores_are_those_asked_for_by_name(run_folder, capsys):
    assert main(["evaluate", str(run_folder), "--metrics", "mig", "mcc_pearson"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:]] == [
        "mig",
        "mcc_pearson",
        "log_likelihood",
        "elbo",
        "rows",
    ]
    assert main(["evaluate", str(run_folder), "--metrics", "mgi"]) == 1
    assert "no metric named 'mgi'" in capsys.readouterr().err


def test_list_names_every_story_with_its_weights(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in stories())
    assert "beta=6.0" in shown


OWN = """
import pyro, pyro.distributions as dist, torch
from torch import nn

class Digits(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 2 * size), nn.Linear(size, 64)
        self.size = size

    def model(self, x=None, *, batch_size=1):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", batch_size if x is None else len(x)):
            z = pyro.sample("code", dist.Normal(torch.zeros(self.size), 1.0).to_event(1))
            logits = self.decoder(z).unflatten(-1, (1, 8, 8))
            return pyro.sample("x", dist.Bernoulli(logits=logits, validate_args=False).to_event(3), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x.flatten(1)).chunk(2, -1)
            pyro.sample("code", dist.Normal(loc, log_scale.exp()).to_event(1))

def make(data, size=3):
    return Digits(size)
"""


def test_a_story_of_ones_own_gets_metrics_traversals_plots_and_interventions(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(OWN)
    out = tmp_path / "run"
    arguments = [
        "--data",
        "digits",
        "--steps",
        "30",
        "--quiet",
        "--out",
        str(out),
        "--set",
        "size=2",
        "--no-evaluate",
    ]
    assert main(["train", f"{tmp_path}/mine.py:make", *arguments]) == 0
    assert main(["evaluate", str(out), "--dci-predictor", "forest"]) == 0
    assert main(["traverse", str(out)]) == 0
    assert main(["intervene", str(out), "--do", "code[1]=2"]) == 0
    assert main(["report", str(out)]) == 0
    tree = Run.open(out).read_tree()
    assert {"fit", "metrics", "traversals", "posterior", "intervention_code[1]=2"} <= set(
        tree.children
    )
    assert {"log_likelihood", "kl"} <= set(tree["fit"].data_vars)
    assert tree["posterior/code"].sizes["code_coordinate"] == 2


def test_data_without_factors_get_their_bound_measured(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=(rng.random((300, 1, 6, 6)) > 0.5).astype(np.uint8))
    out = tmp_path / "run"
    arguments = ["--steps", "20", "--held-out", "50", "--quiet", "--out", str(out)]
    assert main(["train", "beta_vae", "--data", str(tmp_path / "mine.npz"), *arguments]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"log_likelihood +-\d+", shown)
    assert "mig" not in shown
    assert (out / "report.html").exists()


def test_build_leaves_the_random_state_alone_and_follows_its_seed():
    import torch

    state = torch.get_rng_state()
    first, again, other = (build("beta_vae", digits(), seed=s) for s in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    weights = [s.encoder.net[1].weight for s in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
