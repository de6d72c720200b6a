"""SparsityELBO and its proximal step against closed forms and sums."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO

from ppl_disentangle.inference import Linear
from ppl_disentangle.inference.objectives.sparsity import SparsityELBO, shrink_columns
from tests.inference.pairs import (
    BATCH,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
    terms,
)

DOUBLE = {"dtype": torch.float64}


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_without_penalties_it_is_pyros_bound(setting, particles):
    pair = Pair(**setting)
    expected = loss_and_gradients(TraceMeanField_ELBO(**particles), pair)
    for value, reference in zip(
        loss_and_gradients(SparsityELBO(**particles), pair), expected, strict=True
    ):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("split", [(3,), (2, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("setting", [{}, SETTINGS["masked"], {"scale": 0.3}])
def test_l1_is_the_sum_of_absolute_draws(setting, split):
    pair = Pair(split, **setting, **DOUBLE)
    pyro.set_rng_seed(0)
    nodes = poutine.trace(pair.guide).get_trace().nodes
    data = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    absolute = sum(
        abs(z)
        for i in range(len(pair.split))
        for n in data
        for z in nodes[f"z{i}"]["value"][n].view(-1)
    )
    expected = -pair.scale * NUM_DATA / BATCH * absolute.item()
    assert terms(SparsityELBO(l1=1.0), pair)["l1"].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", [{}, {"split": (2, 1)}, SETTINGS["masked"], {"scale": 0.3}])
def test_group_lasso_is_the_sum_of_column_norms_for_each_datum(setting, particles):
    pair = Pair(**setting, **DOUBLE)
    groups = [torch.randn(4, 3, **DOUBLE), torch.randn(2, 2, 3, **DOUBLE)]
    norms = sum(
        math.sqrt(sum(w**2 for w in g.reshape(-1, 3)[:, d].tolist()))
        for g in groups
        for d in range(3)
    )
    for columns in (groups, lambda: groups):
        elbo = SparsityELBO(group_lasso=1.0, columns=columns, **particles)
        assert terms(elbo, pair)["group_lasso"].item() == pytest.approx(
            -NUM_DATA * norms, rel=1e-12
        )
    one = SparsityELBO(group_lasso=1.0, columns=groups[0], **particles)
    expected = -NUM_DATA * groups[0].square().sum(0).sqrt().sum().item()
    assert terms(one, pair)["group_lasso"].item() == pytest.approx(expected, rel=1e-12)


def test_each_penalty_has_its_weight_and_is_computed_only_where_it_has_one():
    pair, columns = Pair(**DOUBLE), torch.ones(2, 3, **DOUBLE)
    assert set(terms(SparsityELBO(), pair)) == {"log_likelihood", "kl"}
    assert set(terms(SparsityELBO(l1=Linear(0.0, 1.0, 2)), pair)) == {"log_likelihood", "kl", "l1"}
    elbo = SparsityELBO(2.0, l1=3.0, group_lasso=5.0, columns=columns)
    parts = terms(elbo, pair)
    pyro.set_rng_seed(0)
    expected = -(
        parts["log_likelihood"] + 2 * parts["kl"] + 3 * parts["l1"] + 5 * parts["group_lasso"]
    )
    assert elbo.loss(pair.model, pair.guide) == pytest.approx(expected.item(), rel=1e-12)


def test_columns_stay_the_decoders_own_and_get_its_gradient():
    decoder = torch.nn.Linear(3, 4)
    elbo = SparsityELBO(group_lasso=2.0, columns=decoder.weight)
    assert list(elbo.parameters()) == []
    with torch.no_grad():
        decoder.weight[:, 1] = 0
    pair = Pair(num_data=None)
    elbo(pair.model, pair.guide)().backward()
    directions = decoder.weight.detach() / decoder.weight.detach().norm(dim=0).clamp(min=1e-9)
    torch.testing.assert_close(decoder.weight.grad, 2.0 * BATCH * directions)
    assert (decoder.weight.grad[:, 1] == 0).all()


def test_gradients_equal_finite_differences_in_float64():
    pair, columns = Pair(num_data=None, **DOUBLE), torch.randn(2, 3, requires_grad=True, **DOUBLE)

    def loss(columns, *parameters):
        pair.loc, pair.log_scale, pair.shift = parameters
        pyro.set_rng_seed(0)
        elbo = SparsityELBO(2.0, l1=0.5, group_lasso=0.7, columns=columns)
        return elbo(pair.model, pair.guide)()

    assert torch.autograd.gradcheck(loss, (columns, *pair.parameters))


def test_invalid_arguments_of_sparsity_are_refused():
    with pytest.raises(ValueError, match="group_lasso needs columns="):
        SparsityELBO(group_lasso=1.0)
    with pytest.raises(
        ValueError, match=r"columns of shape \(…, latent\), such as a matrix, got \(3,\)"
    ):
        SparsityELBO(group_lasso=1.0, columns=torch.ones(3)).loss(Pair().model, Pair().guide)
    with pytest.raises(ValueError, match="weight of 'l1' that is not negative, got -1"):
        SparsityELBO(l1=-1)
    with pytest.raises(ValueError, match="amount >= 0, got -0.1"):
        shrink_columns(torch.ones(2, 2), -0.1)


def test_shrinking_a_scalar_is_the_soft_threshold_that_minimises_its_quadratic():
    target = torch.tensor([-2.0, -0.3, 0.0, 0.2, 1.5], **DOUBLE)
    weight = target.clone()[None]
    shrink_columns(weight, 0.5)
    torch.testing.assert_close(weight[0], torch.nn.functional.softshrink(target, 0.5))
    grid = torch.linspace(-3, 3, 60_001, **DOUBLE)[:, None]
    best = grid[(0.5 * (grid - target) ** 2 + 0.5 * grid.abs()).argmin(0), 0]
    torch.testing.assert_close(weight[0], best, rtol=0, atol=1e-4)


def test_shrinking_shortens_each_column_and_leaves_its_direction():
    weight = torch.randn(4, 2, 3, **DOUBLE) * torch.tensor([1.0, 0.01, 0.0], **DOUBLE)
    before = weight.clone()
    shrink_columns(weight, 0.0)
    torch.testing.assert_close(weight, before)
    shrink_columns(weight, 0.1)
    length = before[..., 0].norm()
    torch.testing.assert_close(weight[..., 0], before[..., 0] * (length - 0.1) / length)
    assert (weight[..., 1:] == 0).all()


class FixedCode:
    """x ~ N(Wz, I) where the guide knows z: signs, each coordinate orthogonal to the others, the last of no use."""

    def __init__(self):
        self.z = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], **DOUBLE)
        self.truth = torch.tensor([[2.0, 0.3, 0.0], [-1.0, 0.4, 0.0]], **DOUBLE)
        self.x = self.z @ self.truth.T
        self.weight = torch.randn(2, 3, **DOUBLE).requires_grad_()

    def model(self):
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(self.x.new_zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T, 1.0).to_event(1), obs=self.x)

    def guide(self):
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Delta(self.z).to_event(1))


def test_the_proximal_step_solves_the_group_lasso_and_prunes_the_latents_of_no_use():
    pair, weight = FixedCode(), 0.6
    SparsityELBO()(pair.model, pair.guide)().backward()
    with torch.no_grad():
        pair.weight -= (
            pair.weight.grad / 4
        )  # the loss of a datum has curvature 1: one step of length 1 minimises it
    torch.testing.assert_close(pair.weight.detach(), pair.truth)
    shrink_columns(pair.weight, weight)
    length = math.sqrt(5)
    torch.testing.assert_close(
        pair.weight.detach()[:, 0], pair.truth[:, 0] * (length - weight) / length
    )
    assert (pair.weight[:, 1:] == 0).all()
    # it is the minimum: the objective with the penalty is stationary in what is left, and stiff enough in the rest
    pair.weight.grad = None
    SparsityELBO(group_lasso=weight, columns=pair.weight)(pair.model, pair.guide)().backward()
    torch.testing.assert_close(pair.weight.grad[:, 0], torch.zeros(2, **DOUBLE), rtol=0, atol=1e-12)
    assert (pair.weight.grad[:, 1:].norm(dim=0) / 4 < weight).all()
