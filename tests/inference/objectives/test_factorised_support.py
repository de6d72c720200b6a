"""HausdorffELBO against loops over the definition, supports whose distance is known and Pyro's own bound."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO

from ppl_disentangle.inference.objectives import factorised_support
from ppl_disentangle.inference.objectives.factorised_support import HausdorffELBO, support_distance
from tests.inference.pairs import (
    BATCH,
    DIM,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
    terms,
)

DOUBLE = {"dtype": torch.float64}
ONE_PAIR = torch.tensor([[0], [1]])


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_without_its_penalty_it_is_pyros_bound(setting, particles):
    pair = Pair(**setting)
    expected = loss_and_gradients(TraceMeanField_ELBO(**particles), pair)
    for value, reference in zip(
        loss_and_gradients(HausdorffELBO(0.0, **particles), pair), expected, strict=True
    ):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


def distance_loops(z, i, j, data):
    """The supremum over the product of the infimum over the data."""
    return max(
        min((z[a][i] - z[n][i]) ** 2 + (z[b][j] - z[n][j]) ** 2 for n in data)
        for a, b in itertools.product(data, repeat=2)
    )


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize(
    "setting", [{}, {"split": (2, 1)}, {"split": (1, 1, 1)}, SETTINGS["masked"], {"scale": 0.3}]
)
def test_the_penalty_matches_loops_for_all_splits_and_particles(setting, particles):
    pair = Pair(**setting, **DOUBLE)
    data = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    distances = [
        distance_loops(pair.loc.tolist(), i, j, data)
        for i, j in itertools.combinations(range(DIM), 2)
    ]
    expected = -NUM_DATA * sum(distances)
    assert terms(HausdorffELBO(**particles), pair)["factorised_support"].item() == pytest.approx(
        expected, rel=1e-9
    )


def test_each_term_has_its_weight():
    pair, elbo = Pair(**DOUBLE), HausdorffELBO(3.0, beta=0.5)
    parts = terms(elbo, pair)
    expected = -(parts["log_likelihood"] + 0.5 * parts["kl"] + 3 * parts["factorised_support"])
    pyro.set_rng_seed(0)
    assert elbo.loss(pair.model, pair.guide) == pytest.approx(expected.item(), rel=1e-12)


def test_a_grid_has_distance_zero_and_one_that_lacks_a_corner_the_distance_of_that_corner():
    grid = torch.tensor(list(itertools.product([0.0, 1.0, 4.0], [-1.0, 2.0])), **DOUBLE)
    assert support_distance(grid, ONE_PAIR) == 0
    corner = 5  # (4, 2), whose neighbours are (4, -1) and (1, 2)
    assert support_distance(torch.cat([grid[:corner], grid[corner + 1 :]]), ONE_PAIR) == 9


@pytest.mark.parametrize(("width", "height"), [(1.0, 1.0), (3.0, 2.0), (0.5, 7.0)])
def test_two_points_on_a_diagonal_are_apart_by_the_shorter_side(width, height):
    points = torch.tensor([[0.0, 0.0], [width, height]], **DOUBLE)
    assert support_distance(points, ONE_PAIR) == min(width, height) ** 2


def test_data_on_a_line_are_farther_from_a_product_the_longer_it_is():
    line = torch.linspace(0, 1, 9, **DOUBLE)[:, None].expand(-1, 2)
    base = support_distance(line, ONE_PAIR)
    assert base == pytest.approx(0.5)  # the corner (0, 1), nearest to (1/2, 1/2)
    for stretch in (1.5, 4.0):
        torch.testing.assert_close(support_distance(stretch * line, ONE_PAIR), stretch**2 * base)
    with_corner = torch.cat([line, torch.tensor([[0.0, 1.0]], **DOUBLE)])
    torch.testing.assert_close(
        support_distance(with_corner, ONE_PAIR), base
    )  # the other corner is as far
    with_corners = torch.cat([with_corner, torch.tensor([[1.0, 0.0]], **DOUBLE)])
    assert support_distance(with_corners, ONE_PAIR) < base


def test_the_distance_does_not_depend_on_the_order_of_data_and_pair():
    z, pairs = torch.randn(12, 4, **DOUBLE), torch.triu_indices(4, 4, 1)
    expected = support_distance(z, pairs)
    torch.testing.assert_close(support_distance(z[torch.randperm(12)], pairs), expected)
    torch.testing.assert_close(support_distance(z, pairs.flip(0)), expected)
    torch.testing.assert_close(support_distance(z - 5, pairs), expected)


def test_masked_data_count_as_if_removed():
    z, pairs = torch.randn(9, 3, **DOUBLE), torch.triu_indices(3, 3, 1)
    z[2], z[5] = 30.0, 1e-3
    mask = torch.ones(9, dtype=torch.bool)
    mask[[2, 5]] = False
    torch.testing.assert_close(
        support_distance(z, pairs, mask=mask), support_distance(z[mask], pairs)
    )


def test_blocks_change_nothing(monkeypatch):
    z, pairs = torch.randn(2, 10, 4, requires_grad=True, **DOUBLE), torch.triu_indices(4, 4, 1)
    whole = support_distance(z, pairs)
    (expected,) = torch.autograd.grad(whole.sum(), z)
    for rows in (1, 3):
        monkeypatch.setattr(factorised_support, "MAX_ELEMENTS", rows * 2 * 6 * 10 * 10)
        blocks = support_distance(z, pairs)
        torch.testing.assert_close(blocks, whole, rtol=0, atol=0)
        torch.testing.assert_close(
            torch.autograd.grad(blocks.sum(), z)[0], expected, rtol=0, atol=0
        )


def test_pairs_are_drawn_without_replacement_and_all_alike():
    means, elbo = torch.zeros(2, 5), HausdorffELBO(num_pairs=4)
    counts = torch.zeros(5, 5)
    for _ in range(2000):
        i, j = elbo._pairs(means)
        counts[i, j] += 1
        assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == 4
    chosen = counts[tuple(torch.triu_indices(5, 5, 1))]
    assert chosen.sum() == counts.sum() == 8000
    assert ((chosen / 2000 - 0.4).abs() < 4 * (0.4 * 0.6 / 2000) ** 0.5).all()
    assert HausdorffELBO()._pairs(means).tolist() == torch.triu_indices(5, 5, 1).tolist()


def test_the_penalty_of_drawn_pairs_is_the_sum_over_them():
    pair, elbo = Pair(num_data=None, **DOUBLE), HausdorffELBO(num_pairs=1)
    every = support_distance(pair.loc.detach(), torch.triu_indices(DIM, DIM, 1))
    seen = set()
    for _ in range(40):
        elbo.loss(pair.model, pair.guide)
        penalty = -elbo.last_terms["factorised_support"] / BATCH
        assert torch.isclose(penalty, every).any()
        seen.add(torch.isclose(penalty, every).nonzero()[0].item())
    assert seen == {0, 1, 2}


def test_gradients_equal_finite_differences_in_float64():
    pair = Pair(num_data=None, **DOUBLE)

    def loss(*parameters):
        pair.loc, pair.log_scale, pair.shift = parameters
        pyro.set_rng_seed(0)
        return HausdorffELBO(2.0)(pair.model, pair.guide)()

    assert torch.autograd.gradcheck(loss, tuple(pair.parameters))


def test_a_batch_of_one_has_no_penalty_and_finite_gradients():
    pair = Pair(mask=torch.arange(BATCH) == 2)
    assert terms(HausdorffELBO(), pair)["factorised_support"] == 0
    assert all(torch.isfinite(value).all() for value in loss_and_gradients(HausdorffELBO(), pair))
    assert support_distance(torch.randn(1, 2), ONE_PAIR) == 0


def test_invalid_arguments_of_hausdorff_are_refused():
    with pytest.raises(ValueError, match="num_pairs >= 1, got 0"):
        HausdorffELBO(num_pairs=0)
    with pytest.raises(
        ValueError, match="weight of 'factorised_support' that is not negative, got -1"
    ):
        HausdorffELBO(-1.0)

    def single():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(torch.zeros(4), 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(4))

    with pytest.raises(
        ValueError, match=r"a product needs two coordinates; the latents \['z'\] have one"
    ):
        HausdorffELBO().loss(single, poutine.block(single, hide=["x"]))
