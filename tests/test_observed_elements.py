"""Distributions with missing elements: the densities of what is observed, or a refusal."""

import pyro.distributions as dist
import pytest
import torch

from ppl_disentangle.columns import Column
from ppl_disentangle.conditionals import Row
from ppl_disentangle.observed_elements import filled, observing

NAN = float("nan")


def log_density(fn, value):
    """The log density of a value whose missing elements are NaN."""
    observed = ~value.isnan()
    return observing(fn, observed, "x").log_prob(filled(fn, value, observed, "x"))


ELEMENTS = {
    "normal": dist.Normal(torch.tensor([0.5, -1.0, 2.0]), 0.7),
    "log normal": dist.LogNormal(torch.zeros(3), 1.0),
    "gamma": dist.Gamma(torch.tensor([1.0, 2.0, 3.0]), 1.0),
    "beta": dist.Beta(torch.tensor([1.0, 2.0, 3.0]), 2.0),
    "uniform": dist.Uniform(torch.tensor([-3.0, 4.0, 5.0]), 9.0),
    "pareto": dist.Pareto(torch.tensor([2.0, 3.0, 4.0]), 1.0),
    "poisson": dist.Poisson(torch.tensor([1.0, 5.0, 0.2])),
    "bernoulli": dist.Bernoulli(torch.tensor([0.2, 0.5, 0.9])),
    "categorical": dist.Categorical(logits=torch.randn(3, 4)),
    "binomial": dist.Binomial(5, torch.tensor([0.2, 0.5, 0.9])),
    "von mises": dist.VonMises(torch.zeros(3), 2.0),
    "student": dist.StudentT(3.0, torch.zeros(3)),
    "mixture": dist.MixtureSameFamily(
        dist.Categorical(torch.ones(3, 2)), dist.Normal(torch.randn(3, 2), 1.0)
    ),
    "truncated": dist.TransformedDistribution(
        dist.Normal(torch.zeros(3), 1.0), [dist.transforms.SigmoidTransform()]
    ),
    "masked": dist.Normal(torch.zeros(3), 1.0).mask(torch.tensor([True, True, False])),
}


@pytest.mark.parametrize("fn", ELEMENTS.values(), ids=ELEMENTS)
def test_independent_elements_are_left_out_one_by_one(fn):
    value = fn.sample((5,)).float()
    value[torch.rand(5, 3) < 0.5] = NAN
    whole = fn.to_event(1)
    by_element = fn.log_prob(torch.where(value.isnan(), fn.sample((5,)).float(), value))
    expected = torch.where(value.isnan(), 0.0, by_element).sum(-1)
    torch.testing.assert_close(log_density(whole, value), expected)


def test_a_multivariate_normal_is_marginalised():
    factor = torch.randn(4, 2)
    covariance = factor @ factor.T + torch.eye(4)
    loc = torch.randn(6, 4)
    value = torch.randn(6, 4).masked_fill(torch.rand(6, 4) < 0.5, NAN)
    expected = dist.NanMaskedMultivariateNormal(loc, covariance).log_prob(value)
    exact = dist.MultivariateNormal(loc, covariance)
    torch.testing.assert_close(log_density(exact, value), expected)
    low_rank = dist.LowRankMultivariateNormal(loc, factor, torch.ones(4))
    torch.testing.assert_close(log_density(low_rank, value), expected)
    in_plate = observing(exact, ~value.isnan(), "x").expand((3, 6))
    torch.testing.assert_close(in_plate.log_prob(value)[1], expected)
    torch.testing.assert_close(in_plate.mean[2], loc)


def test_components_of_a_mixture_leave_out_their_elements():
    weights = torch.tensor([0.3, 0.7])
    locs = torch.randn(2, 3)
    mixture = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(locs, 1.0).to_event(1))
    value = torch.tensor([[0.5, NAN, -1.0], [NAN, NAN, 0.3]])
    columns = dist.Normal(locs, 1.0).log_prob(value.nan_to_num()[:, None])
    densities = torch.where(value.isnan()[:, None], 0.0, columns).sum(-1)
    expected = (densities + weights.log()).logsumexp(-1)
    torch.testing.assert_close(log_density(mixture, value), expected)


WHOLE = {
    "dirichlet": (dist.Dirichlet(torch.ones(3)), [0.2, 0.3, 0.5]),
    "one-hot": (dist.OneHotCategorical(torch.ones(3)), [0.0, 1.0, 0.0]),
    "flow": (
        dist.TransformedDistribution(
            dist.Normal(torch.zeros(3), 1.0).to_event(1),
            [dist.transforms.LowerCholeskyAffine(torch.zeros(3), torch.eye(3))],
        ),
        [0.2, 0.3, 0.5],
    ),
}


@pytest.mark.parametrize(("fn", "event"), WHOLE.values(), ids=WHOLE)
def test_events_that_cannot_be_marginalised_count_as_a_whole(fn, event):
    value = torch.tensor([event, [NAN, NAN, NAN]])
    expected = torch.stack([fn.log_prob(value[0]), torch.zeros(())])
    torch.testing.assert_close(log_density(fn, value), expected)


@pytest.mark.parametrize(("fn", "event"), WHOLE.values(), ids=WHOLE)
def test_a_part_of_such_an_event_is_refused_by_name(fn, event):
    value = torch.tensor([event, event])
    value[1, 0] = NAN
    with pytest.raises(
        ValueError, match=f"observed site 'x': some elements of an event of {type(fn).__name__}"
    ):
        log_density(fn, value)


def test_rows_of_a_table_leave_out_their_columns():
    row = Row(torch.nn.Identity(), [Column("a", "number"), Column("b", "count", loc=2.0)])
    y = row(torch.zeros(2, 2))
    value = torch.tensor([[0.3, NAN], [NAN, 4.0]])
    by_column = y.log_prob_by_column(torch.tensor([[0.3, 0.0], [0.0, 4.0]]))
    torch.testing.assert_close(log_density(y, value), by_column.diagonal())


def test_gradients_of_missing_elements_are_finite():
    rate = torch.ones(3, requires_grad=True)
    log_density(dist.Gamma(rate, rate).to_event(1), torch.tensor([NAN, 2.0, NAN])).backward()
    assert rate.grad[1] != 0
    assert (rate.grad[[0, 2]] == 0).all()
