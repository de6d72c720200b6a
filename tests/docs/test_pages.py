"""Pages that are written by a script are as the script writes them."""

import inspect
import json
import sys

from tests import DOCS

sys.path.insert(0, str(DOCS / "templates"))

import write_metrics  # noqa: E402
import write_objectives  # noqa: E402
import write_performance  # noqa: E402
import write_results  # noqa: E402

from ppl_disentangle import inference, metrics  # noqa: E402
from ppl_disentangle.studies.grid import read_grid, trials  # noqa: E402

PARTS = {  # of metrics that are on the page, and functions that are no metric of codes
    *(
        "DCI",
        "Centrality",
        "UDR",
        "Unfairness",
        "entropies",
        "mig_per_factor",
        "mutual_information",
        "total_variation",
    ),
    *("completeness", "completeness_per_factor", "disentanglement", "disentanglement_per_code"),
    *("evaluate", "LinearCode", "ica", "pca", "best_log_likelihood", "linear_log_likelihood"),
    *(
        "marginal_log_likelihood",
        "InfoMEC",
        "modularity_per_code",
        "neighbour_information",
        "posterior_information",
    ),
}


def test_the_page_of_objectives_is_as_its_docstrings_have_it():
    assert write_objectives.page() == write_objectives.PAGE.read_text(), (
        "run python docs/templates/write_objectives.py"
    )


def test_every_objective_has_its_formula_terms_defaults_and_source_on_the_page():
    for cls in write_objectives.objectives():
        chapter = write_objectives.chapter(cls)
        assert all(
            piece in chapter for piece in ("```math", "| argument | default |", "Sources: [1]")
        ), cls.__name__
        assert '`"' in chapter, f"{cls.__name__} names no terms"


def test_the_docstrings_of_all_objectives_have_their_sections_in_one_order():
    order = ["Args", "Raises", "References", "Example"]
    for cls in write_objectives.objectives():
        sections = list(write_objectives.split(inspect.getdoc(cls))[1])
        assert sections == [name for name in order if name in sections], cls.__name__


def test_the_page_of_objectives_says_how_other_implementations_differ():
    chapters = map(write_objectives.chapter, write_objectives.objectives())
    assert sum("**Other implementations.** " in chapter for chapter in chapters) >= 14


def test_every_objective_of_the_package_is_on_the_page():
    names = {c.__name__ for c in write_objectives.objectives()}
    assert {"BetaELBO", "TCELBO", "FactorELBO", "AdversarialMI"} <= names
    assert "AggregateELBO" not in names
    assert len(names) == 21
    assert names <= set(inference.__all__)


def test_the_page_of_metrics_is_as_their_docstrings_have_it():
    assert write_metrics.page() == write_metrics.PAGE.read_text(), (
        "run python docs/templates/write_metrics.py"
    )


def test_the_page_of_results_is_what_was_measured():
    assert write_results.page() == write_results.PAGE.read_text(), (
        "run python docs/templates/write_results.py"
    )
    runs = json.loads(write_results.RESULTS.read_text())["runs"]
    planned = {(t.model, t.data, t.seed) for t in trials(read_grid(write_results.GRID))}
    assert {(run["model"], run["data"], run["seed"]) for run in runs} <= planned


def test_the_pages_of_performance_and_scaling_are_what_was_measured():
    for name, (_, path) in write_performance.PAGES.items():
        assert write_performance.page(name) == path.read_text(), (
            "run python docs/templates/write_performance.py"
        )
        assert "@" not in path.read_text()


def test_every_metric_of_the_package_is_on_the_page():
    names = [f.__name__ for f in write_metrics.metric_functions()]
    assert len(names) == len(set(names))
    assert set(names) == set(metrics.__all__) - PARTS


def test_every_metric_tells_its_formula_range_weakness_and_source():
    for metric in write_metrics.metric_functions():
        chapter = write_metrics.chapter(metric)
        needed = ["| argument | default |"]
        if not metric.__name__.endswith(
            ("_from_codes", "_of_grid")
        ):  # says what differs from the metric of that name
            needed += ["```math", "**Range:**", "**Weakness:**", "Sources: [1]"]
        assert all(piece in chapter for piece in needed), metric.__name__


def test_the_table_of_codes_has_a_row_for_every_metric_of_evaluate():
    from ppl_disentangle.metrics.evaluation.catalogue import METRIC_NAMES

    text = write_metrics.PAGE.read_text()
    assert [name for name in METRIC_NAMES if f"| {name} |" not in text] == [
        "mig_exact"
    ]  # codes have no posterior


def test_the_table_says_what_a_rotation_costs():
    scores = {
        "perfect": {"a": 1.0, "b": 0.9},
        "rotated": {"a": 0.2, "b": 0.89},
        "permuted": {"a": 0.0, "b": 0.88},
    }
    rows = write_metrics.table(scores, {"a": 0.01, "b": float("nan")}).splitlines()
    assert rows[0] == "| | perfect | rotated | permuted | rotation costs |"
    assert rows[2] == "| a | 1.000 | 0.200 ± 0.010 | 0.000 | 80% |"
    assert rows[3] == "| b | 0.900 | 0.890 | 0.880 |  |"
