"""Published models have their published equations."""

import math

import networkx as nx
import pytest
import torch

from ppl_disentangle.data import PUBLISHED_SCMS, published_scm


def softplus(x):
    return math.log1p(math.exp(x))


def backdoor(x, u):
    return math.log1p(math.exp(x + 1)) + math.log1p(math.exp(0.5 + u)) - 3


def laplace(x7, x8, u):
    loc = 2 - math.log1p(math.exp((1.3 * x7 + x8) / 3 + 1))
    return loc + 0.6 * math.log(2 * u) if u < 0.5 else loc - 0.6 * math.log(2 - 2 * u)


# The formulas as they stand in the code of the paper, node by node, from the values of all nodes before and the noise.
FORMULAS = {
    ("chain3", "linear"): [lambda u: u, lambda x, u: 10 * x - u, lambda _, y, u: 0.25 * y + 2 * u],
    ("chain4", "linear"): [
        lambda u: u,
        lambda x, u: 5 * x - u,
        lambda _, y, u: -0.5 * y - 1.5 * u,
        lambda _, __, z, u: z + u,
    ],
    ("chain5", "linear"): [
        lambda u: u,
        lambda x, u: 10 * x - u,
        lambda _, y, u: 0.25 * y + 2 * u,
        lambda _, __, z, u: z + u,
        lambda _, __, ___, w, u: -w + u,
    ],
    ("fork", "linear"): [
        lambda u: u,
        lambda _, u: 2 - u,
        lambda x, y, u: 0.25 * y - 1.5 * x + 0.5 * u,
        lambda _, __, z, u: z + 0.25 * u,
    ],
    ("triangle", "linear"): [
        lambda u: u + 1,
        lambda x, u: 10 * x - u,
        lambda x, y, u: 0.5 * y + x + u,
    ],
    ("chain3", "nonlinear"): [
        lambda u: u,
        lambda x, u: math.exp(x / 2) + u / 4,
        lambda _, y, u: (y - 5) ** 3 / 15 + u,
    ],
    ("fork", "nonlinear"): [
        lambda u: u,
        lambda _, u: u,
        lambda x, y, u: 4 / (1 + math.exp(-x - y)) - y**2 + u / 2,
        lambda _, __, z, u: 20 / (1 + math.exp(z**2 / 2 - z)) + u,
    ],
    ("triangle", "nonlinear"): [
        lambda u: u,
        lambda x, u: 2 * x**2 + u,
        lambda x, y, u: 20 / (1 + math.exp(-(y**2) + x)) + u,
    ],
    ("simpson", "nonlinear"): [
        lambda u: u,
        lambda x, u: softplus(1 - x) + math.sqrt(0.15) * u,
        lambda x, y, u: math.tanh(2 * y) + 1.5 * x - 1 + math.tanh(u),
        lambda _, __, z, u: (z - 4) / 5 + 3 + u / math.sqrt(10),
    ],
    ("sym_prod", "nonlinear"): [
        lambda u: u,
        lambda x, u: 2 * math.tanh(2 * x) + u / math.sqrt(10),
        lambda x, y, u: 0.5 * x * y + u / math.sqrt(2),
        lambda x, _, __, u: math.tanh(1.5 * x) + math.sqrt(0.3) * u,
    ],
    ("large_backdoor", "nonlinear"): [
        lambda u: softplus(1.8 * u) - 1,
        lambda *x: 0.25 * x[-1] + 1.5 * backdoor(x[0], 0.0),
        lambda *x: backdoor(x[0], x[-1]),
        lambda *x: backdoor(x[1], x[-1]),
        lambda *x: backdoor(x[2], x[-1]),
        lambda *x: backdoor(x[3], x[-1]),
        lambda *x: backdoor(x[4], x[-1]),
        lambda *x: 0.3 * x[-1] + softplus(x[5] + 1) - 1,
        lambda *x: laplace(x[6], x[7], x[-1]),
    ],
}


@pytest.mark.parametrize("key", FORMULAS)
def test_published_models_have_their_published_equations(key):
    scm = published_scm(*key, num_data=40)
    assert len(scm.names) == len(FORMULAS[key])
    columns = [scm.names.index(f"x{k + 1}") for k in range(len(scm.names))]
    for i in range(40):
        noise = scm.noise[i, columns].tolist()
        for do in ({}, {"x2": 0.7}):
            values = []
            for k, formula in enumerate(FORMULAS[key]):
                values.append(
                    do.get(f"x{k + 1}", None) if f"x{k + 1}" in do else formula(*values, noise[k])
                )
            found = scm.intervene(torch.tensor([i]), do)[0, columns].tolist()
            assert found == pytest.approx(values, rel=1e-5, abs=1e-5)


def test_all_published_models_are_checked_and_others_refused():
    assert set(PUBLISHED_SCMS) == set(FORMULAS)
    assert published_scm("fork", "linear", num_data=3).name == "fork_linear"
    assert len(published_scm("fork", "linear")) == 25_000
    with pytest.raises(
        KeyError,
        match=r"no published model \('simpson', 'linear'\); there are \[\('chain3', 'linear'\)",
    ):
        published_scm("simpson", "linear")


# x1 ──► x2 ──► x3 ──► x4
#  ╰─────────────▲


def test_simpsons_paradox_is_one():
    values = published_scm("simpson", "nonlinear").values
    confounder, cause, effect = values[:, 0], values[:, 1], values[:, 2]
    assert torch.corrcoef(torch.stack([cause, effect]))[0, 1] < -0.3
    strata = confounder.argsort().view(250, 100)
    within = torch.stack([torch.corrcoef(torch.stack([cause[s], effect[s]]))[0, 1] for s in strata])
    assert within.mean() > 0.1


def test_the_symmetric_product_is_uncorrelated_with_its_causes():
    values = published_scm("sym_prod", "nonlinear").values
    correlation = torch.corrcoef(values.T)
    assert correlation[0, 2].abs() < 0.03
    assert correlation[1, 2].abs() < 0.03
    assert torch.corrcoef(torch.stack([values[:, 0] * values[:, 1], values[:, 2]]))[0, 1] > 0.5


def test_the_large_backdoor_has_uniform_noise():
    scm = published_scm("large_backdoor", "nonlinear")
    assert 0 < scm.noise.min() < 1e-3 < 0.999 < scm.noise.max() < 1
    assert nx.descendants(scm.dag, "x7") == {"x9"}
