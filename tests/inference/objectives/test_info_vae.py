"""InfoELBO and DIPELBO against closed forms, loops over the definitions and Pyro's own bound."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO

from ppl_disentangle.inference import Linear
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
    count = pair.scale * NUM_DATA * len(data) / BATCH
    expected = -count * mmd_loops(*latents_and_prior_draws(pair), kernel, width, data)
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


def test_where_the_latents_lie_is_of_no_matter_to_the_discrepancy_in_single_precision():
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
def test_info_says_what_it_expects(arguments, message):
    with pytest.raises(ValueError, match=message):
        InfoELBO(**arguments)


def dip_loops(pair, variant):
    """The sums over the covariance matrix, written as loops."""
    data = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    means, variances = pair.loc.tolist(), (2 * pair.log_scale).exp().tolist()

    def average(f):
        return sum(f(n) for n in data) / len(data)

    centre = [average(lambda n, i=i: means[n][i]) for i in range(DIM)]
    off_diagonal = diagonal = 0.0
    for i, j in itertools.product(range(DIM), repeat=2):
        c = average(lambda n, i=i, j=j: (means[n][i] - centre[i]) * (means[n][j] - centre[j]))
        if i != j:
            off_diagonal += c**2
        else:
            diagonal += (
                c + (average(lambda n, i=i: variances[n][i]) if variant == "II" else 0.0) - 1
            ) ** 2
    count = pair.scale * NUM_DATA * len(data) / BATCH
    return {"off_diagonal": -count * off_diagonal, "diagonal": -count * diagonal}


@pytest.mark.parametrize("variant", ["I", "II"])
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize(
    "setting", [{}, {"split": (2, 1)}, {"split": (1, 1, 1)}, SETTINGS["masked"], {"scale": 0.3}]
)
def test_the_penalties_are_their_definition_whatever_the_split_and_the_particles(
    setting, particles, variant
):
    pair = Pair(**setting, **DOUBLE)
    ours = terms(DIPELBO(variant=variant, **particles), pair)
    expected = dip_loops(pair, variant)
    assert {k: ours[k].item() for k in expected} == pytest.approx(expected, rel=1e-9)


def test_data_of_identity_covariance_have_no_penalty_and_rotated_ones_a_known_one():
    angle = math.pi / 6
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), **DOUBLE)  # covariance I
    pair = Pair(num_data=None, **DOUBLE)
    with torch.no_grad():
        pair.loc.copy_(signs)
        assert terms(DIPELBO(), pair)["off_diagonal"] == terms(DIPELBO(), pair)["diagonal"] == 0
        stretched = signs * torch.tensor([2.0, 1.0, 1.0], **DOUBLE)
        rotation = torch.eye(3, **DOUBLE)
        rotation[:2, :2] = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        pair.loc.copy_(stretched @ rotation.T)
    # C = R diag(4, 1, 1) R': C_01 = 3 sin cos, C_00 = 4 cos^2 + sin^2, C_11 = 4 sin^2 + cos^2
    sine, cosine = math.sin(angle), math.cos(angle)
    ours = terms(DIPELBO(), pair)
    assert ours["off_diagonal"].item() == pytest.approx(-BATCH * 2 * (3 * sine * cosine) ** 2)
    diagonal = (4 * cosine**2 + sine**2 - 1) ** 2 + (4 * sine**2 + cosine**2 - 1) ** 2
    assert ours["diagonal"].item() == pytest.approx(-BATCH * diagonal)


def test_variant_two_adds_to_the_diagonal_alone():
    pair = Pair(**DOUBLE)
    first, second = terms(DIPELBO(), pair), terms(DIPELBO(variant="II"), pair)
    assert first["off_diagonal"] == second["off_diagonal"]
    assert first["diagonal"] != second["diagonal"]


def test_variant_two_is_the_covariance_of_the_aggregate_posterior():
    pair = Pair(num_data=None, **DOUBLE)
    offsets = math.sqrt(DIM) * torch.eye(
        DIM, **DOUBLE
    )  # points with the moments of a standard normal
    points = pair.loc + torch.cat([offsets, -offsets])[:, None] * pair.log_scale.exp()
    matrix = points.flatten(0, 1).T.cov(correction=0)
    ours = terms(DIPELBO(variant="II"), pair)
    off_diagonal = matrix.square().sum() - matrix.diagonal().square().sum()
    assert ours["off_diagonal"].item() == pytest.approx(-BATCH * off_diagonal.item(), rel=1e-9)
    diagonal = (matrix.diagonal() - 1).square().sum()
    assert ours["diagonal"].item() == pytest.approx(-BATCH * diagonal.item(), rel=1e-9)


def test_the_diagonal_weighs_ten_times_as_much_in_variant_one_unless_given():
    assert DIPELBO(3.0).weights == {"off_diagonal": 3.0, "diagonal": 30.0}
    assert DIPELBO(3.0, variant="II").weights == {"off_diagonal": 3.0, "diagonal": 3.0}
    assert DIPELBO(3.0, 1.0).weights == {"off_diagonal": 3.0, "diagonal": 1.0}


def test_dip_says_what_it_expects():
    with pytest.raises(ValueError, match="variant 'I' or 'II', got 2"):
        DIPELBO(variant=2)
    with pytest.raises(ValueError, match="off_diagonal is a schedule: pass diagonal= too"):
        DIPELBO(Linear(0.0, 1.0, 10))

    def no_moments():
        base = dist.Normal(torch.zeros(4, 2), 1.0)
        with pyro.plate("data", 4):
            pyro.sample(
                "z",
                dist.TransformedDistribution(base, [dist.transforms.SigmoidTransform()]).to_event(
                    1
                ),
            )
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(4))

    with pytest.raises(
        ValueError, match="latent 'z': TransformedDistribution has no mean in closed form"
    ):
        DIPELBO().loss(no_moments, poutine.block(no_moments, hide=["x"]))


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
