"""Tables: types of columns, units and back, and files that cannot be used."""

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_disentangle.data import encode_rows, from_table, load_data, to_frame

ROWS = 60
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": np.where(np.arange(ROWS) % 7 == 0, np.nan, RANDOM.normal(50, 12, ROWS).round(1)),
        "cells": RANDOM.poisson(1, ROWS),
        "stage": RANDOM.integers(1, 5, ROWS),
        "city": RANDOM.choice(["Köln", "Bonn", "Aachen"], ROWS),
        "smokes": RANDOM.choice(["yes", "no"], ROWS),
        "treated": RANDOM.random(ROWS) < 0.5,
        "salary": [f"{number:,}" for number in RANDOM.integers(900, 90_000, ROWS)],
        "weight": [f"{number:.1f}".replace(".", ",") for number in RANDOM.normal(70, 9, ROWS)],
        "zip": RANDOM.choice(["01067", "50667", "53111"], ROWS),
    }
)
KINDS = {
    "age": "number",
    "cells": "count",
    "stage": "ordered",
    "city": "class",
    "smokes": "binary",
    "treated": "binary",
    "salary": "number",
    "weight": "number",
    "zip": "class",
}


def kinds(data):
    return {column.name: column.kind for column in data.columns}


def test_columns_get_the_type_whose_rule_fits():
    data = from_table(FRAME)
    assert kinds(data) == KINDS
    assert data.kind == "table"
    assert data.observation_shape == (9,)
    assert data.has_missing
    assert "9 of 540 missing" in repr(data)


def test_numbers_are_standardised_and_missing_cells_are_nan():
    x = from_table(FRAME).observations(torch.arange(ROWS)).double().numpy()
    age = FRAME["age"].to_numpy()
    expected = (age - np.nanmean(age)) / np.nanstd(age)
    np.testing.assert_allclose(x[:, 0], expected, atol=1e-6)
    assert (x[:, 1] == FRAME["cells"]).all()
    assert (x[:, 2] == FRAME["stage"] - 1).all()
    assert (x[:, 3] == FRAME["city"].map({"Aachen": 0, "Bonn": 1, "Köln": 2})).all()


def test_rows_are_decoded_to_the_cells_of_the_table():
    decoded = to_frame(from_table(FRAME))
    for name in ("age", "cells", "stage"):
        np.testing.assert_allclose(decoded[name].astype(float), FRAME[name], rtol=1e-5)
    for name in ("city", "smokes", "zip"):
        assert (decoded[name] == FRAME[name]).all()
    assert (decoded["treated"].astype(bool) == FRAME["treated"]).all()
    salary = FRAME["salary"].str.replace(",", "").astype(float)
    np.testing.assert_allclose(decoded["salary"], salary, rtol=1e-4)
    weight = FRAME["weight"].str.replace(",", ".").astype(float)
    np.testing.assert_allclose(decoded["weight"], weight, rtol=1e-5)


def test_further_rows_are_encoded_like_the_first_ones():
    data = from_table(FRAME)
    x = data.observations(torch.arange(ROWS))
    torch.testing.assert_close(encode_rows(data.columns, FRAME[10:20]), x[10:20], equal_nan=True)
    with pytest.raises(
        ValueError, match="column 'city': expected one of the values .* got 'Berlin'"
    ):
        encode_rows(data.columns, FRAME.assign(city="Berlin"))
    with pytest.raises(ValueError, match="no column named 'age'"):
        encode_rows(data.columns, FRAME.drop(columns="age"))


def test_types_and_likelihoods_are_overridden():
    data = from_table(
        FRAME,
        types={"stage": "class", "cells": "number", "city": ["Köln", "Bonn", "Aachen"]},
        likelihoods={"age": "student_t"},
    )
    columns = {column.name: column for column in data.columns}
    assert kinds(data) == KINDS | {"stage": "class", "cells": "number", "city": "ordered"}
    assert columns["age"].likelihood == "student_t"
    assert columns["city"].values == ("Köln", "Bonn", "Aachen")
    x = data.observations(torch.arange(ROWS))
    assert (x[:, 3].numpy() == FRAME["city"].map({"Aachen": 2, "Bonn": 1, "Köln": 0})).all()


