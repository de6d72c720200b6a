"""A report holds every number and figure of its run, nothing from elsewhere, and says what is missing."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from ppl_disentangle.runs.folder import Run
from ppl_disentangle.runs.report import write_report

METRICS = ["mig", "dci_informativeness", "active_units", "a_metric_of_mine"]
STEPS = 200
FIGURES = [
    "factor_map",
    "intervention_sun",
    "intervention_z[3]",
    "reconstructions",
    "terms",
    "traversals",
]
CONFIG = {
    "story": {"name": "beta_tcvae", "options": {"beta": 6.0}, "latent_dim": 10, "network": "study"},
    "data": {
        "source": "sprites",
        "name": "sprites",
        "num_data": 737280,
        "observation_shape": [1, 64, 64],
    },
    "training": {"steps": 15000, "batch_size": 64, "lr": 1e-4, "seed": 7, "precision": "float32"},
    "command": "ppl-disentangle train beta_tcvae --data sprites",
}
ENVIRONMENT = {
    "python": "3.11.7",
    "torch": "2.9.0",
    "device": "NVIDIA H100",
    "cpu": "Xeon",
    "seconds": "7325.2",
}


class Page(HTMLParser):
    """What a reader finds on a page: its text, tags, addresses, and tables by label and column."""

    def __init__(self, source):
        super().__init__()
        self.text, self.tags, self.styles, self.tables = "", [], "", []
        self.open, self.in_cell = "", False
        self.feed(source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open = tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True
        elif tag == "span":
            self.tables[-1][-1][-1] += f"[{dict(attrs)['aria-label']}]"

    def handle_endtag(self, tag):
        self.open = ""
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        if self.open == "style":
            self.styles += data
            return
        self.text += f" {data}"
        if self.in_cell:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, corner):
        """``{row: {column: text}}`` of the table with this word in its corner."""
        (rows,) = [rows for rows in self.tables if rows[0][0] == corner]
        return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}

    def attributes(self, *names):
        return [
            value for _, attributes in self.tags for n, value in attributes.items() if n in names
        ]


def metrics(**changes):
    variables = {
        "estimate": ("metric", [0.2134, 0.78, 7.0, 0.5]),
        "chance": ("metric", [0.004, 0.21, np.nan, 0.1]),
        "ceiling": ("metric", [0.9, 1.0, np.nan, 1.0]),
        "baseline_estimate": (
            ("baseline", "metric"),
            [[0.016, 0.55, 10, 0.5], [0.012, 0.83, 0, 0.4]],
        ),
    }
    return xr.Dataset(
        variables | changes, {"metric": METRICS, "baseline": ["pca", "ica"]}, {"seed": 3}
    )


def one_metric(estimate, *baselines):
    variables = {name: ("metric", [value]) for name, value in [("chance", 0.0), ("ceiling", 0.9)]}
    variables["estimate"] = ("metric", [estimate])
    if baselines:
        variables["baseline_estimate"] = (("baseline", "metric"), [[b] for b in baselines])
    names = {"baseline": ["pca", "ica"][: len(baselines)]} if baselines else {}
    return {"metrics": xr.Dataset(variables, {"metric": ["mig"]} | names)}


def training(**terms):
    """A history whose end, its last twentieth, has the given means and whose start is far from them."""
    end = STEPS // 20
    noise = np.tile([-1.0, 1.0], end // 2)
    values = {
        n: ("step", np.concatenate([np.full(STEPS - end, 1e3), v + noise]))
        for n, v in terms.items()
    }
    return xr.Dataset(values, {"step": np.arange(1, STEPS + 1)})


RESULTS = {
    "fit": training(
        loss=60.0,
        log_likelihood=-30.0,
        mutual_information=-17.0,
        total_correlation=-2.0,
        dimension_wise_kl=-4.5,
    ).assign_attrs(
        bound_terms="log_likelihood, mutual_information, total_correlation, dimension_wise_kl"
    ),
    "held_out": xr.Dataset(
        {"elbo": -55.1, "log_likelihood": -31.2, "kl": 23.9},
        attrs={"num_samples": 4, "units": "nats"},
    ),
    "metrics": metrics(),
}


def write_run(folder, *, config=CONFIG, environment=ENVIRONMENT, results=RESULTS, figures=FIGURES):
    (folder / "figures").mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if environment:
        (folder / "environment.json").write_text(json.dumps(environment))
    if results:
        run = Run(folder, {})
        for name, group in results.items():
            run.write_group(name, group)
    for number, name in enumerate(figures):
        Image.new("RGB", (4, 3), (number, 0, 0)).save(folder / "figures" / f"{name}.png")


def read(folder, **parts):
    write_run(folder, **parts)
    return Page(write_report(folder).read_text("utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text("utf-8"))


def test_the_title_names_story_and_data(page):
    assert "beta_tcvae on sprites" in page.text


@pytest.mark.parametrize(
    "fact",
    [
        "Codes 10",
        "737,280 of 1×64×64",
        "15,000",
        "Seed 7",
        "Wall time 2 h 2 min",
        "Device NVIDIA H100",
    ],
)
def test_the_facts_of_a_run_stand_on_top(page, fact):
    assert fact in page.text.partition("The metrics compare")[0]


def test_the_metrics_table_has_every_number_and_a_star_at_the_best_of_what_is_ranked(page):
    assert page.table("Metric") == {
        "MIG": {
            "this model": "[best]★0.213",
            "pca": "0.016",
            "ica": "0.012",
            "chance": "0.004",
            "ceiling": "0.900",
        },
        "DCI informativeness": {
            **{"this model": "0.780", "pca": "0.550", "ica": "[best]★0.830"},
            **{"chance": "0.210", "ceiling": "1.000"},
        },
        "Active units": {"this model": "7", "pca": "10", "ica": "0", "chance": "–", "ceiling": "–"},
        "a_metric_of_mine": {
            **{"this model": "[best]★0.500", "pca": "[best]★0.500", "ica": "0.400"},
            **{"chance": "0.100", "ceiling": "1.000"},
        },
    }
    assert "Settings: seed 3." in page.text


def test_nothing_is_the_best_where_there_is_nothing_to_compare_with(tmp_path):
    page = read(tmp_path, results=one_metric(0.3))
    assert page.table("Metric") == {
        "MIG": {"this model": "0.300", "chance": "0.000", "ceiling": "0.900"}
    }
    assert "★" not in page.text


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ((0.2134, 0.016, 0.012), "MIG 0.213: 13 × the best baseline (pca, 0.016); ceiling 0.900."),
        ((0.3, 0.1, 0.12), "MIG 0.300: 2.5 × the best baseline (ica, 0.120); ceiling 0.900."),
        ((0.3, 0.25), "MIG 0.300: 1.2 × the best baseline (pca, 0.250); ceiling 0.900."),
        ((0.3, 0.29), "MIG 0.300: level with the best baseline (pca, 0.290); ceiling 0.900."),
        ((0.3, 0.31), "MIG 0.300: level with the best baseline (pca, 0.310); ceiling 0.900."),
        ((0.1, 0.2), "MIG 0.100: below the best baseline (pca, 0.200); ceiling 0.900."),
        ((0.1, 0.0), "MIG 0.100: above the best baseline (pca, 0.000); ceiling 0.900."),
        ((0.0, 0.0), "MIG 0.000: level with the best baseline (pca, 0.000); ceiling 0.900."),
        ((0.3,), "MIG 0.300; chance 0.000, ceiling 0.900."),
    ],
)
def test_the_summary_says_in_words_how_the_model_compares(tmp_path, scores, sentence):
    assert sentence in read(tmp_path, results=one_metric(*scores)).text


def test_of_scores_that_a_good_code_has_small_the_smallest_is_marked(tmp_path):
    results = {"metrics": metrics().assign_attrs(lower_is_better="dci_completeness, mig")}
    page = read(tmp_path, results=results)
    row = page.table("Metric")["MIG"]
    assert [row[column] for column in ("this model", "pca", "ica")] == [
        "0.213",
        "0.016",
        "[best]★0.012",
    ]
    assert "MIG 0.213:" not in page.text


@pytest.mark.parametrize(
    ("scores", "written"),
    [
        ((7.0, 10.0), ["7", "10"]),
        ((2.0, 2.5), ["2.000", "2.500"]),
        ((1.0, 0.0), ["1.000", "0.000"]),
    ],
)
def test_counts_are_written_as_such_and_scores_with_three_decimals(tmp_path, scores, written):
    row = read(tmp_path, results=one_metric(*scores)).table("Metric")["MIG"]
    assert [row[column].removeprefix("[best]★") for column in ("this model", "pca")] == written


def test_costs_are_those_at_the_end_of_training_and_held_out_and_add_up(page):
    table = page.table("Cost")
    assert {label: row["end of training"] for label, row in table.items()} == {
        **{"negative ELBO": "53.50", "negative log likelihood": "30.00", "KL": "23.50"},
        **{"mutual information": "17.00", "total correlation": "2.00", "dimension-wise KL": "4.50"},
        "loss": "60.00",
    }
    held_out = {label: row["held out"] for label, row in table.items() if row["held out"] != "–"}
    assert held_out == {"negative ELBO": "55.10", "negative log likelihood": "31.20", "KL": "23.90"}
    assert "Held-out ELBO: −55.10 nats per datum." in page.text
    assert "mean of the last 10 steps. Held-out data: num samples 4." in page.text


def test_terms_that_are_no_known_split_of_the_bound_are_not_added_up_to_one(tmp_path):
    results = {"fit": training(loss=60.0, log_likelihood=-30.0, kl=-20.0, moment_penalty=-5.0)}
    assert read(tmp_path, results=results).table("Cost") == {
        "negative log likelihood": {"end of training": "30.00"},
        "KL": {"end of training": "20.00"},
        "moment penalty": {"end of training": "5.00"},
        "loss": {"end of training": "60.00"},
    }


def test_a_term_that_rounds_to_nought_has_no_sign(tmp_path):
    results = {"fit": training(loss=1.0, log_likelihood=-1.0, kl=1e-9)}
    assert read(tmp_path, results=results).table("Cost")["KL"]["end of training"] == "0.00"


def test_every_figure_is_in_the_page_byte_for_byte(page, folder):
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    inlined = [
        base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources
    ]
    assert sorted(inlined) == sorted(path.read_bytes() for path in (folder / "figures").iterdir())
    assert len(inlined) == len(FIGURES)


def test_every_figure_has_a_caption_and_a_text_in_its_place(page):
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(len(attributes["alt"]) > 20 for attributes in images)
    assert len({attributes["alt"] for attributes in images}) == len(images)
    assert [tag for tag, _ in page.tags].count("figcaption") == len(images)


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {
        tag for tag, _ in page.tags
    }
    assert all(value.startswith("data:image/png;base64,") for value in page.attributes("src"))
    assert all(value.startswith("#") for value in page.attributes("href"))
    assert not re.search(r"url\(|@import|https?:", page.styles)
    assert not [
        a for _, attributes in page.tags for a in attributes if a.startswith("on") or a == "srcset"
    ]
    assert "default-src 'none'" in "".join(page.attributes("content"))


def test_every_entry_of_the_contents_leads_to_a_section(page):
    targets = [value.removeprefix("#") for value in page.attributes("href")]
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert targets == sections == list(dict.fromkeys(targets))


def test_configuration_environment_and_command_are_there_in_full(page):
    for line in [
        "options.beta 6.0",
        "observation_shape 1, 64, 64",
        "lr 0.0001",
        "torch 2.9.0",
        "seconds 7325.2",
    ]:
        assert line in page.text
    assert "ppl-disentangle train beta_tcvae --data sprites" in page.text


def test_markup_in_names_is_text(tmp_path):
    evil = "<script>alert('x')</script><img src=https://example.org/x onerror=y>"
    config = {
        "story": {"name": evil, "options": {evil: evil}},
        "data": {"name": evil},
        "command": evil,
    }
    results = {
        "metrics": metrics().assign_coords(metric=[evil, *METRICS[1:]], baseline=[evil, "ica"])
    }
    figures = ["intervention_<b onclick=x>"]
    page = read(tmp_path, config=config, environment={evil: evil}, results=results, figures=figures)
    assert "script" not in {tag for tag, _ in page.tags}
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 1
    assert page.table("Metric")[evil][evil] == "0.016"
    assert page.text.count(evil) >= 8
    assert "intervention <b onclick=x>," in page.attributes("alt")[0]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"results": None}, "Left out: this run has no metrics"),
        (
            {"results": None},
            "Left out: this run has neither a training history nor a held-out bound.",
        ),
        ({"results": None}, "This run has neither metrics nor a held-out bound."),
        ({"results": {"fit": RESULTS["fit"]}}, "This run has no bound on held-out data."),
        (
            {"figures": ["terms"]},
            "because the run has no such figures: factor map, reconstructions, traversals.",
        ),
        ({"figures": ["terms"]}, "Left out: this run has no interventions."),
        ({"environment": None}, "Left out: the run did not record its environment."),
        ({"config": {}}, "Left out: the configuration is empty."),
        ({"config": {}}, "Left out: the run did not record its command."),
    ],
)
def test_what_is_missing_is_said(tmp_path, page, parts, sentence):
    assert sentence in read(tmp_path, **parts).text
    assert sentence not in page.text


@pytest.mark.parametrize("group", RESULTS)
def test_each_group_of_results_is_shown_without_the_others(tmp_path, group):
    page = read(tmp_path, results={group: RESULTS[group]})
    assert len(page.tables) == 1


def test_a_history_with_the_loss_alone_is_shown(tmp_path):
    assert read(tmp_path, results={"fit": training(loss=60.0)}).table("Cost") == {
        "loss": {"end of training": "60.00"}
    }


def test_a_folder_without_a_configuration_is_no_run(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no run in .*: expected the file config\.json there"
    ):
        write_report(tmp_path)


def test_the_same_run_gives_the_same_page(folder):
    before = (folder / "report.html").read_bytes()
    assert write_report(str(folder)) == folder / "report.html"
    assert (folder / "report.html").read_bytes() == before


def test_a_report_that_fails_leaves_the_one_before_it(tmp_path, monkeypatch):
    def half(path, text, encoding):
        path.write_bytes(text[: len(text) // 2].encode(encoding))
        raise OSError("no space left on device")

    write_run(tmp_path, results=None)
    before = write_report(tmp_path).read_bytes()
    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.json",
        "environment.json",
        "figures",
        "report.html",
    }


def test_the_device_of_a_run_without_an_accelerator_is_its_processor(tmp_path):
    environment = {"device": "cpu", "cpu": "EPYC, 2 cores"}
    assert "Device EPYC, 2 cores" in read(tmp_path, environment=environment, results=None).text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [("4.23", "4.2 s"), ("125", "2 min 5 s"), ("3600", "1 h 0 min"), ("59.96", "1 min 0 s")],
)
def test_wall_time_is_in_words(tmp_path, seconds, words):
    assert (
        f"Wall time {words}" in read(tmp_path, environment={"seconds": seconds}, results=None).text
    )
