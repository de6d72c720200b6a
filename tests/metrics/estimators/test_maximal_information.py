"""Information coefficients against minepy and against brute force."""

import itertools

import numpy as np
import pytest

from ppl_disentangle.metrics.estimators.maximal_information import (
    concept_information,
    maximal_information,
)


def relations(number):
    x = np.random.default_rng(7).uniform(-1, 1, number)
    noise = np.random.default_rng(8).normal(size=number)
    return x, {
        "line": x,
        "sine": np.sin(4 * x) + 0.3 * noise,
        "parabola": x**2 + 0.1 * noise,
        "independent": noise,
        "steps": np.round(3 * x) + 0.0,
        "noisy steps": np.round(2 * x + 0.5 * noise),
    }


# By minepy 1.2.6: MINE(alpha=0.6, c=15, est="mic_e"), mic() and tic(norm=True), for 100 and for 500 data.
MINEPY = {
    (100, "line"): (1.0000000, 0.9739920),
    (100, "sine"): (0.6144872, 0.3220786),
    (100, "parabola"): (0.7304653, 0.4291569),
    (100, "independent"): (0.1105755, 0.0747518),
    (100, "steps"): (0.9917206, 0.8888096),
    (100, "noisy steps"): (0.6686633, 0.5899712),
    (500, "line"): (1.0000000, 0.9867039),
    (500, "sine"): (0.7539630, 0.4240395),
    (500, "parabola"): (0.7356347, 0.4727652),
    (500, "independent"): (0.0758634, 0.0356864),
    (500, "steps"): (0.9883758, 0.9210176),
    (500, "noisy steps"): (0.6659201, 0.5716589),
}


@pytest.mark.parametrize(("number", "name"), MINEPY)
def test_coefficients_are_those_of_minepy(number, name):
    x, ys = relations(number)
    mic, tic = maximal_information(x[:, None], ys[name][:, None])
    assert (mic.item(), tic.item()) == pytest.approx(MINEPY[number, name], abs=1e-6)


def information(columns, rows):
    """Mutual information in nats of two partitions."""
    joint = np.histogram2d(
        columns, rows, bins=(np.arange(columns.max() + 2), np.arange(rows.max() + 2))
    )[0]
    joint /= joint.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return (joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0])).sum()


def test_the_cuts_that_are_found_are_the_best_of_all():
    # 12 data, at most 6 cells: grids of 2 x 2, 2 x 3 and 3 x 2, one axis in equal parts, the other cut anywhere.
    rng = np.random.default_rng(3)
    x, y = rng.permutation(12), rng.normal(size=12)

    def best(free, equal, parts):
        rows = np.argsort(np.argsort(equal)) * parts // 12
        ranks = np.argsort(np.argsort(free))
        return max(information((ranks >= cut).astype(int), rows) for cut in range(1, 12)) / np.log(
            2
        )

    entries = [best(x, y, 3), best(y, x, 3), best(y, x, 2)]
    mic, tic = maximal_information(
        x[:, None], y[:, None], exponent=np.log(6.5) / np.log(12), clumps=12
    )
    assert mic.item() == pytest.approx(max(entries))
    assert tic.item() == pytest.approx(np.mean(entries))


def test_coefficients_depend_on_order_alone_and_are_0_for_a_constant():
    x, ys = relations(200)
    columns = np.stack([x, np.exp(3 * x), -x, np.zeros(200)], 1)
    mic, tic = maximal_information(columns, ys["sine"][:, None])
    assert mic.shape == tic.shape == (4, 1)
    assert mic[0] == mic[1]
    assert mic[0] == pytest.approx(mic[2], abs=0.02)
    assert mic[3] == tic[3] == 0


def test_every_pair_of_columns_is_a_coefficient_of_its_own():
    x, ys = relations(100)
    labels = np.stack([ys["line"], ys["independent"]], 1)
    both = maximal_information(labels, labels)
    for i, j in itertools.product(range(2), repeat=2):
        single = maximal_information(labels[:, [i]], labels[:, [j]])
        assert (both[0][i, j], both[1][i, j]) == (single[0].item(), single[1].item())
    assert both[0][0, 0] == pytest.approx(1.0)
    assert both[0][0, 1] < 0.4


def test_a_concept_is_compared_with_its_own_label_by_the_mean_of_its_coordinates():
    x, ys = relations(100)
    nodes = {"wave": np.stack([ys["sine"] + x, ys["sine"] - x], 1), "step": ys["steps"]}
    mic, tic = concept_information(nodes, {"step": x, "wave": x})
    for i, name in enumerate(("sine", "steps")):
        single = maximal_information(ys[name][:, None], x[:, None])
        assert (mic[i], tic[i]) == pytest.approx((single[0].item(), single[1].item()))
    with pytest.raises(KeyError, match="no label of 'wave'; there are"):
        concept_information(nodes, {"step": x})


BAD = {
    "other rows": (
        {"labels": np.zeros((3, 1))},
        "a code for each row of the labels, got 4 and 3 rows",
    ),
    "an exponent too large": (
        {"exponent": 1.5},
        "0 < exponent <= 1 and clumps >= 1, got 1.5 and 15",
    ),
    "no clumps": ({"clumps": 0}, "0 < exponent <= 1 and clumps >= 1, got 0.6 and 0"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=list(BAD))
def test_bad_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        maximal_information(np.zeros((4, 1)), **{"labels": np.zeros((4, 1)), **arguments})
