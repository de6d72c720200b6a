"""Runs on a table: its rows come back in its units, and errors are stated by column."""

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_disentangle.cli.main import main
from ppl_disentangle.data import from_table, load_data
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.runs.rows import column_errors, format_before_after, frame_of

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "height": RANDOM.normal(170, 10, 120),
        "city": RANDOM.choice(["a", "b", "c"], 120),
        "visits": RANDOM.poisson(2, 120),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("table")
    holes = np.random.default_rng(1).random(FRAME.shape) < 0.2
    FRAME.astype(object).mask(holes).to_csv(place / "people.csv", index=False)
    run = place / "run"
    command = ["train", "vae", "--data", str(place / "people.csv"), "--steps", "3", "--quiet"]
    assert main([*command, "--out", str(run)]) == 0
    return run


def test_a_run_writes_rows_in_the_units_of_the_table(folder):
    observed = pd.read_csv(folder / "tables/observed.csv", index_col=0)
    reconstructed = pd.read_csv(folder / "tables/reconstructed.csv", index_col=0)
    source = pd.read_csv(folder.parent / "people.csv")
    pd.testing.assert_frame_equal(
        observed, source.loc[observed.index], check_dtype=False, check_names=False, rtol=1e-4
    )
    assert (reconstructed.index == observed.index).all()
    assert reconstructed.notna().to_numpy().all()
    assert abs(reconstructed["height"].mean() - 170) < 10
    assert set(reconstructed["city"]) <= {"a", "b", "c"}
    traversals = pd.read_csv(folder / "tables/traversals.csv")
    assert abs(traversals["height"].mean() - 170) < 10


def test_the_report_names_the_columns(folder):
    report = (folder / "report.html").read_text()
    assert "height (number)" in report
    assert "negative_binomial" in report


def test_rows_are_written_in_standard_units_on_demand(folder, capsys):
    assert main(["traverse", str(folder), "--units", "standard"]) == 0
    assert str(folder / "tables") in capsys.readouterr().out
    reconstructed = pd.read_csv(folder / "tables/reconstructed.csv", index_col=0)
    assert abs(reconstructed["height"].mean()) < 1


@pytest.mark.parametrize(("units", "near"), [("data", 170), ("standard", 0)])
def test_interventions_print_the_columns(folder, capsys, units, near):
    assert main(["intervene", str(folder), "--do", "z[0]=2.0", "--units", units]) == 0
    lines = capsys.readouterr().out.splitlines()
    height = next(line for line in lines if line.startswith("height"))
    assert all(abs(float(number) - near) < 15 for number in height.split()[1:])
    rows = pd.read_csv(folder / "tables/intervention_z[0]=2.csv")
    assert rows["when"].tolist() == ["before"] * 8 + ["after"] * 8


def test_types_factors_and_dropped_columns_are_options(folder, tmp_path):
    data = str(folder.parent / "people.csv")
    options = ["--types", "visits=number", "city=c,a,b", "--drop", "height", "--no-evaluate"]
    command = ["train", "vae", "--data", data, "--steps", "2", "--quiet", *options]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    columns = Run.open(tmp_path / "run", progress=False).fitted().data.columns
    assert [(column.name, column.kind) for column in columns] == [
        ("city", "ordered"),
        ("visits", "number"),
    ]
    assert columns[0].values == ("c", "a", "b")


def test_a_column_that_does_not_exist_is_one_line(folder, tmp_path, capsys):
    data = str(folder.parent / "people.csv")
    command = ["train", "vae", "--data", data, "--drop", "heigth", "--out", str(tmp_path / "run")]
    assert main(command) != 0
    error = capsys.readouterr().err.strip()
    assert "people.csv: no column named 'heigth'" in error
    assert "\n" not in error


def test_errors_are_in_the_units_of_the_table():
    data = from_table(FRAME)
    x = data.observations(torch.arange(len(data)))
    guess = x.clone()
    guess[:, 0] += 0.5
    guess[:30, 1] = (guess[:30, 1] + 1) % 3
    x[::2, 2] = float("nan")
    errors = column_errors(data, x, guess)
    scale = np.std(FRAME["height"])
    np.testing.assert_allclose(errors["error"], [0.5 * scale, 0.25, 0.0], rtol=1e-5)
    np.testing.assert_allclose(errors["error_of_constant"][0], scale, rtol=1e-5)
    most_frequent = FRAME["city"].value_counts(normalize=True).iloc[0]
    np.testing.assert_allclose(errors["error_of_constant"][1], 1 - most_frequent)
    np.testing.assert_allclose(errors["missing"], [0, 0, 0.5])


def test_rows_before_and_after_are_means_or_the_most_frequent_value():
    frame = pd.concat({"before": FRAME[:4], "after": FRAME[4:8]})
    lines = format_before_after(frame)
    assert lines[0].split() == ["column", "before", "after"]
    assert lines[1].split()[1] == f"{FRAME['height'][:4].mean():.4g}"
    assert lines[2].split()[1] == FRAME["city"][:4].mode()[0]


def test_a_run_is_opened_with_its_table(folder):
    fitted = Run.open(folder, progress=False).fitted()
    assert [column.name for column in fitted.data.columns] == list(FRAME)
    rows = fitted.held_out.observations(torch.arange(3))
    again = load_data(folder.parent / "people.csv")
    pd.testing.assert_frame_equal(frame_of(fitted.data, rows), frame_of(again, rows))