def test_ordered_categories_keep_their_order():
    sizes = pd.Categorical(["S", "L", "M", None] * 5, ["S", "M", "L", "XL"], ordered=True)
    data = from_table(pd.DataFrame({"size": sizes, "x": np.arange(20.0)}))
    assert data.columns[0].kind == "ordered"
    assert data.columns[0].values == ("S", "M", "L")
    x = data.observations(torch.arange(4))
    torch.testing.assert_close(x[:, 0], torch.tensor([0, 2, 1, float("nan")]), equal_nan=True)


def test_columns_of_factors_are_no_observations():
    data = from_table(FRAME, factors=["city", "cells"], drop=["zip"])
    assert data.factor_names == ("city", "cells")
    assert set(kinds(data)) == set(KINDS) - {"city", "cells", "zip"}
    city = [data.factor_values[0][k] for k in data.factors(torch.arange(ROWS))[:, 0]]
    assert city == FRAME["city"].tolist()


def test_a_missing_cell_of_a_factor_is_a_missing_label():
    data = from_table(FRAME, factors=["age", "city"])
    missing = FRAME["age"].isna().to_numpy()
    assert (data.factors(torch.arange(ROWS))[:, 0].numpy() == -1).tolist() == missing.tolist()


def test_a_part_of_a_table_is_a_table_with_the_rows_of_the_table():
    frame = FRAME.set_index(np.array([f"p{row}" for row in range(ROWS)]))
    part, _ = from_table(frame).split(20)
    assert part.kind == "table"
    assert part.columns[0].name == "age"
    decoded = to_frame(part)
    expected = frame.loc[decoded.index, "city"]
    assert (decoded["city"] == expected).all()


def test_means_are_decoded_to_the_nearest_level_and_probabilities_stay():
    data = from_table(FRAME)
    rows = torch.tensor([[0.0, 2.5, 1.6, 2.0, 0.8, 0.3, 0.0, 0.0, 1.0]])
    decoded = to_frame(data, rows).iloc[0]
    assert abs(decoded["age"] - np.nanmean(FRAME["age"])) < 1e-6
    assert decoded["cells"] == 2.5
    assert decoded["stage"] == 3
    assert decoded["city"] == "Köln"
    assert decoded["smokes"] == "yes"
    assert abs(decoded["treated"] - 0.3) < 1e-6


