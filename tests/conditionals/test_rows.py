"""The distribution of a row: the sum of its columns, each by its own likelihood."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppl_disentangle.columns import Column
from ppl_disentangle.conditionals import Row
from ppl_disentangle.conditionals.counts import ZeroInflated, negative_binomial
from ppl_disentangle.conditionals.rows import num_row_outputs

COLUMNS = (
    Column("cells", "count", loc=3.0),
    Column("age", "number"),
    Column("stage", "ordered", ("I", "II", "III")),
    Column("site", "class", ("a", "b", "c", "d")),
    Column("dead", "binary", (False, True)),
    Column("dose", "number", likelihood="student_t"),
    Column("height", "number"),
    Column("visits", "count", loc=2.0, likelihood="poisson"),
    Column("bouts", "count", loc=2.0, likelihood="zero_inflated_poisson"),
    Column("reads", "count", loc=2.0, likelihood="zero_inflated_negative_binomial"),
)


@pytest.fixture
def row():
    torch.manual_seed(0)
    return Row(nn.Linear(4, num_row_outputs(COLUMNS)), COLUMNS)


def test_the_density_is_the_sum_of_the_columns(row):
    y = row(torch.randn(64, 4))
    value = y.sample()
    parts = y.log_prob_by_column(value)
    torch.testing.assert_close(parts.sum(-1), y.log_prob(value))
    by_hand = _by_hand(row, y, value)
    torch.testing.assert_close(parts, by_hand)


def _by_hand(row, y, value):
    """Densities of the columns from distributions that are built again, column by column."""
    counts, numbers, stage, site, dead, dose, visits, bouts, reads = y.parts
    columns = {
        0: negative_binomial((counts.fn.mean[:, 0]).log(), row.families[0].log_concentration[0]),
        1: dist.Normal(numbers.fn.loc[:, 0], 1.0),
        6: dist.Normal(numbers.fn.loc[:, 1], 1.0),
        2: dist.Categorical(probs=stage.fn.probs[:, 0]),
        3: dist.Categorical(logits=site.fn.logits[:, 0]),
        4: dist.Bernoulli(probs=dead.mean()[:, 0]),
        5: dist.StudentT(1 + torch.e, dose.fn.loc[:, 0], 1.0),
        7: dist.Poisson(visits.mean()[:, 0]),
        8: ZeroInflated(dist.Poisson(bouts.fn.counts.rate[:, 0]), bouts.fn.gate_logits[:, 0]),
        9: ZeroInflated(
            negative_binomial(reads.fn.counts.mean[:, 0].log(), torch.zeros(())),
            reads.fn.gate_logits[:, 0],
        ),
    }
    densities = [columns[d].log_prob(value[:, d]) for d in range(len(COLUMNS))]
    return torch.stack(densities, -1)


def test_only_observed_elements_count(row):
    y = row(torch.randn(64, 4))
    value = y.sample()
    observed = torch.rand(64, len(COLUMNS)) < 0.5
    masked = y.observing(observed)
    expected = (y.log_prob_by_column(value) * observed).sum(-1)
    torch.testing.assert_close(masked.log_prob(value), expected)
    nothing = masked.observing(torch.zeros_like(observed))
    assert not nothing.log_prob(value).any()


def test_the_mean_is_the_mean_of_draws_and_the_mode_of_classes(row):
    y = row(torch.randn(2, 4))
    draws = y.sample((50_000,))
    numbers = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    torch.testing.assert_close(draws.mean(0)[:, numbers], y.mean[:, numbers], atol=0.15, rtol=0.05)
    assert (draws[..., 3].mode(0).values == y.mean[:, 3]).all()


def test_a_row_is_expanded_and_sampled_in_a_plate(row):
    y = row(torch.randn(5, 4))
    value = y.sample()
    expanded = y.expand((3, 5))
    assert expanded.log_prob(value).shape == (3, 5)
    torch.testing.assert_close(expanded.mean[1], y.mean)
    with poutine.trace() as drawn, pyro.plate("data", 5):
        pyro.sample("x", y, obs=value)
    torch.testing.assert_close(drawn.trace.log_prob_sum(), y.log_prob(value).sum())


def test_every_parameter_gets_a_gradient(row):
    y = row(torch.randn(64, 4))
    y.log_prob(y.sample()).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in row.parameters())


def test_a_network_with_other_outputs_is_an_error():
    with pytest.raises(ValueError, match=r"expected a network with 1 outputs, got \(4,\)"):
        Row(nn.Identity(), [Column("a", "number")])(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "numbr"), "column 'a': expected a type among number, count, .* got 'numbr'"),
        (
            ("a", "number", (), 0.0, 1.0, "poisson"),
            "column 'a' of type number: expected a likelihood among gaussian, student_t",
        ),
    ],
)
def test_an_unknown_type_or_likelihood_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        Column(*arguments)
