"""Metrics that need no factors: reference values, invariances and constant codes."""

import json
import math

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import (
    gaussian_total_correlation,
    mean_mutual_information,
    wasserstein_correlation,
)
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS
from tests.metrics.codes import normal

REFERENCE = json.loads((GOLDEN / "unsupervised.json").read_text())["cases"]
METRICS = {
    "gaussian_total_correlation": gaussian_total_correlation,
    "wasserstein_correlation": wasserstein_correlation,
    "wasserstein_correlation_normalised": lambda z: wasserstein_correlation(z, normalised=True),
    "mean_mutual_information": mean_mutual_information,
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("metric", METRICS)
def test_metrics_without_factors_are_the_reference_values(name, metric):
    codes = REPRESENTATIONS[name].encoder()(REPRESENTATIONS[name].factors()[:NUM_TRAIN])
    value = REFERENCE[name][metric]
    assert METRICS[metric](codes) == (math.inf if value is None else pytest.approx(value, abs=1e-6))


@every_metric
def test_metrics_ignore_order_sign_scale_and_shift(metric):
    codes = normal() @ np.linalg.cholesky(0.5 + 0.5 * np.eye(4)).T
    changed = 3 * codes[:, [2, 0, 3, 1]] * np.array([1, -1, -1, 1]) + np.array([5, 0, -2, 1.0])
    factor = 9 if metric is wasserstein_correlation else 1
    assert metric(changed) == pytest.approx(factor * metric(codes), rel=1e-6)


@every_metric
def test_constant_codes_do_no_harm(metric):
    codes = normal() @ np.linalg.cholesky(0.5 + 0.5 * np.eye(4)).T
    padded = np.hstack([codes, np.full((len(codes), 2), 0.1), np.zeros((len(codes), 1))])
    pairs = 4 * 3 / (7 * 6) if metric is mean_mutual_information else 1
    assert metric(padded) == pytest.approx(pairs * metric(codes), rel=1e-12)
    assert metric(np.full((50, 3), 0.1)) == metric(codes[:, :1]) == 0
    with pytest.raises(ValueError, match="NaN or infinity in code column 1"):
        metric(np.where(np.arange(4) == 1, np.nan, codes))
    assert metric(torch.tensor(codes)) == metric(codes)
