"""Small data sets with known factors, and goodness-of-fit tests of draws from them."""

import math

import pytest
import torch
from scipy.stats import chisquare

from ppl_disentangle.data import Factor, FactorGrid, from_arrays

LEAST = 1e-3  # p value of a goodness-of-fit test, all seeds being fixed


class Numbers(FactorGrid):
    """Observations that are the factor classes themselves."""

    def __init__(self, *sizes, name="numbers"):
        kinds = ("categorical", "ordinal", "cyclic", "ordinal", "ordinal")
        names = ("kind", "size", "turn", "x", "y")
        self.space = tuple(
            Factor(
                n,
                tuple(float(v) for v in range(size))
                if kind != "categorical"
                else tuple("abcdefgh"[:size]),
                kind,
            )
            for n, size, kind in zip(names, sizes, kinds, strict=False)
        )
        self.name, self.observation_shape, self.maximum = name, (len(sizes),), 1

    def render(self, factors):
        return factors.float()


GRID = Numbers(3, 4, 5, 2)


MORE = Numbers(3, 4, 6, 5)


def table(grid=GRID, rows=None):
    """The same data as a grid's, without its arithmetic, or some of them."""
    index = torch.arange(len(grid)) if rows is None else rows
    classes = grid.factors(index)
    columns = {
        f.name: [f.values[c] for c in classes[:, k].tolist()] for k, f in enumerate(grid.space)
    }
    data = from_arrays(grid.observations(index), columns, name="table")
    assert torch.equal(data.factors(torch.arange(len(index))), classes)
    return data


def everything(data):
    """Classes of all members of all data, as the numbers that they are drawn as."""
    return data.observations(torch.arange(len(data))).long()


def counts(rows, sizes):
    code = torch.zeros(len(rows), dtype=torch.int64)
    for column, size in zip(rows.unbind(-1), sizes, strict=True):
        code = code * size + column
    return code.bincount(minlength=math.prod(sizes))


def assert_follows(observed, probabilities):
    """Chi-square test against exact probabilities, rare cases pooled; impossible cases do not occur."""
    observed, p = (
        observed.double().flatten(),
        probabilities.double().flatten() / probabilities.double().sum(),
    )
    assert observed[p == 0].sum() == 0
    expected = p * observed.sum()
    rare = expected < 5
    assert (~rare).sum() > 1, "too few draws for this test"
    observed, expected = (torch.cat([v[~rare], v[rare].sum()[None]]) for v in (observed, expected))
    some = expected > 0
    assert chisquare(observed[some], expected[some]).pvalue > LEAST


SOURCES = pytest.mark.parametrize("data", [GRID, table()], ids=["grid", "table"])