TEXT = FRAME.to_csv(index=False)
FILES = {
    "utf-8 with a byte order mark": TEXT.encode("utf-8-sig"),
    "latin-1": TEXT.encode("latin-1"),
    "utf-16": TEXT.encode("utf-16"),
    "semicolons": FRAME.to_csv(index=False, sep=";").encode(),
    "an index of pandas": FRAME.to_csv().encode(),
    "blank lines": TEXT.replace("\n", "\n\n").encode(),
    "carriage returns": TEXT.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_csv_file_is_read_like_the_frame(content, tmp_path):
    path = tmp_path / "patients.csv"
    path.write_bytes(content)
    data = load_data(path)
    assert kinds(data) == KINDS
    assert data.name == "patients"
    expected = from_table(FRAME).observations(torch.arange(ROWS))
    torch.testing.assert_close(data.observations(torch.arange(ROWS)), expected, equal_nan=True)


def test_tsv_and_parquet_are_read_like_the_frame(tmp_path):
    FRAME.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    FRAME.to_parquet(tmp_path / "t.parquet")
    expected = from_table(FRAME).observations(torch.arange(ROWS))
    for name in ("t.tsv", "t.parquet"):
        x = load_data(tmp_path / name).observations(torch.arange(ROWS))
        torch.testing.assert_close(x, expected, equal_nan=True)


TABLES = {
    "": "expected a header and rows, got an empty file",
    "a,b\n": "expected rows below the header, got none",
    "a,b\n1,2\n": "expected at least two rows",
    "a,a\n1,2\n3,4\n": "expected different names of columns, got 'a' twice",
    "a,,c\n1,2,3\n4,5,6\n": "column 2 has none",
    "a,b\n1,2\n3\n": "expected 2 cells in each line, line 3 has 1",
    "a,b\n1,2\n3,4,5\n": "expected 2 cells in each line, line 3 has 3",
    "a,b\n1,2\n3,\n5,4\n1,\n": "nothing",
    "a,b\n1,\n2,NA\n": "column 'b': all its cells are missing; leave it out",
    "a,b\n1,7\n2,7\n": "column 'b': all its cells are '7'; leave it out",
    "a,b\n1,x\n2,x\n": "column 'b': all its cells are 'x'; leave it out",
    "a,b\n1,2\n2,3\n3,4\n4,oops\n": "column 'b': 3 of its 4 cells are numbers, but row 3 has 'oops'",
    "a,b\n1,2020-01-02\n2,2021-03-04\n": "column 'b': it has dates, such as '2020-01-02'",
    "a,b\n1,inf\n2,3\n": "column 'b': expected finite numbers, got inf in row 0",
    "a,b\n" + "".join(f"{k},name{k}\n" for k in range(50)): "column 'b': expected at most 1000",
    'a,b\n"1,2\n': "expected cells separated by ','",
}


@pytest.mark.parametrize(("text", "message"), TABLES.items())
def test_a_table_that_cannot_be_used_is_named_in_one_line(text, message, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text)
    if message == "nothing":
        assert from_table(path).has_missing
        return
    with pytest.raises(ValueError, match="^[^\n]*t.csv: [^\n]*$") as caught:
        from_table(path)
    assert message in str(caught.value)


def test_a_row_of_missing_cells_is_a_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1.5,2\n,\n3.5,4\n\n4.5,7\n")
    data = from_table(path)
    assert len(data) == 4
    assert data.observations(torch.tensor([1])).isnan().all()


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no parquet\n" * 9)
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,\0\n")
    for name, message in (("t.parquet", "expected a parquet file"), ("t.csv", "binary content")):
        with pytest.raises(ValueError, match=f"{name}: [^\n]*{message}[^\n]*$"):
            from_table(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": {"agee": "number"}}, "no column named 'agee'"),
        ({"types": {"age": "float"}}, "column 'age': expected a type among number"),
        ({"types": {"age": "count"}}, "column 'age': expected whole numbers from 0"),
        ({"types": {"city": "number"}}, "column 'city': expected numbers for type 'number'"),
        ({"types": {"city": "binary"}}, "column 'city': expected two different values"),
        ({"types": {"city": ["Bonn", "Köln"]}}, "column 'city': expected one of the values"),
        ({"likelihoods": {"age": "poisson"}}, "column 'age' of type number: expected a likelihood"),
        ({"factors": list(KINDS)}, "one column of observations"),
    ],
)
def test_an_option_that_does_not_fit_names_the_column(options, message):
    with pytest.raises(ValueError, match=message):
        from_table(FRAME, **options)


def test_a_frame_with_repeated_names_or_dates_is_an_error():
    repeated = pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(ValueError, match="got 'a' twice"):
        from_table(repeated)
    dates = pd.DataFrame({"a": [1, 2], "born": pd.to_datetime(["2020-01-01", "2021-01-01"])})
    with pytest.raises(ValueError, match="column 'born': it has dates"):
        from_table(dates)


def test_nullable_types_of_pandas_are_read():
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None, 30, 4], dtype="Int64"),
            "truth": pd.array([True, None, False, True], dtype="boolean"),
            "text": pd.array(["a", None, "b", "c"], dtype="string"),
        }
    )
    data = from_table(frame)
    assert [column.kind for column in data.columns] == ["number", "binary", "class"]
    assert data.observations(torch.tensor([1])).isnan().all()
