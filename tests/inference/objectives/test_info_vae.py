"""InfoELBO against closed forms and loops; InfoELBO and DIPELBO against Pyro's bound."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO

from ppl_disentangle.inference.objectives.dip_vae import DIPELBO, covariance
from ppl_disentangle.inference.objectives.info_vae import InfoELBO, maximum_mean_discrepancy
from ppl_disentangle.sites import paired_traces
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
BOUNDS = {
    "info": lambda **k: InfoELBO(0.0, 1.0, **k),
    "dip I": lambda **k: DIPELBO(0.0, 0.0, **k),
    "dip II": lambda **k: DIPELBO(0.0, 0.0, variant="II", **k),
}
KERNELS = {
    "gaussian": lambda squared, width: math.exp(-squared / width),
    "inverse_multiquadratic": lambda squared, width: width / (width + squared),
}


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=list(BOUNDS))
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_without_its_penalty_each_is_pyros_bound(setting, particles, bound):
    pair = Pair(**setting)
    expected = loss_and_gradients(TraceMeanField_ELBO(**particles), pair)
    for value, reference in zip(
        loss_and_gradients(bound(**particles), pair), expected, strict=True
    ):
        torch.testing.assert_close(value, reference, rtol=2e-5, atol=2e-3)


def latents_and_prior_draws(pair):
    """What an InfoELBO of one particle draws under the seed of ``terms``, each of shape (batch, dim)."""
    pyro.set_rng_seed(0)
    model_trace, guide_trace = paired_traces(pair.model, pair.guide, (), {})
    names = [f"z{i}" for i in range(len(pair.split))]
    z = [guide_trace.nodes[n]["value"].reshape(BATCH, -1) for n in names]
    prior = [model_trace.nodes[n]["fn"].rsample().reshape(BATCH, -1) for n in names]
    return torch.cat(z, -1).tolist(), torch.cat(prior, -1).tolist()


def mmd_loops(a, b, kernel, width, data):
    """The U-statistic over all pairs of different data."""

    def k(x, y):
        return KERNELS[kernel](sum((s - t) ** 2 for s, t in zip(x, y, strict=True)), width)

    pairs = list(itertools.permutations(data, 2))
    return sum(k(a[i], a[j]) + k(b[i], b[j]) - 2 * k(a[i], b[j]) for i, j in pairs) / len(pairs)


@pytest.mark.parametrize(
    ("kernel", "width"), [("gaussian", DIM**2), ("inverse_multiquadratic", 2 * DIM)]
)
@pytest.mark.parametrize(
    "setting", [{}, {"split": (2, 1)}, {"split": (1, 1, 1)}, SETTINGS["masked"], {"scale": 0.3}]
)
def test_the_discrepancy_is_its_definition_whatever_the_split_into_sites(setting, kernel, width):
    pair = Pair(**setting, **DOUBLE)
    data = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    expected = -NUM_DATA * mmd_loops(*latents_and_prior_draws(pair), kernel, width, data)
    assert terms(InfoELBO(kernel=kernel), pair)["mmd"].item() == pytest.approx(expected, rel=1e-9)
    bandwidth = math.sqrt(width / 2)
    assert terms(InfoELBO(kernel=kernel, bandwidth=bandwidth), pair)["mmd"].item() == pytest.approx(
        expected, rel=1e-9
    )


def gaussian_mmd(mean, scale, dim, h2):
    """MMD^2 of N(mean, scale^2 I) and N(0, I) under a Gaussian kernel of bandwidth^2 h2."""

    def expected_kernel(shift, variance):
        return (h2 / (h2 + variance)) ** (dim / 2) * math.exp(
            -dim * shift**2 / (2 * (h2 + variance))
        )

    return (
        expected_kernel(0, 2 * scale**2)
        + expected_kernel(0, 2)
        - 2 * expected_kernel(mean, scale**2 + 1)
    )


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (0.5, 0.7), (-1.0, 0.2)])
def test_the_discrepancy_is_unbiased(mean, scale):
    pair = Pair(num_data=None, **DOUBLE)
    with torch.no_grad():
        pair.loc.fill_(mean)
        pair.log_scale.fill_(math.log(scale))
    elbo, draws = InfoELBO(bandwidth=1.0), []
    for _ in range(400):
        elbo.loss(pair.model, pair.guide)
        draws.append(-elbo.last_terms["mmd"].item() / BATCH)
    draws = torch.tensor(draws)
    error = draws.std() / len(draws) ** 0.5
    assert abs(draws.mean() - gaussian_mmd(mean, scale, DIM, 1.0)) < 4 * error
    assert error < 0.02


def test_the_discrepancy_of_one_datum_is_zero_and_of_particles_each_its_own():
    a, b = torch.randn(2, 3, 5, 4, **DOUBLE)
    together = maximum_mean_discrepancy(a, b)
    torch.testing.assert_close(
        together, torch.stack([maximum_mean_discrepancy(*ab) for ab in zip(a, b, strict=True)])
    )
    one = a[0, :1].requires_grad_()
    lonely = maximum_mean_discrepancy(one, b[0, :1])
    lonely.backward()
    assert lonely == 0
    assert (one.grad == 0).all()


def test_masked_data_count_as_if_removed_from_the_discrepancy():
    a, b = torch.randn(2, 6, 3, **DOUBLE)
    mask = torch.tensor([True, False, True, True, False, True])
    expected = maximum_mean_discrepancy(a[mask], b[mask])
    torch.testing.assert_close(maximum_mean_discrepancy(a, b, weights=mask / mask.sum()), expected)


def test_the_discrepancy_is_invariant_to_shifts_in_single_precision():
    a, b = torch.randint(-8, 8, (2, 40, 3)) / 4
    far = maximum_mean_discrepancy(a + 4096, b + 4096)
    torch.testing.assert_close(far, maximum_mean_discrepancy(a, b), rtol=0, atol=0)


def test_discrepancies_are_in_full_precision_under_autocast():
    a, b = torch.randn(2, 300, 30)
    expected = maximum_mean_discrepancy(a, b), covariance(a, a.new_full((300,), 1 / 300))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = maximum_mean_discrepancy(a, b), covariance(a, a.new_full((300,), 1 / 300))
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_the_weights_of_info_are_those_of_the_paper():
    pair, elbo = Pair(**DOUBLE), InfoELBO(-0.5, 20.0)
    parts = terms(elbo, pair)
    pyro.set_rng_seed(0)
    expected = -(parts["log_likelihood"] + 1.5 * parts["kl"] + 18.5 * parts["mmd"])
    assert elbo.loss(pair.model, pair.guide) == pytest.approx(expected.item(), rel=1e-12)


def learned_prior(loc):
    """z ~ N(loc, I) under the model, N(2, I) under the guide."""

    def model():
        with pyro.plate("data", BATCH):
            pyro.sample("z", dist.Normal(loc, 1.0).expand([DIM]).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(BATCH, **DOUBLE))

    def guide():
        with pyro.plate("data", BATCH):
            pyro.sample("z", dist.Normal(loc.new_full((DIM,), 2.0), 1.0).to_event(1))

    return model, guide


def test_a_learned_prior_gets_the_gradient_of_the_discrepancy():
    loc = torch.zeros((), requires_grad=True, **DOUBLE)
    model, guide = learned_prior(loc)
    elbo, gradients = InfoELBO(1.0, 1.0, bandwidth=1.0), []
    for _ in range(400):
        gradients.append(torch.autograd.grad(elbo(model, guide)(), loc)[0] / BATCH)
    gradients = torch.stack(gradients)
    exact = (
        2 * 3 ** (-DIM / 2) * (1 - torch.exp(-DIM * (2 - loc) ** 2 / 6))
    )  # of gaussian_mmd; bandwidth 1, scale 1
    (expected,) = torch.autograd.grad(exact, loc)
    error = gradients.std() / len(gradients) ** 0.5
    assert abs(gradients.mean() - expected) < 4 * error
    assert abs(expected) > 8 * error


def test_a_prior_of_each_datum_is_drawn_for_each_datum():
    loc = torch.arange(BATCH, **DOUBLE)[:, None]

    def model():
        with pyro.plate("data", BATCH):
            pyro.sample("z", dist.Normal(loc, 1e-3).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(BATCH))

    elbo = InfoELBO(bandwidth=1.0)
    elbo.loss(model, poutine.block(model, hide=["x"]))
    assert elbo.last_terms["mmd"].item() / BATCH == pytest.approx(0.0, abs=1e-3)


def test_info_refuses_a_prior_that_depends_on_other_latents():
    scale = torch.tensor(1.0, requires_grad=True)

    def hierarchy():
        with pyro.plate("data", 4):
            top = pyro.sample("top", dist.Normal(torch.zeros(4), scale))
            pyro.sample("bottom", dist.Normal(top, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(4))

    with pytest.raises(ValueError, match="latent 'bottom': its prior depends on other latents"):
        InfoELBO()(hierarchy, poutine.block(hierarchy, hide=["x"]))()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.5}, r"alpha <= 1, got 1.5: the KL would have the negative weight 1 - alpha"),
        ({"alpha": -2.0, "scaling": 2.5}, r"alpha \+ scaling >= 1, got -2.0 \+ 2.5"),
        ({"kernel": "laplace"}, "kernel 'gaussian' or 'inverse_multiquadratic', got 'laplace'"),
        ({"bandwidth": 0.0}, "bandwidth > 0, got 0.0"),
    ],
)
def test_invalid_arguments_of_info_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        InfoELBO(**arguments)


OBJECTIVES = {
    "gaussian": InfoELBO(0.3, 5.0),
    "inverse multiquadratic": InfoELBO(kernel="inverse_multiquadratic"),
    "dip I": DIPELBO(),
    "dip II": DIPELBO(variant="II"),
}


@pytest.mark.parametrize("elbo", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_gradients_equal_finite_differences_in_float64(elbo):
    pair = Pair(num_data=None, **DOUBLE)

    def loss(*parameters):
        pair.loc, pair.log_scale, pair.shift = parameters
        pyro.set_rng_seed(0)
        return elbo(pair.model, pair.guide)()

    assert torch.autograd.gradcheck(loss, tuple(pair.parameters))


@pytest.mark.parametrize("elbo", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_a_batch_of_one_is_finite(elbo):
    pair = Pair(mask=torch.arange(BATCH) == 2)
    assert all(torch.isfinite(value).all() for value in loss_and_gradients(elbo, pair))
