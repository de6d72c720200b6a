"""Draws with shared noise, and observed values carried over to other worlds."""

import pyro.distributions as dist
import pytest
import torch

from ppl_disentangle.causal.shared_noise import draw_with_shared_noise, transport

LOC = torch.tensor([[0.0], [3.0]])


SCALE = torch.tensor([[1.0], [2.0]])


DISTRIBUTIONS = {
    "normal": lambda loc, scale: dist.Normal(loc, scale),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale),
    "several coordinates": lambda loc, scale: dist.Normal(
        loc[..., None].expand(*loc.shape, 3), 2.0
    ).to_event(1),
    "log-normal": lambda loc, scale: dist.LogNormal(loc, scale),
    "continuous Bernoulli": lambda loc, scale: dist.ContinuousBernoulli(logits=loc),
    "uniform": lambda loc, scale: dist.Uniform(loc, loc + scale),
    "fixed": lambda loc, scale: dist.Delta(loc),
    "masked": lambda loc, scale: dist.Normal(loc, scale).mask(False),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def test_each_world_has_the_draw_of_its_own_distribution_from_the_same_random_state(distribution):
    torch.manual_seed(1)
    together = draw_with_shared_noise(distribution(LOC.expand(2, 5), SCALE.expand(2, 5)))
    for k in range(2):
        torch.manual_seed(1)
        torch.testing.assert_close(
            together[k], distribution(LOC[k].expand(5), SCALE[k].expand(5))(), rtol=1e-6, atol=1e-6
        )


def test_equal_worlds_of_an_expanded_distribution_have_a_row_each():
    distribution = dist.Normal(torch.zeros(5).expand(3, 5), 1.0)
    for value in (draw_with_shared_noise(distribution), transport(distribution, torch.ones(5), 1)):
        assert value.shape == (3, 5)
        assert torch.equal(value[0], value[2])


def test_a_draw_by_quantiles_has_one_rank_in_all_worlds():
    together = draw_with_shared_noise(
        dist.Exponential(torch.tensor([[1.0], [4.0]]).expand(2, 2000))
    )
    torch.testing.assert_close(together[0], 4 * together[1])
    assert abs(together[0].mean() - 1) < 0.1


def test_an_observed_value_keeps_its_noise_in_other_worlds():
    distribution = dist.Normal(
        torch.tensor([[0.0], [3.0], [0.0]]), torch.tensor([[1.0], [2.0], [1.0]])
    )
    moved = transport(distribution.expand((3, 4)), torch.tensor([-1.0, 0.0, 0.1, 2.0]), 1)
    torch.testing.assert_close(moved[1], torch.tensor([1.0, 3.0, 3.2, 7.0]))
    assert torch.equal(moved[0], moved[2])
    assert moved[0].tolist() == torch.tensor([-1.0, 0.0, 0.1, 2.0]).tolist()


def test_an_observed_value_of_a_transformed_distribution_keeps_the_noise_of_its_base():
    value = torch.tensor([0.5, 1.0, 2.0])
    moved = transport(dist.LogNormal(LOC.expand(2, 3), SCALE.expand(2, 3)), value, 1)
    torch.testing.assert_close(moved[1], (3 + 2 * value.log()).exp())
    assert torch.equal(moved[0], value)


def test_an_observed_value_goes_through_the_transform_of_each_world():
    value, distribution = torch.tensor([0.5, 1.0, 2.0]), dist.Normal(torch.zeros(3), 1.0)
    affine = dist.transforms.AffineTransform(LOC.expand(2, 3), SCALE.expand(2, 3))
    moved = transport(
        dist.TransformedDistribution(distribution, [affine, dist.transforms.ExpTransform()]),
        value,
        1,
    )
    torch.testing.assert_close(moved[1], (3 + 2 * value.log()).exp())
    assert torch.equal(moved[0], value)


def test_a_value_whose_noise_is_not_known_is_refused():
    with pytest.raises(
        NotImplementedError, match="the noise behind a draw from Bernoulli is not known"
    ):
        transport(dist.Bernoulli(torch.rand(2, 3)), torch.ones(3), 1)
