"""Continuous factors in every metric: a perfect code scores high, noise low, and no value is a class of its own."""

import json

import numpy as np
import pytest

from ppl_disentangle import metrics
from ppl_disentangle.data import from_arrays
from ppl_disentangle.metrics.estimators.arrays import as_classes
from ppl_disentangle.metrics.evaluation import catalogue
from ppl_disentangle.runs.tables import format_scores

RNG = np.random.default_rng(0)
NUM = 1000
FACTORS = RNG.uniform(size=(NUM, 3))
PERFECT = FACTORS @ np.diag([1.0, -2.0, 3.0])
NOISE = RNG.normal(size=(NUM, 3))
HALF = NUM // 2


def split(score):
    """A score of training and test rows as a score of all rows."""

    def of_all_rows(codes, factors):
        return score(codes[:HALF], factors[:HALF], codes[HALF:], factors[HALF:])

    return of_all_rows


SCORES = {
    "mig": metrics.mig,
    "mig_sup": metrics.mig_sup,
    "dcimig": metrics.dcimig,
    "jemmig": metrics.jemmig,
    "modularity": metrics.modularity,
    "irs": metrics.irs,
    "mcc": metrics.mcc,
    "sap": lambda z, v: metrics.sap(z, v, continuous=True),
    "explicitness": split(metrics.explicitness),
    "dci": split(lambda *rows: metrics.dci(*rows, predictor="lightgbm").disentanglement),
    "infomec": lambda z, v: metrics.infomec(z, v, seed=0).explicitness,
    "factor_vae_score": lambda z, v: metrics.factor_vae_score_from_codes(z, v, seed=0),
    "beta_vae_score": lambda z, v: metrics.beta_vae_score_from_codes(z, v, seed=0),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_perfect_code_scores_high_and_noise_low(name):
    score = SCORES[name]
    assert score(PERFECT, FACTORS) > 0.8
    assert score(NOISE, FACTORS) < 0.55


def test_scores_are_those_of_the_intervals():
    intervals = as_classes(FACTORS)
    assert [len(np.unique(column)) for column in intervals.T] == [20, 20, 20]
    assert metrics.mig(PERFECT, FACTORS) == metrics.mig(PERFECT, intervals)
    # ranks of the data are as many intervals of equal size, whatever the scale of the factor
    assert metrics.mig(PERFECT, np.exp(FACTORS)) == pytest.approx(metrics.mig(PERFECT, FACTORS))


def test_few_data_with_different_numbers_are_no_classes():
    few = FACTORS[:60]
    assert [len(np.unique(column)) for column in as_classes(few).T] == [12, 12, 12]
    identifiers = np.arange(60.0)[:, None]
    assert len(np.unique(as_classes(identifiers))) == 12
    assert len(np.unique(as_classes(identifiers.astype(int)))) == 60  # integers are classes


def evaluated(data, **options):
    return metrics.evaluate(
        PERFECT[: len(data)], data, resamples=0, dci_predictor="forest", progress=False, **options
    )


def test_evaluate_takes_numbers_for_correlations_and_intervals_for_the_rest():
    skewed = np.exp(3 * FACTORS)
    data = from_arrays(np.zeros((NUM, 1), np.float32), skewed)
    names = ["mig", "mcc_pearson", "sap_continuous"]
    rows = {"num_data": 800, "num_test": 200, "seed": 0}
    scores = evaluated(data, metrics=names, **rows)
    index = np.random.default_rng(0).choice(NUM, NUM, replace=False)[:800]
    expected = {
        "mcc_pearson": metrics.mcc(PERFECT[index], skewed[index]),
        "sap_continuous": metrics.sap(PERFECT[index], skewed[index], continuous=True),
    }
    for name, value in expected.items():
        assert scores["estimate"].sel(metric=name).item() == pytest.approx(value)
    assert scores["ceiling"].sel(metric="mcc_pearson").item() == pytest.approx(1.0)
    assert evaluated(skewed, metrics=names, **rows).equals(scores)


def test_names_that_identify_rows_are_left_out():
    persons = np.array([f"p{i}" for i in range(NUM)])
    data = from_arrays(np.zeros((NUM, 1), np.float32), {"person": persons, "angle": FACTORS[:, 0]})
    assert evaluated(data, metrics="mig").attrs["factors_left_out"] == "person"
    alone = from_arrays(np.zeros((NUM, 1), np.float32), {"person": persons})
    with pytest.raises(ValueError, match="a different name in every row of person"):
        evaluated(alone, metrics="mig")


def test_a_metric_that_fails_is_nan_with_its_reason(monkeypatch):
    def fails(scored):
        raise RuntimeError("singular\nmatrix")

    index = next(i for i, metric in enumerate(catalogue.METRICS) if metric.names == ("irs",))
    changed = list(catalogue.METRICS)
    changed[index] = catalogue.METRICS[index]._replace(score=fails)
    monkeypatch.setattr("ppl_disentangle.metrics.evaluation.evaluate.METRICS", tuple(changed))
    scores = evaluated(FACTORS, metrics=["mig", "irs"])
    assert np.isnan(scores["estimate"].sel(metric="irs"))
    assert scores["estimate"].sel(metric="mig").item() > 0.75
    assert json.loads(scores.attrs["reasons"]) == {"irs": "singular matrix"}
    table = format_scores(scores)
    assert table[-1] == "– irs: singular matrix"
    assert "–" in table[2]
